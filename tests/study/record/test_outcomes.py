"""One rule says how an attempt ended, whoever asks."""

import pytest

from study.record.outcomes import ending


@pytest.mark.parametrize("outcome", ["completed", "diverged", "failed"])
def test_what_a_run_says_of_its_end_is_its_end(outcome: str) -> None:
    told = ending({"outcome": outcome, "reason": "why"})
    assert (told.over, told.outcome, told.reason) == (True, outcome, "why")


def test_a_run_that_the_scheduler_stopped_is_pruned() -> None:
    assert ending({"epoch": 3}).outcome == "pruned"


def test_memory_that_is_lacking_ends_a_run_only_when_it_was_alone() -> None:
    assert not ending({"outcome": "out_of_memory"}).over
    assert ending({"outcome": "out_of_memory"}, alone=True).outcome == "infeasible"


def test_a_run_that_was_given_up_after_its_process_died_has_failed() -> None:
    assert ending({"epoch": 2}, died=True).outcome == "failed"
