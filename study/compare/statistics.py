"""The statistics of a comparison, as PROTOCOL §5 and §6 state them: pure functions of numbers.

Means with intervals, paired differences with p-values, Holm's correction, equivalence, mean ranks and performance
profiles. Nothing here is drawn at random from outside: a bootstrap's seed is a hash of its data, so that the same
records give the same table.
"""

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy import stats

from study.compare.paired import CONFIDENCE, SIGNIFICANCE, PairedVerdict, paired_verdict

__all__ = ["CONFIDENCE", "SIGNIFICANCE", "PairedVerdict", "paired_verdict"]
BOOTSTRAP_FROM = 10
"""From this many values on, intervals and p-values are bootstrapped (§5.2, §5.4)."""
RESAMPLES = 9_999
LEAST_ERROR = 0.001
FURTHEST_RATIO = 4.0


@dataclass(frozen=True)
class Estimate:
    """A mean over n values with its 95 % interval; `low` and `high` are None where there is none, as of one value."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, or the mean alone where there is none."""
        return (self.mean if self.low is None else self.low, self.mean if self.high is None else self.high)

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit; `factor` is positive."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return Estimate(factor * self.mean, low, high, self.n)


def estimate_as_dict(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate as plain values."""
    return None if estimate is None else asdict(estimate)


def mean_and_interval(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of n independent values (§5.2): Student's t below n = 10, widened BCa from there.

    With s the sample standard deviation, mean ± t(0.975, n - 1) s / sqrt(n). n = 1 gives no interval; identical values
    one of no width. The order of the values does not matter.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values, so no mean; check that runs completed first")
    centre = mean(values)  # exact, unlike a sum of floats: identical values have exactly their own mean
    if n == 1:
        return Estimate(centre, None, None, n)
    if min(values) == max(values):
        return Estimate(centre, centre, centre, n)
    if n >= BOOTSTRAP_FROM:
        low, high = _bootstrap_interval(values)
    else:
        half_width = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * stdev(values, centre) / math.sqrt(n)
        low, high = centre - half_width, centre + half_width
    return Estimate(centre, low, high, n)


def _bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The BCa interval at the level at which, on normal data, it agrees with Student's t (Hesterberg 2015)."""
    n = len(values)
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * math.sqrt(n / (n - 1))
    level = 1 - 2 * float(stats.norm.sf(quantile))
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate BCa warns and is not a number; the other method stands in
            found = stats.bootstrap(
                (ordered,),
                np.mean,
                n_resamples=RESAMPLES,
                confidence_level=level,
                method=method,
                rng=_generator(ordered),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Difference:
    """A paired difference: its mean with interval, and the two-sided p-value of "the mean is 0" (None where n = 1)."""

    estimate: Estimate
    p: float | None


def paired_difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """`one` - `other` over the seeds that both have (§5.3, §5.4); None where they have none in common.

    Differences that all agree have no interval: that says nothing of what others would be.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    # Equal differences must be equal numbers: 0.92 - 0.90 and 0.95 - 0.93 are not, and their spread of 1e-17 would
    # count as evidence. Accuracies are multiples of 1 / images, so nothing real lies below the ninth place.
    differences = [round(one[seed] - other[seed], 9) for seed in seeds]
    estimate = mean_and_interval(differences)
    if min(differences) == max(differences):
        estimate = Estimate(estimate.mean, None, None, estimate.n)
    return Difference(estimate, _p_value(differences))


def paired_ratio(one: Mapping[int, float], other: Mapping[int, float]) -> Estimate | None:
    """`one` / `other` over the seeds that both have: the geometric mean, with the interval of the logarithms (§6.3).

    Values are positive; None where they have no seed in common.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    logarithms = mean_and_interval([math.log(one[seed] / other[seed]) for seed in seeds])
    low, high = (None if end is None else math.exp(end) for end in (logarithms.low, logarithms.high))
    return Estimate(math.exp(logarithms.mean), low, high, logarithms.n)


def _p_value(differences: Sequence[float]) -> float | None:
    n = len(differences)
    if n == 1:
        return None
    if min(differences) == max(differences):
        return 1.0 if differences[0] == 0 else 2.0 ** (1 - n)
    if n < BOOTSTRAP_FROM:
        return float(stats.ttest_1samp(differences, 0.0).pvalue)
    return _bootstrap_p(np.sort(np.asarray(differences, dtype=np.float64)))


def _bootstrap_p(differences: np.ndarray) -> float:
    """The share of resamples under "the mean is 0" whose t is at least as far from 0 as the one observed.

    The observed t counts as one of them, so that p is never 0. A resample of one value only has no spread: its t is
    infinite, which makes p larger.
    """
    n = len(differences)
    centred = differences - differences.mean()
    observed = abs(differences.mean()) / differences.std(ddof=1)
    drawn = centred[_generator(differences).integers(0, n, size=(RESAMPLES, n))]
    means, spreads = np.abs(drawn.mean(axis=1)), drawn.std(axis=1, ddof=1)
    further = means >= observed * spreads * (1 - 1e-12)  # what should tie may fall short of it by rounding
    return float((1 + np.count_nonzero(further)) / (1 + RESAMPLES))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (§5.5).

    Examples:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    m = len(p_values)
    adjusted = [0.0] * m
    largest = 0.0
    for place, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def equivalence_p(differences: Sequence[float], margin: float) -> float:
    """Of "the mean of these is at least the margin away from 0": the larger p of two one-sided t-tests (§6.2).

    Seeds that agree to the last image say nothing of how seeds differ, so equal differences show no equivalence.
    """
    n = len(differences)
    if n < 2 or min(differences) == max(differences):
        return 1.0
    centre = mean(differences)
    error = stdev(differences, centre) / math.sqrt(n)
    return float(stats.t.sf((margin - abs(centre)) / error, n - 1))


def mean_ranks(scores: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Each method's rank averaged over workloads, 1 the best (§6.5).

    Args:
        scores: by method, its accuracy on each workload, in one order; None, where it has no score, is last.

    >>> mean_ranks({"a": [0.9, 0.8], "b": [0.7, 0.8], "c": [0.5, None]})
    {'a': 1.25, 'b': 1.75, 'c': 3.0}
    """
    table = np.array([[-math.inf if one is None else one for one in values] for values in scores.values()])
    ranks = stats.rankdata(-table, axis=0)
    return dict(zip(scores, (float(rank) for rank in ranks.mean(axis=1)), strict=True))


def error_ratios(scores: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    """r(a, w): each method's error over the least error of any method on that workload (§6.5), at least 1.

    The error is max(1 - accuracy, 0.001); infinite where the method has no score.
    """
    errors = {
        method: [math.inf if one is None else max(1 - one, LEAST_ERROR) for one in values]
        for method, values in scores.items()
    }
    least = [min(column) for column in zip(*errors.values(), strict=True)]
    return {
        method: [error / best if math.isfinite(error) else math.inf for error, best in zip(row, least, strict=True)]
        for method, row in errors.items()
    }


def profile(ratios: Sequence[float], tau: float) -> float:
    """ρ(τ): the share of workloads on which a method's error is at most τ times the least (§6.5)."""
    return sum(ratio <= tau for ratio in ratios) / len(ratios)


def profile_area(ratios: Sequence[float]) -> float:
    """The area below ρ from 1 to τmax = 4, divided by τmax - 1: within 0..1 (§6.5).

    ρ is a step function, so the integral is the mean over workloads of max(0, τmax - r).
    """
    return sum(max(0.0, FURTHEST_RATIO - ratio) for ratio in ratios) / len(ratios) / (FURTHEST_RATIO - 1)


def _generator(values: np.ndarray) -> np.random.Generator:
    """Seeded by the values themselves, in the order given."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:8], "big"))
