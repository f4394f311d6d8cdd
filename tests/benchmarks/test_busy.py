"""How busy a study kept its places, from its log alone."""

from typing import Any

import pytest

from benchmarks.busy import busy


def run(name: str, start: float, end: float) -> list[dict[str, Any]]:
    return [{"event": "start", "trial_id": name, "at": start}, {"event": "end", "trial_id": name, "at": end}]


def test_the_share_counts_from_all_places_taken_to_the_last_search_trials_start() -> None:
    """Two places: the second is taken at 1; it is idle from 3 to 4, and from 6 to 8, when b's confirmation starts."""
    events = [
        *run("a-search-0", 0, 10),
        *run("b-search-0", 1, 3),
        *run("b-search-1", 4, 6),
        *run("b-confirm-0-s1", 8, 9),
    ]
    found = busy(events, 2)
    assert (found.runs, found.seconds, found.window) == (4, 10, 3)
    assert found.share == pytest.approx((3 + 2) / 6)
    assert found.to_last_start == pytest.approx((7 + 4) / 14)
    assert found.idle_before_confirm == 2


def test_a_study_that_never_filled_its_places_says_so() -> None:
    with pytest.raises(ValueError, match="never ran 2 runs at once"):
        busy(run("a-search-0", 0, 1), 2)
