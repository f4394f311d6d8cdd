"""How far a study has come, read from its folder alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.record.study_log import StudyLog
from study.record.study_state import StateReader, StudyState
from study.record.working_alone import at_work, only_one
from tests.study.recorded_study import begin_study, record_run, record_search, record_sweep
from trainers.activity import Activity
from trainers.errors import UserError

OFFER = {"trials": 5, "epochs": 2, "pruner": None, "k": 1, "seeds": [11, 12]}


def offer(folder: Path, *cells: str, **changes: Any) -> None:
    """Enter cells into `study.json`, as a command does before it begins."""
    content = json.loads((folder / "study.json").read_text())
    content |= {"cells": {cell: {} for cell in cells}, "offered": {cell: [{**OFFER, **changes}] for cell in cells}}
    (folder / "study.json").write_text(json.dumps(content))


def read(folder: Path, working: bool | None = False, **options: Any) -> StudyState:
    return StateReader(folder, asked=lambda place: working).read(**options)


def confirmation(log: StudyLog, method: str, number: int, seed: int, status: str = "completed") -> None:
    cell = f"Digits-MLP-{method}"
    name = f"{cell}-confirm-{number:04d}-s{seed}"
    record_run(log, cell, "Digits", method, "confirm", name, seed, status, 0.9, 0.1, 2)


def test_a_cell_says_what_is_over_how_it_ended_and_what_is_left(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")
    offer(tmp_path, "Digits-MLP-binary", "Digits-MLP-bop")
    binary, bop = read(tmp_path).cells
    assert binary.search.outcomes == {"completed": 2, "pruned": 1, "diverged": 1, "failed": 1}
    assert (binary.search.planned, binary.search.over, binary.search.left) == (5, 5, 0)
    assert binary.best == pytest.approx(0.91)  # the pruned trial's value is higher, and no result
    assert (binary.confirm.planned, binary.confirm.left) == (2, 2)
    assert (bop.search.left, bop.confirm.left, bop.best) == (5, 2, None)


def test_a_running_run_is_shown_with_its_epochs(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    cell = record_sweep(log, "Digits", "binary")
    record_run(log, cell, "Digits", "binary", "search", f"{cell}-search-0000", 1, "running", 0.8, 0.1, 1)
    offer(tmp_path, cell)
    state = read(tmp_path, working=True)
    assert state.state == "running"
    (run,) = state.running
    assert (run.epoch, run.epochs, run.val_accuracy) == (1, 2, 0.8)
    assert state.cells[0].search.left == 5


@pytest.mark.parametrize("moment", [1e9 + 0.5004, 1e9 + 0.5006])
def test_a_run_says_itself_how_far_it_is_within_an_epoch(
    moment: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.clock.time.time", lambda: moment)  # whichever way it is rounded
    log = begin_study(tmp_path, "small")
    cell = record_sweep(log, "Digits", "binary")
    record_run(log, cell, "Digits", "binary", "search", f"{cell}-search-0000", 1, "running", 0.8, 0.1, 1)
    folder = tmp_path / "runs" / f"{cell}-search-0000"
    folder.mkdir(parents=True)
    assert read(tmp_path, working=True).running[0].doing is None
    Activity(folder)("epoch 2, step", 30, 400)
    assert str(read(tmp_path, working=True).running[0].doing) == "epoch 2, step 30/400"


@pytest.mark.parametrize(("working", "state"), [(True, "running"), (False, "interrupted"), (None, "unclear")])
def test_the_lock_tells_a_running_study_from_an_interrupted_one(
    working: bool | None, state: str, tmp_path: Path
) -> None:
    begin_study(tmp_path, "small")
    offer(tmp_path, "Digits-MLP-binary")
    assert read(tmp_path, working).state == state


def test_a_study_is_finished_once_the_best_trial_is_confirmed(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")  # the second trial is the best
    offer(tmp_path, "Digits-MLP-binary")
    for seed in (11, 12):
        confirmation(log, "binary", 0, seed)
    assert read(tmp_path).state == "interrupted"  # those were of an earlier, smaller search
    for seed in (11, 12):
        confirmation(log, "binary", 1, seed)
    state = read(tmp_path)
    assert (state.state, state.left, state.cells[0].confirm.over) == ("finished", 0, 2)


def test_a_failed_confirmation_is_still_to_be_run(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")
    offer(tmp_path, "Digits-MLP-binary", seeds=[11])
    confirmation(log, "binary", 1, 11, "failed")
    assert read(tmp_path).left == 1


def test_a_cell_with_nothing_to_search_is_one_trial(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    offer(tmp_path, "Digits-MLP-frozen", k=0, seeds=[])
    record_sweep(log, "Digits", "frozen", trials="1")
    assert read(tmp_path).cells[0].search.planned == 1


def test_the_rest_takes_as_long_as_its_like_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.clock.time.time", lambda: 1000.0)
    log = begin_study(tmp_path, "small")
    cell = record_sweep(log, "Digits", "binary")
    offer(tmp_path, cell, trials=9, k=0, seeds=[])
    for number in range(3):  # of 4 device-seconds each
        record_run(log, cell, "Digits", "binary", "search", f"{cell}-search-{number:04d}", 1, "completed", 0.8, 0.1, 2)
    state = read(tmp_path, working=True, now=1006.0)
    # 12 device-seconds in 6 seconds: two at once. The six that are left take 24, in 12 seconds.
    assert state.seconds_left == pytest.approx(12.0)
    assert state.runs_a_minute(1006.0) == pytest.approx(30.0)
    assert read(tmp_path, working=False, now=1006.0).seconds_left is None


def test_asked_again_a_reader_reads_only_what_was_added(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")
    offer(tmp_path, "Digits-MLP-binary", "Digits-MLP-bop")
    reader = StateReader(tmp_path, asked=lambda place: True)
    assert reader.read().over == 5
    whole = log.path.read_bytes()
    log.path.write_bytes(b"x" * len(whole))  # what was read is not looked at again
    record_search(log, "Digits", "bop")
    assert reader.read().over == 10


def test_a_damaged_line_is_passed_over_and_counted(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    with log.path.open("ab") as file:
        file.write(b"{torn\n")
    record_search(log, "Digits", "binary")
    state = read(tmp_path)
    assert (state.damaged, state.over) == (1, 5)


def test_nothing_is_written(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")

    def seen() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    before = seen()
    StateReader(tmp_path).read()
    assert seen() == before


def test_a_study_that_never_began_is_said_to_be_so(tmp_path: Path) -> None:
    begin_study(tmp_path, "small")
    (tmp_path / "log.jsonl").unlink()
    assert read(tmp_path).state == "not started"


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study\.json"):
        StateReader(tmp_path)


def test_the_lock_is_seen_by_who_may_only_read(tmp_path: Path, shut: Callable[[Path], None]) -> None:
    assert at_work(tmp_path) is False
    with only_one(tmp_path):
        shut(tmp_path)
        assert at_work(tmp_path) is True
    assert at_work(tmp_path) is False


def test_who_asks_keeps_no_command_from_its_work(tmp_path: Path) -> None:
    with only_one(tmp_path):
        pass
    assert at_work(tmp_path) is False
    with only_one(tmp_path):
        assert at_work(tmp_path) is True


@pytest.fixture
def shut() -> Callable[[Path], None]:
    def close(folder: Path) -> None:
        (folder / ".at-work").chmod(0o444)
        folder.chmod(0o555)

    return close
