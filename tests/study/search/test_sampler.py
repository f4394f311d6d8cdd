"""What a search asks for depends on its seed and its results alone, not on how often it was killed and restarted."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.define.cells import Cell, ResourcesConfig, SearchConfig, make_cell
from study.define.offer import EARLIER_STARTUP
from study.record.folder import StudyFolder
from study.search.journal_search import JournalSearch, ended, open_journal, open_search, startup_trials
from study.search.sampler import sobol_point, value_at
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


def several(kind: str, folder: StudyFolder, trials: int, **search: Any) -> list[dict[str, Any]]:
    """The parameters of a search's first trials, none of which is told a result."""
    settings = SearchConfig(trials=trials, sampler=kind, **search)
    of = make_cell("Digits", "MLP", "binary", fixed={"epochs": EPOCHS}, search=settings, resources=ResourcesConfig())
    asking = JournalSearch(of, open_journal(folder.journal), folder)
    for number in range(trials):
        asking.suggest(f"trial-{number}")
    return [trial.params for trial in open_search(of, open_journal(folder.journal)).trials]


def test_random_and_quasi_random_draws_hang_on_seed_and_number_alone(
    tmp_path: Path, uninterrupted: list[tuple[Any, ...]]
) -> None:
    for kind in ("random", "qmc"):
        search = SearchConfig(sampler=kind)
        of = make_cell("Digits", "MLP", "binary", fixed={"epochs": EPOCHS}, search=search, resources=ResourcesConfig())
        folder = StudyFolder(tmp_path / kind).create()
        run(of, open_journal(folder.journal), folder)
        untold = several(kind, StudyFolder(tmp_path / f"{kind}-untold").create(), TRIALS)
        assert [params for _, _, params, *_ in trials(of, folder)] == untold
        assert untold != [params for _, _, params, *_ in uninterrupted]


def test_quasi_random_draws_fill_each_range_evenly() -> None:
    distribution = FloatDistribution(1e-4, 1.0, log=True)
    draws = [value_at(sobol_point(3, number)[1], distribution) for number in range(16)]
    cells = sorted(int(4 * (math.log10(draw) + 4)) for draw in draws)
    assert cells == list(range(16))  # one in each sixteenth of the range, on its scale
    choices = [value_at(sobol_point(3, number)[0], CategoricalDistribution(["a", "b"])) for number in range(16)]
    assert choices.count("a") == 8
    whole = {value_at(sobol_point(3, number)[2], IntDistribution(1, 7, step=2)) for number in range(32)}
    assert whole == {1, 3, 5, 7}


def test_tpe_learns_after_its_start_up_draws_which_are_a_quarter_of_the_trials() -> None:
    assert [SearchConfig(trials=trials).startup for trials in (8, 12, 20, 40, 200)] == [4, 4, 5, 10, 10]
    assert SearchConfig(startup_trials=2).startup == 2
    assert SearchConfig(sampler="random").startup is None
    with pytest.raises(ValueError, match="startup_trials is a setting of tpe, and the sampler is qmc"):
        SearchConfig(sampler="qmc", startup_trials=2)


def test_a_search_keeps_the_start_up_draws_that_it_began_with(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study").create()
    small, large = (
        make_cell("Digits", "MLP", "bop", fixed={}, search=SearchConfig(trials=trials), resources=ResourcesConfig())
        for trials in (8, 40)
    )
    assert startup_trials(open_search(small, open_journal(folder.journal)), small) == 4
    assert startup_trials(open_search(large, open_journal(folder.journal)), large) == 4


def test_a_journal_of_before_there_was_a_choice_goes_on_with_ten_start_up_draws(tmp_path: Path) -> None:
    folder, of = StudyFolder(tmp_path / "study").create(), cell()
    storage = open_journal(folder.journal)
    optuna.create_study(storage=storage, study_name=of.name, directions=["maximize"]).ask()
    assert startup_trials(open_search(of, storage), of) == EARLIER_STARTUP == 10
