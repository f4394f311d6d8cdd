"""What was added after a look at test accuracies is disclosed (PROTOCOL §4.7)."""

import json
from typing import Any

from study.record.additions import Additions

OFFER = {"trials": 4, "k": 1, "seeds": [11, 12]}


def sweep(cell: str, at: float, **changes: Any) -> dict[str, Any]:
    tags = {"dataset": "Digits", "model": "MLP", "offered": json.dumps({**OFFER, **changes})}
    return {"event": "sweep", "cell": cell, "at": at, "tags": tags}


def opened(cell: str, trial_id: str) -> list[dict[str, Any]]:
    return [
        {"event": "start", "trial_id": trial_id, "cell": cell},
        {"event": "test_opened", "trial_id": trial_id, "forced": False},
    ]


def added(*events: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    additions = Additions()
    for event in events:
        additions.read(event)
    return additions.found


def test_seeds_added_after_a_look_are_disclosed_with_date_and_what_was_known() -> None:
    found = added(sweep("a", 1), *opened("a", "r1"), *opened("a", "r2"), sweep("a", 9, seeds=[11, 12, 13]))
    assert found == {"a": [{"at": 9, "what": "confirmation seeds 13", "known": 2}]}


def test_trials_added_after_a_look_are_disclosed() -> None:
    found = added(sweep("a", 1), *opened("a", "r1"), sweep("a", 9, trials=8, k=2))
    assert [one["what"] for one in found["a"]] == [
        "search trials: 8 instead of 4",
        "configurations confirmed: 2 instead of 1",
    ]


def test_a_method_added_after_a_look_at_another_is_disclosed() -> None:
    assert added(sweep("a", 1), *opened("a", "r1"), sweep("b", 9))["b"] == [{"at": 9, "what": "the method", "known": 1}]


def test_what_was_added_before_any_look_or_on_another_workload_is_not() -> None:
    other = sweep("c", 9)
    other["tags"]["dataset"] = "MNIST"
    assert added(sweep("a", 1), sweep("a", 2, trials=8), *opened("a", "r1"), sweep("a", 3, trials=8), other) == {}
