"""The log is whole after every kill, says what it cut, and folds to each run's state."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from study.record.study_log import StudyLog, read_lines
from trainers.errors import UserError

START = {"cell": "c", "phase": "search", "method": "bop", "config": {"lr": 0.1}, "tags": {}}


def opened(path: Path) -> tuple[StudyLog, list[str]]:
    said: list[str] = []
    return StudyLog(path, show=said.append), said


def start(log: StudyLog, trial_id: str, attempt: int = 1) -> None:
    log.append("start", trial_id=trial_id, attempt=attempt, **START)


def epoch(log: StudyLog, trial_id: str, number: int, seconds: float = 0.0) -> None:
    log.append("epoch", trial_id=trial_id, epoch=number, metrics={"train_loss": 1 / number}, device_seconds=seconds)


def end(log: StudyLog, trial_id: str, outcome: str, **changes: Any) -> None:
    fields = {"metrics": {}, "reason": "", "rung": None, "device_seconds": None, **changes}
    log.append("end", trial_id=trial_id, outcome=outcome, **fields)


def test_events_are_read_again_in_order_and_as_they_were(tmp_path: Path) -> None:
    log, said = opened(tmp_path / "log.jsonl")
    start(log, "a")
    epoch(log, "a", 1)
    end(log, "a", "completed", metrics={"test_accuracy": 0.5})
    again, _ = opened(log.path)
    assert [event["event"] for event in again.events()] == ["start", "epoch", "end"]
    assert again.trials() == log.trials()
    assert not said


def test_a_run_s_epochs_and_seconds_add_up_over_its_attempts(tmp_path: Path) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    start(log, "a")
    epoch(log, "a", 1, 10.0)
    epoch(log, "a", 2, 20.0)
    log.append("attempt_end", trial_id="a", how="out_of_memory", reason="too big", device_seconds=25.0)
    assert (log.trials()["a"].outcome, log.trials()["a"].how) == ("interrupted", "out_of_memory")
    start(log, "a", 2)
    log.append("retrained", trial_id="a", epoch=2, device_seconds=9.0)
    epoch(log, "a", 3, 18.0)
    log.append("test_opened", trial_id="a", forced=True, accuracy=0.5)
    end(log, "a", "completed", device_seconds=19.0)
    record = log.trials()["a"]
    assert (record.attempts, record.epochs_used, record.device_seconds) == (2, 4, 44.0)
    assert (record.outcome, record.how, record.out_of_memory) == ("completed", "", 1)
    assert (record.test_opened, record.test_forced) == (1, 1)


def test_what_is_kept_of_a_run_does_not_grow_with_its_epochs(tmp_path: Path) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    start(log, "a")
    for number in range(1, 200):
        epoch(log, "a", number)
    assert log.trials()["a"].metrics == {"train_loss": 1 / 199}
    assert (log.trials()["a"].last_epoch, log.trials()["a"].epochs_used) == (199, 199)


@pytest.mark.parametrize("left", [1, 20, -1])
def test_an_unfinished_last_line_is_cut_off_kept_and_said(tmp_path: Path, left: int) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    start(log, "a")
    whole = log.path.read_bytes()
    epoch(log, "a", 1)
    torn = log.path.read_bytes()[len(whole) :][:left]
    log.path.write_bytes(whole + torn)
    again, said = opened(log.path)
    assert log.path.read_bytes() == whole
    assert (tmp_path / "log.jsonl.torn-1").read_bytes() == torn
    assert len(said) == 1 and "unfinished" in said[0]
    epoch(again, "a", 1)
    assert [event["event"] for event in again.events()] == ["start", "epoch"]


@pytest.mark.parametrize("damaged", [b"{", b"[1]", b"\0\0\0", b'{"at":1,"event":"epoch"}', b"\xff"])
def test_a_damaged_line_in_the_middle_is_named_by_its_number(tmp_path: Path, damaged: bytes) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    start(log, "a")
    with log.path.open("ab") as file:
        file.write(damaged + b"\n")
    epoch(log, "a", 1)
    with pytest.raises(UserError, match=r"line 2 of .* is damaged; .* doctor .* --repair"):
        opened(log.path)
    assert [line.event is None for line in read_lines(log.path)] == [False, True, False]


def test_a_line_that_the_disk_has_no_room_for_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    start(log, "a")
    whole, write = log.path.read_bytes(), os.write
    room = [10]

    def full(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match="No space left on device"):
        epoch(log, "a", 1)
    assert log.path.read_bytes() == whole
    assert log.trials()["a"].last_epoch == 0


def test_an_event_with_other_fields_is_refused(tmp_path: Path) -> None:
    log, _ = opened(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="a epoch event holds"):
        log.append("epoch", trial_id="a")


def test_lines_of_a_later_version_and_of_a_lost_run_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"at": 1, "event": "something new"}) + "\n")
    log, _ = opened(path)
    epoch(log, "lost", 1)
    assert log.trials() == {}
