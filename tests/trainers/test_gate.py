"""The test set is opened once a run; that it was is on disk before a number is; opening it again takes force."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainers.atomic import write_json
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.gate import measured_before, measured_once, record_of
from trainers.host import run_local
from trainers.progress import Metrics
from trainers.replicas import Replicas

MakeConfig = Callable[..., TrialConfig]


class Measure:
    """Counts its calls, and looks at what is on disk at the time of each."""

    def __init__(self, run_dir: Path, *figures: tuple[float, float]) -> None:
        self.run_dir, self.figures = run_dir, list(figures)
        self.seen: list[dict[str, Any]] = []

    def __call__(self) -> Metrics:
        self.seen.append(read(self.run_dir))
        return dict(zip(("test_accuracy", "test_accuracy_top5"), self.figures.pop(0), strict=True))


def read(run_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record_of(run_dir).read_text())
    return content


def once(run_dir: Path, measure: Callable[[], Metrics], **attempt: Any) -> dict[str, Any]:
    return measured_once(run_dir, Replicas(), Attempt(**attempt), measure)


def test_the_opening_is_on_disk_before_it_is_measured_and_happens_once(tmp_path: Path) -> None:
    measure = Measure(tmp_path, (0.5, 0.9))
    first, again = once(tmp_path, measure), once(tmp_path, measure)
    assert first == again == {"test_accuracy": 0.5, "test_accuracy_top5": 0.9}
    assert [record["state"] for record in measure.seen] == ["opening"]
    assert "test_accuracy" not in measure.seen[0]
    assert read(tmp_path)["state"] == "opened"
    assert [opening["forced"] for opening in read(tmp_path)["openings"]] == [False]


def test_an_opening_that_nobody_saw_a_number_of_is_continued(tmp_path: Path) -> None:
    def killed() -> Metrics:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path, killed)
    assert measured_before(tmp_path, Attempt()) == {}
    assert once(tmp_path, Measure(tmp_path, (0.5, 0.9)))["test_accuracy"] == 0.5
    (opening,) = read(tmp_path)["openings"]
    assert opening["continued"] is True and opening["forced"] is False


def test_force_opens_again_and_is_recorded_once_an_attempt(tmp_path: Path) -> None:
    measure = Measure(tmp_path, (0.5, 0.9), (0.6, 1.0))
    once(tmp_path, measure)
    attempt = Attempt(reopen_test=True)
    for _ in range(2):  # the second time, the attempt's workers had died before they could say what they measured
        forced = measured_once(tmp_path, Replicas(), attempt, measure)
        assert forced == {"test_accuracy": 0.6, "test_accuracy_top5": 1.0, "test_forced": True}
    assert [opening["forced"] for opening in read(tmp_path)["openings"]] == [False, True]
    assert attempt.began <= read(tmp_path)["openings"][1]["at"]
    assert once(tmp_path, measure) == {"test_accuracy": 0.6, "test_accuracy_top5": 1.0}


def test_force_where_nothing_was_opened_is_none(tmp_path: Path) -> None:
    assert "test_forced" not in once(tmp_path, Measure(tmp_path, (0.5, 0.9)), reopen_test=True)


def test_a_run_folder_that_lost_its_record_is_refused_unless_forced(tmp_path: Path) -> None:
    measure = Measure(tmp_path, (0.5, 0.9))
    with pytest.raises(UserError, match=r"was opened 1 time, .* is gone; .*--reopen-test"):
        once(tmp_path, measure, test_openings=1)
    assert not record_of(tmp_path).exists() and not measure.seen
    assert once(tmp_path, measure, test_openings=1, reopen_test=True)["test_forced"] is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"state": "opened"}',
        '{"state": "opened", "openings": [{"at": 1, "forced": false}]}',
        "[" * 9999,
    ],
    ids=["empty", "list", "object", "no openings", "no figures", "deep"],
)
def test_a_damaged_record_is_refused_unless_forced(text: str, tmp_path: Path) -> None:
    record_of(tmp_path).write_text(text)
    measure = Measure(tmp_path, (0.5, 0.9))
    with pytest.raises(UserError, match=r"is damaged, .*--reopen-test"):
        once(tmp_path, measure)
    assert record_of(tmp_path).read_text() == text and not measure.seen
    assert once(tmp_path, measure, reopen_test=True)["test_forced"] is True


def test_worker_0_decides_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replicas, "maximum", lambda self, value: 2)  # what worker 0 came to
    with pytest.raises(UserError, match="was opened 1 time"):
        measured_once(tmp_path, Replicas(1, 2), Attempt(test_openings=1), Measure(tmp_path))


def test_a_finished_run_tells_its_test_accuracy_again_without_opening(digits: MakeConfig, tmp_path: Path) -> None:
    config = digits(epochs=1, test=True)
    first = run_local(config, tmp_path)
    before = read(tmp_path)
    (tmp_path / "result.json").write_text("{")
    again = run_local(config, tmp_path)
    assert again["test_accuracy"] == first["test_accuracy"] and read(tmp_path) == before
    assert "result.json was damaged; it has been written anew" in again["note"]
    assert json.loads((tmp_path / "result.json").read_text())["test_accuracy"] == first["test_accuracy"]
    forced = run_local(config, tmp_path, attempt=Attempt(reopen_test=True))
    assert forced["test_forced"] is True and len(read(tmp_path)["openings"]) == 2


@pytest.mark.integration
def test_a_run_killed_while_its_test_set_is_open_goes_on(digits: MakeConfig, tmp_path: Path) -> None:
    config = digits(epochs=1, test=True)
    write_json(tmp_path / "config.json", config.to_dict())
    body = f"""
        import json, os, signal
        from pathlib import Path
        from trainers import worker
        from trainers.config import TrialConfig
        from trainers.host import run_local

        worker._Run._test_figures = lambda self: os.kill(os.getpid(), signal.SIGKILL)
        folder = Path({str(tmp_path)!r})
        run_local(TrialConfig.from_dict(json.loads((folder / "config.json").read_text())), folder)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)], cwd=Path(__file__).parents[2], env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL
    assert read(tmp_path)["state"] == "opening"
    assert "test_accuracy" in run_local(config, tmp_path)
    (opening,) = read(tmp_path)["openings"]
    assert opening["continued"] is True
