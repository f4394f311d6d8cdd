"""The search's journal: outcomes are told as what they are, nothing runs twice, and a restart changes no draw."""

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from study.define.cells import AshaConfig, Cell, ResourcesConfig, SearchConfig, make_cell
from study.record.folder import StudyFolder
from study.record.study_log import TrialRecord
from study.search.journal_search import (
    JournalSearch,
    best_trials,
    ended,
    open_journal,
    open_search,
    search_trial_id,
    settle,
    waiting_alone,
)


def cell(method: str = "bop", **search: Any) -> Cell:
    return make_cell(
        "Digits", "MLP", method, fixed={"epochs": 3}, search=SearchConfig(**search), resources=ResourcesConfig()
    )


def search_in(path: Path, of: Cell) -> JournalSearch:
    folder = StudyFolder(path).create()
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
        search.report(name, epoch(number, value))
    search.conclude(name, {**epoch(3, value), "outcome": "completed"})
    return asked["spec"]


def test_trial_ids_and_run_folders_carry_the_cell_and_the_trial_number(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    specs = [finish(search, name, 0.5) for name in "ab"]
    assert [spec["trial_id"] for spec in specs] == ["Digits-MLP-bop-search-0000", "Digits-MLP-bop-search-0001"]
    assert specs[1]["run_dir"] == str(tmp_path / "runs" / "Digits-MLP-bop-search-0001")


def test_a_stopped_trial_is_told_as_pruned_with_its_values(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.report("a", epoch(1, 0.9))
    search.conclude("a", epoch(1, 0.9))  # no last word of its own: the scheduler stopped it
    (trial,) = study_in(tmp_path, cell()).trials
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9}
    assert trial.user_attrs["outcome"] == "pruned"


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_diverged_or_failed_trial_is_told_as_failed_whatever_it_reached(tmp_path: Path, outcome: str) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.report("a", epoch(1, 0.9))
    search.conclude("a", {"epoch": 1, "outcome": outcome})
    (trial,) = study_in(tmp_path, cell()).trials
    assert (trial.state, trial.user_attrs["outcome"]) == (TrialState.FAIL, outcome)


def test_a_trial_whose_process_died_is_told_as_failed(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.conclude("a", None, error=True)
    assert study_in(tmp_path, cell()).trials[0].state == TrialState.FAIL


def test_a_value_that_is_no_number_is_not_told(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    search.report("a", epoch(1, math.nan))
    search.report("a", {"epoch": 2})
    assert study_in(tmp_path, cell()).trials[0].intermediate_values == {}


def test_an_interrupted_trial_is_taken_up_again_as_it_was(tmp_path: Path) -> None:
    before = search_in(tmp_path, cell()).suggest("a")
    restarted = search_in(tmp_path, cell())
    again = restarted.suggest("other")
    assert before is not None and again is not None
    assert again["spec"] == before["spec"]
    restarted.conclude("other", {**epoch(3, 0.5), "outcome": "completed"})
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
    search.report("d", epoch(1, 0.99))
    search.conclude("d", epoch(1, 0.99))
    assert [trial.number for trial in best_trials(study_in(tmp_path, cell()), 3)] == [1, 2, 0]


def test_cells_share_a_journal_and_nothing_else(tmp_path: Path) -> None:
    finish(search_in(tmp_path, cell()), "a", 0.5)
    assert ended(study_in(tmp_path, cell("real-SGD"))) == []


def test_a_trial_at_a_rung_stops_where_others_were_better_and_its_rung_is_kept(tmp_path: Path) -> None:
    of = cell(asha=AshaConfig(grace_period=1, reduction_factor=2))
    search = search_in(tmp_path, of)
    for name, value in (("a", 0.5), ("b", 0.6)):
        search.suggest(name)
        assert not search.report(name, epoch(1, value))
    search.suggest("c")
    assert search.report("c", epoch(1, 0.4))
    search.conclude("c", epoch(1, 0.4))
    trial = study_in(tmp_path, of).trials[2]
    assert (trial.state, trial.user_attrs["rung"], trial.intermediate_values) == (TrialState.PRUNED, 1, {1: 0.4})


def test_a_replayed_epoch_changes_nothing_in_the_journal(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    search.suggest("a")
    stopped = [search.report("a", epoch(number, 0.5)) for number in (1, 2)]
    before = (tmp_path / "optuna.journal").read_bytes()
    again = search_in(tmp_path, cell())
    again.suggest("b")
    opened = len((tmp_path / "optuna.journal").read_bytes())
    assert [again.report("b", {**epoch(number, 0.1), "replayed": True}) for number in (1, 2)] == stopped
    assert len((tmp_path / "optuna.journal").read_bytes()) == opened >= len(before)
    assert study_in(tmp_path, cell()).trials[0].intermediate_values == {1: 0.5, 2: 0.5}


def test_an_extended_search_goes_by_all_trials_that_came_before(tmp_path: Path) -> None:
    """The first 12 are kept as they are; rungs and draws of the others depend on them."""
    of, further = cell(trials=12), cell(trials=24)
    for number in range(12):
        finish(search_in(tmp_path, of), str(number), 0.5 + 0.01 * number)
    first = [(trial.params, trial.values) for trial in study_in(tmp_path, of).trials]
    search = search_in(tmp_path, further)
    asked = search.suggest("next")
    assert asked is not None and asked["spec"]["trial_id"].endswith("search-0012")
    assert search.report("next", epoch(1, 0.4)), "its first epoch is below those of the twelve before it"
    assert [(trial.params, trial.values) for trial in study_in(tmp_path, further).trials[:12]] == first
    assert further.identity() == of.identity()


def test_a_trial_out_of_memory_waits_and_is_tried_once_more_alone(tmp_path: Path) -> None:
    search = search_in(tmp_path, cell())
    asked = search.suggest("a")
    search.conclude("a", {"epoch": 0, "outcome": "out_of_memory"})
    study = study_in(tmp_path, cell())
    assert [trial.number for trial in waiting_alone(study)] == [0]
    assert ended(study) == []
    finish(search_in(tmp_path, cell()), "b", 0.5)  # no other search takes it up
    assert study_in(tmp_path, cell()).trials[1].state == TrialState.COMPLETE
    folder = StudyFolder(tmp_path)
    alone = JournalSearch(cell(), open_journal(folder.journal), folder, alone=True)
    again = alone.suggest("c")
    assert asked is not None and again is not None
    assert again["spec"] == {**asked["spec"], "alone": True}
    alone.conclude("c", {"epoch": 0, "outcome": "out_of_memory"})
    study = study_in(tmp_path, cell())
    assert waiting_alone(study) == []
    assert [trial.user_attrs["outcome"] for trial in ended(study)] == ["infeasible", "completed"]
    assert [trial.number for trial in best_trials(study, 5)] == [1]


def test_a_search_leaves_the_region_that_no_memory_is_there_for(tmp_path: Path) -> None:
    """TPE learns nothing from a failed trial; from an infeasible one it must."""
    of = cell("real-SGD", asha=None, trials=50)
    asked_there = {}
    for outcome in ("out_of_memory", "failed"):
        folder = StudyFolder(tmp_path / outcome).create()
        search = JournalSearch(of, open_journal(folder.journal), folder, alone=True)
        rates = []
        for number in range(of.trials):
            asked = search.suggest(str(number))
            assert asked is not None
            rates.append(asked["spec"]["config"]["lr"])
            if rates[-1] > 0.03:  # half of the range, towards which accuracy rises
                search.conclude(str(number), {"epoch": 0, "outcome": outcome})
            else:
                value = 0.5 + 0.1 * math.log10(rates[-1])
                search.conclude(str(number), {**epoch(3, value), "outcome": "completed"})
        asked_there[outcome] = sum(rate > 0.03 for rate in rates[-20:])
    assert asked_there["failed"] == 20
    assert asked_there["out_of_memory"] <= 10


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("completed", TrialState.COMPLETE), ("pruned", TrialState.PRUNED), ("failed", TrialState.FAIL)],
)
def test_what_the_log_says_is_over_is_told_to_the_journal_and_not_run_again(
    tmp_path: Path, outcome: str, state: TrialState
) -> None:
    """A command was killed after it had logged the end of a trial."""
    search_in(tmp_path, cell()).suggest("a")
    name = search_trial_id(cell(), 0)
    record = TrialRecord(name, cell().name, "search", "bop", {}, {}, outcome, metrics={"val_accuracy": 0.5})
    settle(study_in(tmp_path, cell()), cell(), {name: record})
    (trial,) = study_in(tmp_path, cell()).trials
    assert (trial.state, trial.user_attrs["outcome"]) == (state, outcome)


def test_a_trial_that_the_log_says_was_interrupted_goes_on(tmp_path: Path) -> None:
    search_in(tmp_path, cell()).suggest("a")
    name = search_trial_id(cell(), 0)
    record = TrialRecord(name, cell().name, "search", "bop", {}, {}, "interrupted", how="died")
    settle(study_in(tmp_path, cell()), cell(), {name: record})
    assert study_in(tmp_path, cell()).trials[0].state == TrialState.RUNNING


def test_an_interrupted_attempt_ends_no_trial(tmp_path: Path) -> None:
    for how in ("stopped", "disk_full"):
        search = search_in(tmp_path / how, cell())
        search.suggest("a")
        search.conclude("a", {"epoch": 1, "outcome": how})
        assert study_in(tmp_path / how, cell()).trials[0].state == TrialState.RUNNING


def test_two_objectives_are_told_and_searched_and_what_is_infeasible_is_no_best(tmp_path: Path) -> None:
    of = make_cell(
        "Digits",
        "MLP",
        "bop",
        fixed={"epochs": 3},
        search=SearchConfig(
            asha=None,
            objectives=("val_accuracy", "peak_memory_bytes"),
            ranges={"bop": {"batch_size": [16, 64, 256]}},
        ),
        resources=ResourcesConfig(),
    )
    for number in range(16):  # beyond the ten that are drawn before TPE learns; restarted at each
        search = search_in(tmp_path, of)
        asked = search.suggest(str(number))
        assert asked is not None
        batch = asked["spec"]["config"]["batch_size"]
        last = {**epoch(3, 0.001 * number), "peak_memory_bytes": 1000 * batch}
        assert not search.report(str(number), last)
        alone = {"outcome": "out_of_memory"} if batch == 256 else {"outcome": "completed"}
        search.conclude(str(number), {**last, **alone})
        if batch == 256:
            search = JournalSearch(of, open_journal(tmp_path / "optuna.journal"), StudyFolder(tmp_path), alone=True)
            search.suggest("again")
            search.conclude("again", {**last, **alone})
    study = study_in(tmp_path, of)
    outcomes = {trial.params["batch_size"]: trial.user_attrs["outcome"] for trial in ended(study)}
    assert outcomes == {16: "completed", 64: "completed", 256: "infeasible"}
    assert len(ended(study)) == 16
    best = best_trials(study, 2)
    assert [trial.values for trial in best] == sorted((trial.values for trial in best), reverse=True)
    assert best[0].params["batch_size"] in (16, 64)
