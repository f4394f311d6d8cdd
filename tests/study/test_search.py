"""The search's journal: outcomes are told as what they are, nothing runs twice, and a restart changes no draw."""

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from study.config import Cell, ResourcesConfig, SearchConfig, make_cell
from study.folder import StudyFolder
from study.search import JournalSearch, best_trials, ended, open_journal, open_search


def cell(method: str = "bop", **search: Any) -> Cell:
    return make_cell(
        "Digits", "MLP", method, fixed={"epochs": 3}, search=SearchConfig(**search), resources=ResourcesConfig()
    )


def search_in(path: Path, of: Cell) -> JournalSearch:
    folder = StudyFolder(path)
    return JournalSearch(of, open_journal(folder.journal), folder)


def study_in(path: Path, of: Cell) -> Any:
    return open_search(of, open_journal(StudyFolder(path).journal))


def epoch(number: int, value: float) -> dict[str, Any]:
    return {"epoch": number, "val_accuracy": value, "training_iteration": 100 + number}


def finish(search: JournalSearch, name: str, value: float) -> dict[str, Any]:
    """Ask for a trial and let it complete with this last accuracy."""
    asked = search.suggest(name)
    assert asked is not None
    for number in (1, 2, 3):
        search.on_trial_result(name, epoch(number, value))
    search.on_trial_complete(name, {**epoch(3, value), "outcome": "completed"})
    return asked["spec"]


def test_trial_ids_and_run_folders_carry_the_cell_and_the_trial_number(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    specs = [finish(search, name, 0.5) for name in "ab"]
    assert [spec["trial_id"] for spec in specs] == ["Digits-MLP-bop-search-0000", "Digits-MLP-bop-search-0001"]
    assert specs[1]["run_dir"] == str(tmp_path / "runs" / "Digits-MLP-bop-search-0001")


def test_a_stopped_trial_is_told_as_pruned_with_its_values(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.on_trial_result("a", epoch(1, 0.9))
    search.on_trial_complete("a", epoch(1, 0.9))
    (trial,) = study_in(tmp_path, cell()).trials
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9}
    assert trial.user_attrs["outcome"] == "pruned"


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_diverged_or_failed_trial_is_told_as_failed_whatever_it_reached(tmp_path: Path, outcome: str) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.on_trial_result("a", epoch(1, 0.9))
    search.on_trial_complete("a", {"epoch": 1, "outcome": outcome})
    (trial,) = study_in(tmp_path, cell()).trials
    assert (trial.state, trial.user_attrs["outcome"]) == (TrialState.FAIL, outcome)


def test_a_trial_whose_process_died_is_told_as_failed(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.on_trial_complete("a", None, error=True)
    assert study_in(tmp_path, cell()).trials[0].state == TrialState.FAIL


def test_a_value_that_is_no_number_is_not_told(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.on_trial_result("a", epoch(1, math.nan))
    search.on_trial_result("a", {"epoch": 2})
    assert study_in(tmp_path, cell()).trials[0].intermediate_values == {}


def test_an_interrupted_trial_is_taken_up_again_as_it_was(tmp_path: Path) -> None:
    before = search_in(tmp_path, cell()).suggest("a")
    restarted = search_in(tmp_path, cell())
    again = restarted.suggest("other")
    assert before is not None and again is not None
    assert again["spec"] == before["spec"]
    restarted.on_trial_complete("other", {**epoch(3, 0.5), "outcome": "completed"})
    assert [trial.state for trial in study_in(tmp_path, cell()).trials] == [TrialState.COMPLETE]


def test_a_restart_changes_no_later_draw(tmp_path: Path) -> None:
    through = search_in(tmp_path / "through", cell())
    configs = [finish(through, str(number), 0.1 * number)["config"] for number in range(14)]
    restarted = [finish(search_in(tmp_path / "again", cell()), str(n), 0.1 * n)["config"] for n in range(14)]
    assert restarted == configs
    assert len({config["lr"] for config in configs}) == 14


def test_the_study_s_seed_and_the_cell_decide_the_draws(tmp_path: Path) -> None:
    first = [finish(search_in(tmp_path / str(seed), cell(seed=seed)), "a", 0.5)["config"]["lr"] for seed in (1, 2, 1)]
    # The third is trial 1 of the first folder, so a draw of its own.
    assert len(set(first)) == 3
    assert finish(search_in(tmp_path / "fresh", cell(seed=1)), "a", 0.5)["config"]["lr"] == first[0]


def test_an_empty_space_is_one_trial_with_the_cell_s_own_settings(tmp_path: Path) -> None:
    frozen = cell("frozen")
    spec = finish(search_in(tmp_path, frozen), "a", 0.3)
    assert spec["config"] == frozen.base.to_dict()
    assert len(ended(study_in(tmp_path, frozen))) == 1


def test_the_best_are_the_completed_ones_by_last_epoch_and_the_earlier_of_equals(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    for name, value in (("a", 0.5), ("b", 0.7), ("c", 0.7)):
        finish(search, name, value)
    search.suggest("d")
    search.on_trial_result("d", epoch(1, 0.99))
    search.on_trial_complete("d", epoch(1, 0.99))
    assert [trial.number for trial in best_trials(study_in(tmp_path, cell()), 3)] == [1, 2, 0]


def test_cells_share_a_journal_and_nothing_else(tmp_path: Path) -> None:
    finish(search_in(tmp_path, cell()), "a", 0.5)
    assert ended(study_in(tmp_path, cell("real-SGD"))) == []
