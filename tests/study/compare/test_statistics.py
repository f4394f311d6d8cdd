"""The statistics against worked examples, SciPy, properties, and the coverage that they promise (PROTOCOL §5, §6)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.compare.statistics import (
    Estimate,
    equivalence_p,
    error_ratios,
    holm,
    mean_and_interval,
    mean_ranks,
    paired_difference,
    paired_ratio,
    profile,
    profile_area,
)

ACCURACIES = st.integers(0, 1000).map(lambda value: value / 1000)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def seeded(*values: float) -> dict[int, float]:
    return dict(enumerate(values, start=11))


def test_interval_below_ten_values_is_students_t() -> None:
    """§5.2; t(0.975, 2) = 4.302653 from printed tables, s = 0.0264575."""
    estimate = mean_and_interval([0.90, 0.91, 0.95])
    half_width = 4.302653 * 0.02645751 / math.sqrt(3)
    assert estimate.mean == pytest.approx(0.92) and estimate.n == 3
    assert estimate.interval == pytest.approx((0.92 - half_width, 0.92 + half_width), rel=1e-6)


def test_one_value_has_no_interval_and_equal_values_one_of_no_width() -> None:
    assert mean_and_interval([0.5]) == Estimate(0.5, None, None, 1)
    for n in (3, 10, 30):
        assert mean_and_interval([0.1] * n) == Estimate(0.1, 0.1, 0.1, n)
    with pytest.raises(ValueError, match="no values"):
        mean_and_interval([])


def test_interval_from_ten_values_is_a_bootstrap_and_follows_their_skew() -> None:
    values = [0.99, 0.99, 0.985, 0.99, 0.98, 0.99, 0.985, 0.99, 0.90, 0.99]
    estimate = mean_and_interval(values)
    low, high = estimate.interval
    assert estimate.mean - low > 1.3 * (high - estimate.mean)
    assert min(values) <= low <= estimate.mean <= high <= max(values)


def test_the_bootstrap_agrees_with_students_t_where_the_values_are_symmetric() -> None:
    """§5.2: what the widening is for; without it the interval would be narrower by a sixth."""
    values = stats.norm.ppf((np.arange(10) + 0.5) / 10)
    low, high = mean_and_interval(list(values)).interval
    half_width = stats.t.ppf(0.975, 9) * values.std(ddof=1) / math.sqrt(10)
    assert (low, high) == pytest.approx((-half_width, half_width), rel=0.05)


@given(st.lists(ACCURACIES, min_size=1, max_size=14), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_mean_and_is_the_same_in_every_order(values: list[float], random: object) -> None:
    estimate = mean_and_interval(values)
    low, high = estimate.interval
    assert low <= estimate.mean <= high and math.isfinite(low) and math.isfinite(high)
    random.shuffle(values)  # type: ignore[attr-defined]
    assert mean_and_interval(values) == estimate


@pytest.mark.parametrize(
    ("n", "population", "true_mean", "least"),
    [
        (3, "normal", 0.0, 0.93),
        (9, "normal", 0.0, 0.93),
        (10, "normal", 0.0, 0.91),
        (10, "binomial", 0.95, 0.91),
        (20, "normal", 0.0, 0.92),
        (20, "exponential", 1.0, 0.90),
    ],
)
def test_intervals_hold_the_true_mean_as_often_as_they_say(
    n: int, population: str, true_mean: float, least: float
) -> None:
    """§5.2: 95 % nominally. Over 300 samples the share's own standard error is 0.013, and the bootstrap is a few per
    cent below its level on ten values and on skewed ones."""
    generator = np.random.default_rng(20)
    draw = {
        "normal": lambda: generator.normal(size=n),
        "exponential": lambda: generator.exponential(size=n),
        "binomial": lambda: generator.binomial(360, 0.95, size=n) / 360,  # accuracies on 360 test images
    }[population]
    held = 0
    for _ in range(300):
        low, high = mean_and_interval(list(draw())).interval
        held += low <= true_mean <= high
    assert least <= held / 300 <= 0.98


def test_a_paired_difference_is_over_common_seeds_with_the_paired_t_test() -> None:
    """§5.3, §5.4; differences 0.02, 0.03, 0.01: t = 0.02 / (0.01 / sqrt 3) = 3.4641, p = 0.0741799 by SciPy."""
    one = {1: 0.92, 2: 0.95, 3: 0.93, 7: 0.1}
    other = {1: 0.90, 2: 0.92, 3: 0.92, 8: 0.9}
    difference = paired_difference(one, other)
    assert difference is not None and difference.estimate.n == 3
    assert difference.estimate.mean == pytest.approx(0.02)
    half_width = 4.302653 * 0.01 / math.sqrt(3)
    assert difference.estimate.interval == pytest.approx((0.02 - half_width, 0.02 + half_width), rel=1e-5)
    expected = stats.ttest_rel([0.92, 0.95, 0.93], [0.90, 0.92, 0.92]).pvalue
    assert difference.p == pytest.approx(expected) == pytest.approx(0.0741799, rel=1e-4)


def test_pairs_need_a_common_seed_and_a_p_value_two() -> None:
    assert paired_difference({1: 0.5}, {2: 0.5}) is None
    alone = paired_difference({1: 0.5}, {1: 0.4})
    assert alone is not None and alone.p is None and alone.estimate.low is None


def test_equal_differences_have_the_p_value_of_the_sign_flip_test() -> None:
    """§5.4: all of 2^n flips but two give a smaller mean, so p = 2 / 2^n; t would claim p = 0."""
    differences = {n: paired_difference(seeded(*[0.75] * n), seeded(*[0.5] * n)) for n in (2, 3, 12)}
    assert {n: one.p for n, one in differences.items() if one} == {2: 0.5, 3: 0.25, 12: 2**-11}
    same = paired_difference(seeded(0.9, 0.8), seeded(0.9, 0.8))
    assert same is not None and same.p == 1.0


def test_rounding_of_floats_is_no_evidence() -> None:
    one, other = seeded(0.92, 0.95, 0.93), seeded(0.90, 0.93, 0.91)
    assert len({a - b for a, b in zip(one.values(), other.values(), strict=True)}) > 1
    difference = paired_difference(one, other)
    assert difference is not None and difference.p == 0.25 and difference.estimate.interval == (0.02, 0.02)


def test_from_ten_pairs_the_p_value_is_that_of_a_bootstrapped_t() -> None:
    """§5.4: on well-behaved differences it agrees with the t-test, which it replaces for the others."""
    for shift in (0.2, 0.5):
        differences = shift + stats.norm.ppf((np.arange(20) + 0.5) / 20)
        found = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(20), 0.0))
        assert found is not None and found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.3)


def test_a_bootstrapped_p_value_is_never_zero_and_repeats_in_any_order() -> None:
    values = [1.0 + place / 1000 for place in range(10)]
    one = paired_difference(dict(enumerate(values)), dict.fromkeys(range(10), 0.0))
    other = paired_difference(dict(enumerate(values[::-1])), dict.fromkeys(range(10), 0.0))
    assert one is not None and one == other and one.p is not None and 1e-4 <= one.p < 1e-3


def test_one_different_pair_of_many_equal_ones_is_weak_evidence() -> None:
    """Resamples without it have no spread and count as further away."""
    found = paired_difference(dict.fromkeys(range(10), 0.5) | {0: 0.6}, dict.fromkeys(range(10), 0.0))
    assert found is not None and found.p is not None and found.p > 0.3


def test_p_values_of_equal_methods_are_uniform() -> None:
    """§5.4: at level 5 % one in twenty; 300 pairs of samples, whose share has a standard error of 0.013."""
    generator = np.random.default_rng(5)
    for n in (5, 12):
        samples = [paired_difference(dict(enumerate(row)), dict.fromkeys(range(n), 0.0))
                   for row in generator.normal(size=(300, n))]  # fmt: skip
        rejected = np.mean([one.p < 0.05 for one in samples if one and one.p is not None])
        assert 0.02 <= rejected <= 0.09


def test_holms_worked_example() -> None:
    """§5.5; 0.01 x 4, 0.02 x 3, 0.03 x 2 and 0.04 x 1 after ordering, then never below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(P_VALUES)
@settings(deadline=None)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for i, (p, q) in enumerate(zip(p_values, adjusted, strict=True)):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
        assert all(q <= other for other_p, other in zip(p_values, adjusted, strict=True) if other_p > p), i


def test_equivalence_over_seeds_is_two_one_sided_t_tests() -> None:
    """§6.2, Schuirmann 1987: below 2.5 % exactly where the 95 % interval lies within the margin."""
    differences = [-0.4, 0.1, 0.3, -0.1]
    found = mean_and_interval(differences)
    assert found.low is not None and found.high is not None
    reach = max(-found.low, found.high)
    assert equivalence_p(differences, reach) == pytest.approx(0.025)
    assert equivalence_p(differences, reach + 0.1) < 0.025 < equivalence_p(differences, reach - 0.1)


def test_equal_differences_show_no_equivalence() -> None:
    """An interval of no width is no evidence on how seeds differ."""
    assert equivalence_p([-0.6, -0.6, -0.6], 1.0) == equivalence_p([0.0], 1.0) == 1.0


def test_equal_differences_have_no_interval_and_never_one_without_width() -> None:
    found = paired_difference(dict.fromkeys(range(3), 0.9), dict.fromkeys(range(3), 0.906))
    assert found is not None and found.estimate == Estimate(-0.006, None, None, 3) and found.p == 0.25


def test_a_ratio_of_memories_is_a_geometric_mean() -> None:
    """§6.3; logarithms of 1/2 and 1/8 average to that of 1/4."""
    ratio = paired_ratio(seeded(5.0, 5.0), seeded(10.0, 40.0))
    assert ratio is not None and ratio.mean == pytest.approx(0.25)
    assert ratio.low is not None and ratio.low < 0.25
    assert paired_ratio(seeded(10.0, 10.0), seeded(40.0, 40.0)) == Estimate(pytest.approx(0.25), 0.25, 0.25, 2)
    assert paired_ratio({1: 1.0}, {2: 1.0}) is None


def test_mean_ranks_share_ties_and_put_a_missing_score_last() -> None:
    """§6.5; Demšar 2006, section 3.1.3, uses average ranks for ties."""
    assert mean_ranks({"a": [0.9, 0.5, 0.7], "b": [0.8, 0.5, None], "c": [0.7, 0.6, None]}) == pytest.approx(
        {"a": (1 + 2.5 + 1) / 3, "b": (2 + 2.5 + 2.5) / 3, "c": (3 + 1 + 2.5) / 3}
    )


def test_a_profiles_worked_example() -> None:
    """§6.5; errors 0.1 and 0.2 against 0.05 and 0.2 give the ratios 2, 1 and 1, 1."""
    ratios = error_ratios({"a": [0.9, 0.8], "b": [0.95, 0.8]})
    assert ratios["a"] == pytest.approx([2, 1]) and ratios["b"] == pytest.approx([1, 1])
    assert [profile(ratios["a"], tau) for tau in (1.0, 1.5, 2.5)] == [0.5, 0.5, 1.0]
    # ρ is 1/2 from 1 to 2 and 1 from 2 to 4: (0.5 + 2) / 3
    assert profile_area(ratios["a"]) == pytest.approx(2.5 / 3)
    assert profile_area(ratios["b"]) == pytest.approx(1.0)


def test_no_score_is_an_infinite_ratio_and_no_error_a_floor() -> None:
    ratios = error_ratios({"a": [1.0], "b": [0.998], "c": [None]})
    assert ratios == {"a": [1.0], "b": [pytest.approx(2.0)], "c": [math.inf]}
    assert profile_area(ratios["c"]) == 0.0 and profile(ratios["c"], 4.0) == 0.0


@given(st.lists(st.tuples(ACCURACIES, ACCURACIES), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_profiles_area_is_the_integral_of_its_steps(pairs: list[tuple[float, float]]) -> None:
    for ratios in error_ratios({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}).values():
        steps = np.linspace(1, 4, 3001)
        integral = float(np.mean([profile(ratios, tau) for tau in (steps[:-1] + steps[1:]) / 2]))
        assert profile_area(ratios) == pytest.approx(integral, abs=2e-3)
        assert all(ratio >= 1 for ratio in ratios)
