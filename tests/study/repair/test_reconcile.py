"""Each disagreement between a study's records has one name and one repair; records that agree have none."""

from typing import Any

import pytest

from study.record.study_log import TrialRecord
from study.repair.reconcile import (
    CLOSE,
    DELETE_RUN,
    DELIVER,
    RELOG,
    REMOVE_FOLDER,
    SHOW,
    TELL,
    Records,
    ShownRun,
    disagreements,
)
from study.search.journal_trials import SearchTrial


def trial(outcome: str, phase: str = "search", epochs: int = 2) -> TrialRecord:
    return TrialRecord("t", "c", phase, "bop", {}, {}, outcome=outcome, last_epoch=epochs)


def shown(status: str, mlflow: str = "FINISHED", epochs: int = 2, **more: Any) -> ShownRun:
    return ShownRun(**{"run_id": "r", "name": "t", "status": status, "mlflow_status": mlflow, "epochs": epochs, **more})


AGREEING: dict[str, Any] = {
    "log": {"t": trial("completed")},
    "search": {"t": SearchTrial("completed")},
    "shown": [shown("completed")],
    "tune": {"t": "TERMINATED"},
    "folders": frozenset({"t"}),
}

CASES: list[tuple[dict[str, Any], str]] = [
    ({"log": {"t": trial("running")}, "search": {"t": SearchTrial("running")}, "shown": None}, CLOSE),
    ({"open_sweeps": ["c"]}, CLOSE),
    ({"search": {}}, TELL),
    ({"search": {"t": SearchTrial("running")}}, TELL),
    ({"search": {"t": SearchTrial("failed")}}, ""),
    ({"log": {"t": trial("interrupted")}, "shown": [shown("interrupted", "KILLED")]}, RELOG),
    ({"search": {"t": SearchTrial("completed"), "u": SearchTrial("pruned")}}, RELOG),
    ({"waiting": 3}, DELIVER),
    ({"shown": []}, SHOW),
    ({"shown": [shown("failed")]}, SHOW),
    ({"shown": [shown("completed", "RUNNING")]}, SHOW),
    ({"shown": [shown("completed", epochs=1)]}, SHOW),
    ({"shown": [shown("completed"), shown("completed", run_id="later")]}, DELETE_RUN),
    ({"shown": [shown("completed"), shown("completed", name="stranger")]}, ""),
    ({"shown": [shown("completed"), shown("running", "RUNNING", name="c", sweep=True)]}, SHOW),
    ({"tune": {"stranger": "TERMINATED"}}, ""),
    ({"folders": frozenset({"stranger"})}, ""),
    (
        {"log": {"t": trial("pruned")}, "search": {"t": SearchTrial("pruned")}, "shown": [shown("pruned", "KILLED")]},
        REMOVE_FOLDER,
    ),
]


def test_records_that_agree_have_no_finding() -> None:
    assert disagreements(Records(**AGREEING)) == []


@pytest.mark.parametrize(("changes", "repair"), CASES)
def test_each_disagreement_is_found_once_with_its_repair(changes: dict[str, Any], repair: str) -> None:
    (finding,) = disagreements(Records(**{**AGREEING, **changes}))
    assert finding.repair == repair


def test_a_run_that_goes_on_is_running_in_the_search_and_nothing_disagrees() -> None:
    running = {"log": {"t": trial("interrupted")}, "search": {"t": SearchTrial("running")}}
    assert (
        disagreements(Records(**{**AGREEING, **running, "shown": [shown("interrupted", "KILLED")], "tune": {}})) == []
    )


def test_records_that_could_not_be_read_are_not_said_to_differ() -> None:
    assert disagreements(Records(**{**AGREEING, "search": None, "shown": None})) == []


def test_of_a_run_that_is_there_twice_the_later_goes() -> None:
    twice = [shown("completed"), shown("completed", run_id="later")]
    (finding,) = disagreements(Records(**{**AGREEING, "shown": twice}))
    assert finding.subject == "later"
