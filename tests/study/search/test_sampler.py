"""What a search asks for depends on its seed and its results alone, not on how often it was killed and restarted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.define.cells import Cell, ResourcesConfig, SearchConfig, make_cell
from study.record.folder import StudyFolder
from study.search.journal_search import JournalSearch, ended, open_journal, open_search
from trainers.config import TrialConfig

EPOCHS = 3
OPENING = 0  # the operation that opening a search writes each time, which says nothing once the search is there
TRIALS = 14


class Killed(BaseException):
    """The process ended here."""


class KilledJournal(JournalFileBackend):
    """A journal whose process is killed when it has written so many times: before that line, or just after it."""

    def __init__(self, path: Path, writes: int, before: bool) -> None:
        super().__init__(str(path))
        self.left, self.before = writes, before

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.left -= any(log["op_code"] != OPENING for log in logs)
        if self.left < 0 and self.before:
            raise Killed
        super().append_logs(logs)
        if self.left < 0:
            raise Killed


def cell(method: str = "binary", seed: int = 1) -> Cell:
    """One that asks for a choice, then for a number of a name that depends on it; and stops trials early."""
    search = SearchConfig(seed=seed)
    return make_cell("Digits", "MLP", method, fixed={"epochs": EPOCHS}, search=search, resources=ResourcesConfig())


def accuracy(config: TrialConfig, epoch: int) -> float:
    """Some course that depends on the configuration."""
    height = {"EWM": 0.9, "WPM": 0.7, "RAND": 0.5}[config.mask_type] - 0.02 * abs((config.temperature or 1) ** 0.5 - 7)
    return height * (1 - 0.5**epoch)


def run(of: Cell, storage: JournalStorage, folder: StudyFolder) -> None:
    """One command: the trials that the search still lacks, one at a time."""
    search = JournalSearch(of, storage, folder)
    while len(ended(open_search(of, storage))) < TRIALS:
        asked = search.suggest("trial")
        assert asked is not None
        config = TrialConfig.from_dict(asked["spec"]["config"])
        last: dict[str, Any] = {}
        for epoch in range(1, EPOCHS + 1):
            last = {"epoch": epoch, "val_accuracy": accuracy(config, epoch), "training_iteration": 1}
            if search.report("trial", last):
                break
        else:
            last |= {"outcome": "completed"}
        search.conclude("trial", last)


def trials(of: Cell, folder: StudyFolder) -> list[tuple[Any, ...]]:
    return [
        (trial.number, trial.state, trial.params, trial.intermediate_values, trial.user_attrs)
        for trial in open_search(of, open_journal(folder.journal)).trials
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, ...]]]:
    folder = StudyFolder(tmp_path_factory.mktemp("through") / "study").create()
    run(cell(), open_journal(folder.journal), folder)
    yield trials(cell(), folder)


def test_the_search_compared_with_learns_stops_and_branches(uninterrupted: list[tuple[Any, ...]]) -> None:
    """Or the tests below would show nothing."""
    outcomes = [attributes["outcome"] for *_, attributes in uninterrupted]
    assert len(uninterrupted) == TRIALS
    assert {"completed", "pruned"} == set(outcomes)
    assert {name for _, _, params, *_ in uninterrupted for name in params} >= {"temperature", "temperature_rand"}


@pytest.mark.parametrize("before", [True, False], ids=["before a line", "after a line"])
def test_a_search_killed_at_every_line_of_its_journal_asks_the_same(
    tmp_path: Path, uninterrupted: list[tuple[Any, ...]], before: bool
) -> None:
    folder = StudyFolder(tmp_path / "killed").create()
    kills = 0
    while True:
        # Two lines further each time: a trial is begun, asked for, reported and told piece by piece.
        try:
            run(cell(), JournalStorage(KilledJournal(folder.journal, 2, before)), folder)
        except Killed:
            kills += 1
        else:
            break
    assert kills > 3 * TRIALS
    assert trials(cell(), folder) == uninterrupted


def test_the_seed_and_the_cell_decide_what_is_asked(tmp_path: Path) -> None:
    def first(of: Cell, name: str) -> dict[str, Any]:
        folder = StudyFolder(tmp_path / name).create()
        asked = JournalSearch(of, open_journal(folder.journal), folder).suggest("trial")
        assert asked is not None
        return asked["spec"]["config"]

    assert first(cell("bop"), "a") == first(cell("bop"), "b")
    assert first(cell("bop", seed=2), "c")["lr"] != first(cell("bop"), "d")["lr"]
    bop, sgd = first(cell("bop"), "e"), first(cell("real-SGD"), "f")
    assert bop["lr"] != sgd["lr"]
    assert json.dumps(bop)
