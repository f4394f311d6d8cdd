"""How accuracy grows with the number of trials: a band only where it is valid for the sampler (PROTOCOL §3.1)."""

from collections.abc import Sequence

import numpy as np
import pytest

from study.compare.budget import CellLedger
from study.compare.scores import CellGroup
from study.report.tuning import ALONE, DRAWS, LEAST_DRAWS, REPEATS, best_so_far, growth, tuning_band, tuning_curves
from study.search.searched import Searched, SearchedMethod, SearchedTrial

GROUP = CellGroup("Digits", "MLP")


def searched(*searches: Sequence[float | str]) -> SearchedMethod:
    """Searches of these accuracies; a word is a trial that ended so instead."""
    made = [
        Searched(
            "cell",
            (),
            tuple(
                SearchedTrial(number, value, None, {}, place)
                if isinstance(value, str)
                else SearchedTrial(number, "completed", value, {}, place)
                for number, value in enumerate(values)
            ),
            {},
        )
        for place, values in enumerate(searches, start=1)
    ]
    return SearchedMethod(tuple(made), made[0])


def account(sampler: str = "tpe", startup: int | None = 10) -> CellLedger:
    return CellLedger("Digits", "MLP", "bop", None, None, {}, sampler=sampler, startup=startup)


def draws(count: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).beta(8, 2, size=count).tolist()


def test_best_so_far_counts_ended_trials_and_takes_completed_values_alone() -> None:
    (one,) = searched(["pruned", 0.80, 0.70, "running", 0.90]).searches
    assert best_so_far(one.trials) == [(2, 0.80), (3, 0.80), (4, 0.90)]


def test_the_band_of_independent_draws_holds_the_whole_true_curve_in_95_percent_of_searches() -> None:
    """Of a uniform distribution the best of k draws has the median 0.5^(1 / k)."""
    counts = list(range(1, 13))
    truth = [0.5 ** (1 / count) for count in counts]
    held = 0
    for seed in range(200):
        low, _, high = tuning_band(np.random.default_rng(seed).random(12).tolist(), counts)
        held += all(a <= true <= b for a, true, b in zip(low, truth, high, strict=True))
    assert held >= 180


def test_a_band_lies_within_nought_and_one_also_of_equal_values() -> None:
    for values in ([0.9] * 6, [0.0] * 6, [1.0] * 6, draws(30)):
        low, median, high = tuning_band(values, [1, 2, 6])
        assert all(0 <= a <= b <= c <= 1 for a, b, c in zip(low, median, high, strict=True))
        assert max(b - a for a, b in zip(low, high, strict=True)) > 0 and sorted(median) == median


@pytest.mark.parametrize("how", [account("random", None), account("tpe", 10), account("tpe", 40)])
def test_random_draws_have_a_band_and_so_have_start_up_draws(how: CellLedger) -> None:
    found = growth(searched(draws(10)), how)
    assert found is not None and found.kind == DRAWS and len(found.low) == len(found.line) == 10 and not found.why


@pytest.mark.parametrize("how", [account("qmc", None), account("tpe", 4)])
def test_one_search_whose_draws_hang_together_has_no_band(how: CellLedger) -> None:
    found = growth(searched(draws(10)), how)
    assert found is not None and (found.kind, found.low, found.why) == (ALONE, (), "one search")
    assert found.startup == (how.startup or 0)


def test_a_trial_without_a_value_counts_as_a_draw_of_nothing() -> None:
    values: list[float | str] = [*draws(9)]
    whole, broken = (growth(searched([*values, last]), account("random", None)) for last in (0.5, "diverged"))
    assert whole is not None and broken is not None and broken.kind == DRAWS and len(broken.line) == 10
    assert broken.low[0] <= whole.low[0] and broken.line[-1] == whole.line[-1]


def test_pruned_trials_and_few_draws_leave_no_band() -> None:
    pruned = growth(searched([*draws(9), "pruned"]), account("random", None))
    assert pruned is not None and pruned.kind == ALONE and "pruned" in pruned.why
    few = growth(searched(draws(LEAST_DRAWS - 1)), account("random", None))
    assert few is not None and few.kind == ALONE and "fewer than" in few.why
    assert growth(searched(["failed", "running"]), account()) is None


def test_repeated_searches_have_their_range_at_the_numbers_of_trials_that_all_of_them_have() -> None:
    found = growth(searched([0.5, 0.7, 0.9], ["failed", 0.8, 0.8], [0.6, 0.6, 0.6, 0.95]), account("tpe", 2))
    assert found is not None and found.kind == REPEATS
    assert found.line == [(2, pytest.approx(0.7)), (3, pytest.approx(2.3 / 3))]
    assert (found.low, found.high) == ([0.6, 0.6], [0.8, 0.9])


def test_the_figure_says_what_its_bands_are_and_why_there_is_none() -> None:
    own = {"bop": searched(draws(12)), "frozen": searched(draws(3)), "real-Adam": searched(draws(12), draws(12, 1))}
    accounts = {"bop": account(), "frozen": account(), "real-Adam": account()}
    drawing = tuning_curves(GROUP, own, accounts, "tuning-1")
    assert (
        drawing is not None and "bop: " in drawing.description and "without a band: one search" in drawing.description
    )
    assert "probability of at least 33% (of 2 searches)" in drawing.caption
    assert "`search: repeats` would tell" in drawing.caption and "up to there TPE draws at random" in drawing.caption
    drawn = tuning_curves(GROUP, {"bop": searched(draws(8))}, {"bop": account()}, "tuning-1")
    assert drawn is not None and "at the median, band" in drawn.description and "opda" in drawn.caption
    assert tuning_curves(GROUP, {"bop": searched([0.5])}, {"bop": account()}, "tuning-1") is None
