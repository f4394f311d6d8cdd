"""Each disagreement between a study's records has one name and one repair; records that agree have none."""

from typing import Any

import pytest

from study.record.study_log import TrialRecord
from study.repair.reconcile import CLOSE, LOG_END, REMOVE_FOLDER, TELL, Records, disagreements
from study.search.journal_trials import SearchTrial


def trial(outcome: str, phase: str = "search", epochs: int = 2) -> TrialRecord:
    return TrialRecord("t", "c", phase, "bop", {}, {}, outcome=outcome, last_epoch=epochs)


AGREEING: dict[str, Any] = {
    "log": {"t": trial("completed")},
    "search": {"t": SearchTrial("completed")},
    "tune": {"t": "TERMINATED"},
    "folders": frozenset({"t"}),
}

CASES: list[tuple[dict[str, Any], str]] = [
    ({"log": {"t": trial("running")}, "search": {"t": SearchTrial("running")}}, CLOSE),
    ({"open_sweeps": ["c"]}, CLOSE),
    ({"search": {}}, TELL),
    ({"search": {"t": SearchTrial("running")}}, TELL),
    ({"search": {"t": SearchTrial("failed")}}, ""),
    ({"log": {"t": trial("interrupted")}}, LOG_END),
    ({"search": {"t": SearchTrial("completed"), "u": SearchTrial("pruned")}}, LOG_END),
    ({"tune": {"stranger": "TERMINATED"}}, ""),
    ({"folders": frozenset({"stranger"})}, ""),
    (
        {"log": {"t": trial("pruned")}, "search": {"t": SearchTrial("pruned")}},
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
    assert disagreements(Records(**{**AGREEING, **running, "tune": {}})) == []


def test_records_that_could_not_be_read_are_not_said_to_differ() -> None:
    assert disagreements(Records(**{**AGREEING, "search": None})) == []
