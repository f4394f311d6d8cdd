"""A study neither waits for what shows it elsewhere nor fails with it, and says in one line what could not be shown."""

import time
from pathlib import Path

import pytest

from study.mlflow_export import delivery as module
from study.mlflow_export.delivery import Delivery
from study.record.study_log import StudyLog
from tests.study.recorded_study import begin_study, record_run

GONE = ConnectionError("no server answers at http://127.0.0.1:9 (refused)")


class Shelf:
    """An exporter that keeps what it was shown, and fails as often as it is told to."""

    refused = ""

    def __init__(self, log: StudyLog, failures: int = 0) -> None:
        self.log, self.failures = log, failures
        self.written = self.connections = 0

    def connect(self) -> "Shelf":
        self.connections += 1
        return self

    def update(self) -> int:
        if self.failures:
            self.failures -= 1
            raise GONE
        self.written = len(list(self.log.events()))
        return self.written


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL", "FIRST_PAUSE", "LONGEST_PAUSE", "LONGEST_REST"):
        monkeypatch.setattr(module, name, 0.01)


def opened(folder: Path, failures: int = 0) -> tuple[StudyLog, Shelf, Delivery, list[str]]:
    log, said = begin_study(folder, "s"), list[str]()
    shelf = Shelf(log, failures)
    return log, shelf, Delivery(log, shelf.connect, said.append), said


def record(log: StudyLog, name: str) -> None:
    record_run(log, None, "Digits", "bop", "search", name, 1, "completed", 0.5, 0.1, 1)


def test_everything_that_was_logged_is_shown_at_the_end(tmp_path: Path) -> None:
    log, shelf, delivery, said = opened(tmp_path)
    delivery.start()
    record(log, "a")
    assert delivery.close() is True
    assert shelf.written == len(list(log.events()))
    assert (said, shelf.connections) == ([], 1)


def test_a_delivery_that_takes_long_rests_longer_and_the_end_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged in a rest goes together; the last delivery comes at once."""
    monkeypatch.setattr(module, "LONGEST_REST", 600.0)
    monkeypatch.setattr(module, "REST", 1e6)
    log, shelf, delivery, said = opened(tmp_path)
    updates, update = [0], shelf.update

    def counted() -> int:
        updates[0] += 1
        return update()

    monkeypatch.setattr(shelf, "update", counted)
    delivery.start()
    while not updates[0]:
        time.sleep(0.001)
    for name in "abc":
        record(log, name)
    assert delivery.close() is True
    assert (updates[0], said) == (2, []) and shelf.written == len(list(log.events()))


def test_a_single_failure_is_tried_again_at_once_without_a_word(tmp_path: Path) -> None:
    log, shelf, delivery, said = opened(tmp_path, failures=1)
    record(log, "a")
    delivery.start()
    assert delivery.close() is True
    assert (said, shelf.connections) == ([], 2)


def test_one_that_was_away_is_told_all_of_it_when_it_is_back(tmp_path: Path) -> None:
    log, shelf, delivery, said = opened(tmp_path, failures=10**9)
    delivery.start()
    record(log, "a")
    while not said:
        time.sleep(0.01)
    shelf.failures = 0
    while len(said) < 2:
        time.sleep(0.01)
    assert delivery.close() is True
    assert said == [
        f"MLflow cannot be told at present ({GONE}); training goes on",
        "MLflow answers again, and is told what it lacks",
    ]
    assert shelf.written == len(list(log.events()))


def test_what_could_not_be_shown_is_said_in_one_line_with_the_command_that_delivers_it(tmp_path: Path) -> None:
    log, _, delivery, said = opened(tmp_path, failures=10**9)
    delivery.start()
    for name in ("a", "b"):
        record(log, name)
    while not said:
        time.sleep(0.01)
    began = time.monotonic()
    assert delivery.close() is False
    assert time.monotonic() - began < 2, "nobody waits for what does not answer"
    assert said[1:] == [
        f"MLflow has not been told of 2 runs ({GONE}); `python -m study mlflow {tmp_path}` delivers them"
    ]


def test_one_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    log, shelf, delivery, said = opened(tmp_path)
    monkeypatch.setattr(shelf, "update", lambda: time.sleep(60))
    delivery.start()
    record(log, "a")
    assert delivery.close() is False
    assert "has not been told of 1 run (it is slow)" in said[-1]


def test_files_that_are_still_on_their_way_are_waited_for_while_they_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    _, shelf, delivery, said = opened(tmp_path)

    def put_files() -> int:
        for _ in range(10):
            time.sleep(0.1)
            shelf.written += 1
        return 0

    monkeypatch.setattr(shelf, "update", put_files)
    delivery.start()
    assert delivery.close() is True
    assert shelf.written >= 10 and said == []


def test_files_that_do_not_arrive_or_are_refused_are_said_with_the_command_that_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shelf, delivery, said = opened(tmp_path)
    shelf.refused = "no room"
    delivery.start()
    assert delivery.close() is True
    assert said == [
        "MLflow took no files of the comparison or of exported models (no room); "
        f"`python -m study mlflow {tmp_path}` tries again"
    ]
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    _, shelf, delivery, said = opened(tmp_path / "slow")
    monkeypatch.setattr(shelf, "update", lambda: time.sleep(60))
    delivery.start()
    assert delivery.close() is False
    assert said == [
        f"MLflow has not taken all files of the study (it is slow); `python -m study mlflow {tmp_path}/slow` "
        "delivers the others"
    ]


def test_no_run_is_missed_of_a_command_that_ran_nothing(tmp_path: Path) -> None:
    _, _, delivery, said = opened(tmp_path, failures=10**9)
    delivery.start()
    assert delivery.close() is True
    assert not [line for line in said if "has not been told" in line]
