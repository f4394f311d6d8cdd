"""A trial's process may be killed: it goes on from its checkpoint; killed again and again, its trial has failed."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.define.cells import Cell, ConfirmConfig, ResourcesConfig, SearchConfig, make_cell
from study.define.memory_plan import need_of_cell
from study.drive.session import open_session
from study.drive.tune_state import trial_file
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog, read_lines
from study.search.journal_search import ended, open_journal, open_search
from trainers.data.prepare import prepare

EPOCHS = 40


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    root = tmp_path_factory.mktemp("data")
    prepare("Digits", root)
    fixed = {"epochs": EPOCHS, "hid_dim": 256, "depth": 2, "batch_size": 96, "image_size": 8}
    search, resources = SearchConfig(trials=1, asha=None), ResourcesConfig(at_once=1)
    return make_cell("Digits", "MLP", "bop", fixed=fixed, search=search, resources=resources, data_root=str(root))


class Killer(threading.Thread):
    """Kills the process of a trial, as often as it is asked to, as soon as the log lets it.

    Args:
        log: the study's log.
        times: how often.
        due: says of the log's events whether the next kill is due, given how many there were.
    """

    def __init__(self, log: Path, times: int, due: Callable[[list[dict[str, Any]], int], bool]) -> None:
        super().__init__(daemon=True)
        self.log, self.times, self.due = log, times, due
        self.over = threading.Event()

    def run(self) -> None:
        kills = 0
        while kills < self.times and not self.over.wait(0.02):
            events = [line.event for line in read_lines(self.log) if line.event]
            if self.due(events, kills):
                for process in psutil.Process().children(recursive=True):
                    try:
                        if " ".join(process.cmdline()).startswith("ray::ImplicitFunc.train"):
                            os.kill(process.pid, signal.SIGKILL)
                            kills += 1
                    except psutil.Error:
                        continue


def sweep_under(killer: Killer, cell: Cell, folder: StudyFolder) -> dict[str, int]:
    from study.drive.course import run_cells

    folder.claim({cell.name: cell.identity()})
    killer.start()
    with open_session(folder) as session:
        needs = {cell.name: need_of_cell(cell)}
        result = run_cells([cell], ConfirmConfig(k=0), folder, session.log, needs).searches[cell.name]
    killer.over.set()
    killer.join()
    return result.outcomes


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_a_killed_process_is_started_again_and_goes_on_from_its_checkpoint(tmp_path: Path, cell: Cell) -> None:
    folder = StudyFolder(tmp_path / "study")

    def due(events: list[dict[str, Any]], kills: int) -> bool:
        """At the third epoch, and again at the sixth and at the ninth: more deaths than may follow each other."""
        return sum(event["event"] == "epoch" for event in events) >= 3 * (kills + 1)

    assert sweep_under(Killer(folder.log, 3, due), cell, folder) == {"completed": 1}
    (record,) = StudyLog(folder.log).trials().values()
    assert (record.outcome, record.attempts, record.last_epoch) == ("completed", 4, EPOCHS)
    assert record.epochs_used < EPOCHS + 9, "it did not begin anew"
    (trial,) = ended(open_search(cell, open_journal(folder.journal)))
    assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
    assert '"attempts": 4' in trial_file(folder.tune, record.trial_id).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_a_process_that_dies_three_times_without_getting_further_has_failed(tmp_path: Path, cell: Cell) -> None:
    folder = StudyFolder(tmp_path / "study")

    def due(events: list[dict[str, Any]], kills: int) -> bool:
        """Whenever the trial has started once more."""
        return sum(event["event"] == "start" for event in events) > kills

    assert sweep_under(Killer(folder.log, 3, due), cell, folder) == {"failed": 1}
    (record,) = StudyLog(folder.log).trials().values()
    assert (record.outcome, record.attempts) == ("failed", 3)
