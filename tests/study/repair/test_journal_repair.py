"""A damaged journal keeps every trial that can be shown to be the log's, and a copy is kept of all of it."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from study.record.study_log import TrialRecord
from study.repair.journal_repair import problems, repair, tell
from study.search.journal_trials import read_searches, search_trials, trial_id

CELL = "Digits-MLP-bop"


def config(number: int) -> dict[str, float]:
    return {"lr": 0.1 * (number + 1)}


def search(journal: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=CELL, direction="maximize", load_if_exists=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Three trials: two completed, and one that is running."""
    path = tmp_path / "optuna.journal"
    study = search(path)
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("lr", 0.01, 1.0)
        trial.set_user_attr("config", json.dumps(config(number)))
        trial.report(0.5, 1)
        if number < 2:
            trial.set_user_attr("outcome", "completed")
            study.tell(trial, 0.5 + number / 10)
    return path


def log() -> dict[str, TrialRecord]:
    found = {}
    for number in range(3):
        outcome = "completed" if number < 2 else "interrupted"
        metrics = {"val_accuracy": 0.5 + number / 10}
        name = trial_id(CELL, number)
        found[name] = TrialRecord(name, CELL, "search", "bop", config(number), {}, outcome=outcome, metrics=metrics)
    return found


def spoil(journal: Path, number: int) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[number] = b"\x00" * (len(lines[number]) - 1) + b"\n"
    journal.write_bytes(b"".join(lines))


def lines_of(journal: Path, code: int) -> list[int]:
    lines = journal.read_text().splitlines()
    return [number for number, line in enumerate(lines) if json.loads(line)["op_code"] == code]


def test_a_whole_journal_has_no_problem_and_is_left_as_it_is(journal: Path) -> None:
    before = journal.read_bytes()
    assert problems(journal) == [] and repair(journal, log()) == []
    assert journal.read_bytes() == before


def test_every_single_lost_line_leaves_the_trials_under_their_numbers(journal: Path, tmp_path: Path) -> None:
    whole = journal.read_bytes()
    for number in range(len(whole.splitlines())):
        damaged = tmp_path / f"lost-{number}" / "optuna.journal"
        damaged.parent.mkdir()
        damaged.write_bytes(whole)
        spoil(damaged, number)
        assert problems(damaged) == [f"line {number + 1} of the search's journal {damaged} is damaged"]
        spoiled = damaged.read_bytes()
        repair(damaged, log())
        assert damaged.with_name("optuna.journal.damaged-1").read_bytes() == spoiled
        tell(damaged, log(), {}, {})
        assert problems(damaged) == []
        found = search_trials(read_searches(damaged))
        assert [found[trial_id(CELL, place)].outcome for place in (0, 1)] == ["completed", "completed"]
        assert found[trial_id(CELL, 1)].metrics == {"val_accuracy": 0.6}
        assert {name for name, one in found.items() if one.config not in (None, log()[name].config)} == set()


def test_a_line_whose_loss_shifts_no_trial_costs_that_line_alone(journal: Path) -> None:
    spoil(journal, lines_of(journal, 7)[0])  # the first trial's intermediate value
    (done,) = repair(journal, log())
    assert "left out the damaged lines" in done
    trials = search(journal).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]
    assert [trial.intermediate_values for trial in trials] == [{}, {1: 0.5}, {1: 0.5}]


def test_trials_behind_a_lost_start_are_put_back_by_the_log_and_a_running_one_is_named(journal: Path) -> None:
    spoil(journal, lines_of(journal, 4)[1])  # the second trial's start: the third would take its number
    (done,) = repair(journal, log())
    assert "whole lines at the start" in done
    assert tell(journal, log(), {}, {trial_id(CELL, 1): {1: 0.4}}) == [trial_id(CELL, 2)]
    trials = search(journal).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert (trials[1].params, trials[1].value, trials[1].intermediate_values) == ({"lr": 0.2}, 0.6, {1: 0.4})


def test_an_unfinished_last_line_is_cut_before_anything_is_added(journal: Path) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    assert problems(journal) == [f"the last line of the search's journal {journal} is unfinished"]
    repair(journal, log())
    assert journal.read_bytes() == whole
