"""A run in shared storage: it goes on on a machine without its folder, to the same bits, and one alone writes it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.test_worker import InterruptError, results, weights
from trainers import stored_run
from trainers.attempt import Attempt
from trainers.checkpoint import last_checkpoint, recorded_steps
from trainers.config import TrialConfig
from trainers.errors import StoppedError, StorageError
from trainers.host import run_local
from trainers.progress import Metrics
from trainers.run_place import RunPlace, stop_path
from trainers.storage import Storage
from trainers.stored_run import CHECKPOINTS, RECORD, StoredRun

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture
def place(tmp_path: Path) -> RunPlace:
    (tmp_path / "storage").mkdir()
    return RunPlace(str(tmp_path / "storage"), "studies/s", "id", "t")


def stored(place: RunPlace) -> Path:
    return Path(place.uri) / place.path


def record(place: RunPlace) -> dict[str, object]:
    return dict(json.loads((stored(place) / RECORD).read_text()))


def interrupted(config: TrialConfig, run_dir: Path, place: RunPlace, epochs: int = 1) -> list[Metrics]:
    """Run for some epochs, and die."""
    got: list[Metrics] = []

    def stop(metrics: Metrics) -> None:
        got.append(metrics)
        if metrics["epoch"] == epochs:
            raise InterruptError

    with pytest.raises(InterruptError):
        run_local(config, run_dir, stop, Attempt(place=place))
    return got


def test_a_run_goes_on_without_its_folder_to_the_same_bits(digits: MakeConfig, tmp_path: Path, place: RunPlace) -> None:
    config = digits(epochs=3, test=True)
    expected: list[Metrics] = []
    final = run_local(config, tmp_path / "whole", expected.append)
    interrupted(config, tmp_path / "one" / "runs" / "t", place, epochs=2)
    shutil.rmtree(tmp_path / "one", ignore_errors=True)
    other = tmp_path / "other" / "runs" / "t"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").touch()  # the study's own folder: what ran there stays
    got: list[Metrics] = []
    again = run_local(config, other, got.append, Attempt(place=place))
    assert results(got) == results(expected) and [metrics.get("replayed") for metrics in got] == [True, True, None]
    assert results([again]) == results([final])
    first, second = weights(tmp_path / "whole"), weights(other)
    assert first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def test_a_copy_elsewhere_is_removed_once_storage_has_all_of_it(
    digits: MakeConfig, tmp_path: Path, place: RunPlace
) -> None:
    run_local(digits(test=True), tmp_path / "node" / "runs" / "t", attempt=Attempt(place=place))
    assert not (tmp_path / "node" / "runs" / "t").exists()
    names = set(record(place)["files"])  # type: ignore[call-overload]
    assert names == {*CHECKPOINTS, "inputs.json", "test_opening.json", "predictions.parquet", "result.json"}
    # Contents once each, and none that nothing names.
    digests = {entry["sha256"] for entry in record(place)["files"].values()}  # type: ignore[attr-defined]
    assert {path.name for path in stored(place).iterdir()} == {RECORD, *digests}


def test_the_test_set_is_not_opened_again_on_another_machine(
    digits: MakeConfig, tmp_path: Path, place: RunPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = digits(test=True)
    first = run_local(config, tmp_path / "node" / "runs" / "t", attempt=Attempt(place=place))
    monkeypatch.setattr("trainers.worker._Run._test_figures", lambda run: pytest.fail("opened"))
    again = run_local(config, tmp_path / "other" / "runs" / "t", attempt=Attempt(place=place, test_openings=1))
    assert again["test_accuracy"] == first["test_accuracy"] and again["test_images"] == first["test_images"]


def test_an_older_copy_gives_way_and_a_newer_one_stays(digits: MakeConfig, tmp_path: Path, place: RunPlace) -> None:
    config, one, other = digits(epochs=3), tmp_path / "one" / "t", tmp_path / "other" / "t"
    interrupted(config, one, place, epochs=1)
    kept = tmp_path / "kept"
    attempt = StoredRun(place, one, config.fingerprint())
    assert attempt.fetch() == ""
    shutil.copytree(one, kept)
    shutil.rmtree(one)
    interrupted(config, other, place, epochs=2)
    shutil.copytree(kept, one)
    steps = recorded_steps(one)
    StoredRun(place, one, config.fingerprint()).fetch()
    assert recorded_steps(one) == 2 * steps == record(place)["steps"]
    (stored(place) / RECORD).write_text(json.dumps({**record(place), "steps": 1}))
    shutil.rmtree(other, ignore_errors=True)
    StoredRun(place, one, config.fingerprint()).fetch()
    assert recorded_steps(one) == 2 * steps


def test_another_studys_leftovers_are_not_taken(digits: MakeConfig, tmp_path: Path, place: RunPlace) -> None:
    config, run_dir = digits(epochs=3), tmp_path / "node" / "t"
    interrupted(config, run_dir, place)
    StoredRun(place, run_dir, config.fingerprint()).fetch()
    assert last_checkpoint(run_dir).exists()
    another = RunPlace(place.uri, "studies/other", "another id", "t")
    StoredRun(another, run_dir, config.fingerprint()).fetch()
    assert not last_checkpoint(run_dir).exists()


def test_a_trial_that_the_search_has_forgotten_makes_room(digits: MakeConfig, tmp_path: Path, place: RunPlace) -> None:
    interrupted(digits(epochs=3), tmp_path / "node" / "t", place)
    got: list[Metrics] = []
    run_local(digits(epochs=2, lr=0.5), tmp_path / "node" / "t", got.append, Attempt(place=place))
    assert [metrics["epoch"] for metrics in got] == [1, 2] and not any("replayed" in metrics for metrics in got)


def test_whoever_started_last_writes_and_the_other_one_stops(
    digits: MakeConfig, tmp_path: Path, place: RunPlace
) -> None:
    config = digits(epochs=3)
    got: list[Metrics] = []

    def second_begins(metrics: Metrics) -> None:
        got.append(metrics)
        if len(got) == 1:
            interrupted(config, tmp_path / "other" / "t", place, epochs=2)

    with pytest.raises(StoppedError, match="started elsewhere"):
        run_local(config, tmp_path / "one" / "t", second_begins, Attempt(place=place))
    owner = record(place)["owner"]
    assert recorded_steps(tmp_path / "one" / "t") > 0 and record(place)["owner"] == owner


def test_a_damaged_checkpoint_in_storage_is_said_and_the_best_one_used(
    digits: MakeConfig, tmp_path: Path, place: RunPlace
) -> None:
    config = digits(epochs=4, lr=30.0)
    expected: list[Metrics] = []
    run_local(config, tmp_path / "whole", expected.append)
    interrupted(config, tmp_path / "one" / "t", place, epochs=3)
    files: dict[str, dict[str, str]] = record(place)["files"]  # type: ignore[assignment]
    last, best = (files[f"checkpoints/{name}.safetensors"]["sha256"] for name in ("last", "best"))
    assert last != best  # else this tests nothing: choose settings that get worse
    content = bytearray((stored(place) / last).read_bytes())
    content[-1] ^= 1
    (stored(place) / last).write_bytes(content)
    got: list[Metrics] = []
    run_local(config, tmp_path / "other" / "t", got.append, Attempt(place=place))
    assert "is not what was written" in got[0]["note"] and "goes on from its best checkpoint" in got[0]["note"]
    assert results([{**got[-1]}]) == results(expected[-1:])


def test_storage_out_of_reach_ends_the_attempt_and_the_next_goes_on_from_this_machine(
    digits: MakeConfig, tmp_path: Path, place: RunPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run_dir = digits(epochs=3), tmp_path / "node" / "runs" / "t"
    expected: list[Metrics] = []
    run_local(config, tmp_path / "whole", expected.append)
    write, left = Storage.write, [2]  # the claim and the first epoch

    def away(storage: Storage, path: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageError("cannot be reached")
        write(storage, path, content)

    got: list[Metrics] = []
    with monkeypatch.context() as patched, pytest.raises(StorageError):
        patched.setattr(Storage, "write", away)
        run_local(config, run_dir, got.append, Attempt(place=place))
    assert len(got) == 1 and recorded_steps(run_dir) == 2 * int(str(record(place)["steps"]))
    run_local(config, run_dir, got.append, Attempt(place=place))
    assert [metrics["epoch"] for metrics in got] == [1, 1, 2, 3]
    assert [metrics.get("replayed") for metrics in got] == [None, True, True, None]
    assert results(got[1:]) == results(expected)


def test_a_stop_asked_for_elsewhere_reaches_the_machine(
    digits: MakeConfig, tmp_path: Path, place: RunPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_run, "_STOP_SECONDS", 0.01)
    stop_file = tmp_path / "node" / ".stop"
    stop_file.parent.mkdir()
    stop_file.touch()  # of an earlier command

    def ask(metrics: Metrics) -> None:
        Storage(place.uri).write(stop_path(place.study), b"")
        for thread in stored_run.threading.enumerate():
            if thread.name == "stop":
                thread.join(timeout=10)

    with pytest.raises(StoppedError):
        run_local(digits(epochs=50), tmp_path / "node" / "runs" / "t", ask, Attempt(stop_file, place=place))
    assert stop_file.exists()


def test_a_place_travels_with_the_attempt(place: RunPlace) -> None:
    attempt = Attempt(place=place, working_folder="")
    assert Attempt.from_dict(json.loads(json.dumps(attempt.to_dict()))) == attempt


def test_what_was_not_asked_for_and_is_older_goes(digits: MakeConfig, tmp_path: Path, place: RunPlace) -> None:
    config, home, node = digits(test=True), tmp_path / "home" / "t", tmp_path / "node" / "runs" / "t"
    interrupted(config, node, place)
    StoredRun(place, home, config.fingerprint()).fetch()
    assert last_checkpoint(home).exists()
    run_local(config, node, attempt=Attempt(place=place))
    StoredRun(place, home, config.fingerprint()).fetch(stored_run.SMALL)
    assert (home / "predictions.parquet").exists() and not last_checkpoint(home).exists()
