"""The paired comparison of two methods over seeds *and* test images (PROTOCOL §5.3, §5.4, §6.2).

Both methods answer the same m images with each of n seeds. Of seed s and image i

    d_si = [the method is right] - [the baseline is right]              one of -1, 0, 1
         = Δ + a_s + b_i + e_si                                         a: seed, b: image, e: what is left

and what is asked is Δ, the difference on images and seeds that were *not* drawn. A mean over n·m answers varies by

    Var(mean d) = Var(a) / n + Var(b) / m + Var(e) / (n m)

(the random-effects analysis of variance of a two-way table without replication: Scheffé, *The Analysis of Variance*,
1959, ch. 7; of classifiers over readers and cases Dorfman, Berbaum and Metz 1992, Gallas 2006). Intervals over seeds
alone leave the second term out, and it is the largest one wherever a test set is small.

Two corrections make it hold where normal theory does not:

- *Images.* An answer has three values, and few images tell two good methods apart: none of them may. So the images'
  part is taken as it would be if the hypothesis were true, as in Tango's score test (1998): a true difference of Δ
  needs at least a share |Δ| of discordant answers. No interval has a width of 0, however well the seeds agree.
- *Seeds.* The part of the seeds is estimated from n - 1 degrees of freedom. Quantiles are the mean of Student's t with
  n - 1 and of the normal, weighted by the variances that they belong to (Cochran 1964).

Where a study repeats its searches, their luck is a third part, beside the seeds' and with its own degrees of freedom.

`python -m benchmarks.verdicts` shows how often the verdicts are wrong, over what the world may be like.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from study.compare.moments import Moments, PairedMoments

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POINTS = 100.0
"""Points in an accuracy of 1."""
EQUIVALENCE_LEVEL = (1 - CONFIDENCE) / 2
"""Of each of the two one-sided tests of equivalence: 2.5 %, so that they agree with the 95 % interval."""


def distance(moments: Moments, difference: float | np.ndarray) -> tuple[Any, tuple[Any, ...]]:
    """How far the mean lies from a supposed Δ, in standard errors under it, and the shares of their square that seeds
    and searches have (`PairedMoments.freedoms`)."""
    variance = np.maximum(moments.image_part(difference) + sum(moments.luck), np.finfo(float).tiny)
    return (moments.mean - difference) / np.sqrt(variance), shares_of(moments.trusted_luck, variance)


def shares_of(parts: Sequence[Any], variance: Any) -> tuple[Any, ...]:
    """Parts of a variance as shares of it, drawn in where they make more than all of it."""
    shares = [part / variance for part in parts]
    return tuple(share / np.maximum(sum(shares), 1) for share in shares)


def quantile(level: float, shares: Sequence[Any], freedoms: Sequence[Any]) -> Any:
    """Cochran's quantile: above it lies `level`, where parts with so many degrees of freedom are `shares` of a
    variance, and the rest of it is known."""
    known = 1 - sum(shares)
    return sum(
        (share * stats.t.isf(level, freedom) for share, freedom in zip(shares, freedoms, strict=True)),
        known * stats.norm.isf(level),
    )


def different_distance(moments: Moments) -> tuple[Any, tuple[Any, ...], Any]:
    """What the test of "Δ = 0" goes by: the distance from 0, the shares of luck, the images' degrees of freedom.

    More cautious than the test of equivalence, of which an error is half as likely by its two-sidedness: whole mean
    squares count as those of seeds and searches, and the rest has as many degrees of freedom as there are discordant
    answers.
    """
    images = moments.image_part(0.0)
    variance = np.maximum(images + sum(moments.luck), np.finfo(float).tiny)
    shares = shares_of(moments.whole_luck, variance)
    return np.abs(moments.mean) / np.sqrt(variance), shares, moments.image_freedom


def different_quantile(level: float, shares: Sequence[Any], freedoms: Sequence[Any], of_images: Any) -> Any:
    """The quantile of `different_distance`: Student's t of seeds, searches and images, weighted by their variances."""
    known = 1 - sum(shares)
    return sum(
        (share * stats.t.isf(level, freedom) for share, freedom in zip(shares, freedoms, strict=True)),
        known * stats.t.isf(level, of_images),
    )


def decide(moments: Moments, margin: float) -> tuple[Any, Any]:
    """(comparable, different) of one study or of many, before any correction for their number; margin in points.

    Comparable is what two one-sided tests at 2.5 % show; different what a two-sided test at 5 % shows where the first
    does not hold. At least two seeds.
    """
    equivalent: Any = True
    for supposed, side in ((margin / POINTS, -1), (-margin / POINTS, 1)):
        found, shares = distance(moments, supposed)
        equivalent = equivalent & (side * found >= quantile(EQUIVALENCE_LEVEL, shares, moments.freedoms))
    found, shares, of_images = different_distance(moments)
    different = found > different_quantile(SIGNIFICANCE / 2, shares, moments.freedoms, of_images)
    return equivalent, different & ~equivalent


@dataclass(frozen=True)
class PairedVerdict:
    """What may be said of one method against another on one workload, in points (PROTOCOL §6.2).

    Attributes:
        verdict: `comparable`, `higher`, `lower` or `undecided`.
        difference: the mean over seeds and images.
        interval: 95 % for the difference on other seeds and images; all that is possible where one seed says nothing
            of others. Never without width.
        p_different: two-sided, of "no difference".
        p_equivalent: of "a difference of at least the margin", the larger of its two sides.
        seeds, images: n and m.
        discordance: share of answers in which exactly one of the two is right.
        seed_deviation: standard deviation of the seeds' differences beyond what their images explain.
        image_error, seed_error, search_error: the parts of the standard error of the difference that images, seeds and
            searches make up; the last is None where the search was not repeated.
        searches: how often it was searched.
    """

    verdict: str
    difference: float
    interval: tuple[float, float]
    p_different: float
    p_equivalent: float
    seeds: int
    images: int
    discordance: float
    seed_deviation: float
    image_error: float
    seed_error: float
    searches: int = 1
    search_error: float | None = None


def paired_verdict(method: Any, baseline: Any, margin: float = 1.0) -> PairedVerdict:
    """Compare two methods by the images that each was right on (PROTOCOL §6.2, of one comparison alone).

    Args:
        method: boolean array (seeds, images), whether it was right; (searches, seeds, images) where each search was
            repeated and confirmed on the same seeds.
        baseline: the same of the other; row s of both is the same seed, column i the same test image.
        margin: of equivalence, in points (1 point is 0.01 of accuracy).

    Raises:
        ValueError: shapes that do not fit, or a margin that is not positive.

    >>> right = np.ones((3, 2000), dtype=bool)
    >>> paired_verdict(right, right).verdict
    'comparable'
    >>> paired_verdict(right[:, :100], right[:, :100]).verdict  # too few images to say so
    'undecided'
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin {margin!r} is not a positive number of points; give one such as 1")
    return verdict_of(PairedMoments.of_answers(method, baseline), margin)


def verdict_of(moments: PairedMoments, margin: float) -> PairedVerdict:
    """The verdict on one study's moments; margin in points."""
    mean = float(moments.mean)
    if moments.seeds < 2:
        verdict, interval, p_no, p_margin = "undecided", (-POINTS, POINTS), 1.0, 1.0
    else:
        p_no, p_margin = p_different(moments), p_equivalent(moments, margin)
        interval = interval_of(moments)
        verdict = named_verdict(mean, p_no, p_margin)
    return PairedVerdict(
        verdict=verdict,
        difference=POINTS * mean,
        interval=interval,
        p_different=p_no,
        p_equivalent=p_margin,
        seeds=moments.seeds,
        images=moments.images,
        discordance=float(moments.discordance),
        seed_deviation=POINTS * math.sqrt(moments.seeds * moments.luck[0]),
        image_error=POINTS * math.sqrt(moments.image_part(mean)),
        seed_error=POINTS * math.sqrt(moments.luck[0]),
        searches=moments.searches,
        search_error=POINTS * math.sqrt(moments.luck[1]) if moments.searches > 1 else None,
    )


def named_verdict(difference: float, p_different: float, p_equivalent: float) -> str:
    """The first that holds: `comparable`, `higher` or `lower`, else `undecided`; by p-values, adjusted or not."""
    if p_equivalent <= EQUIVALENCE_LEVEL:
        return "comparable"
    if p_different < SIGNIFICANCE:
        return "higher" if difference > 0 else "lower"
    return "undecided"


def p_equivalent(moments: Moments, margin: float) -> float:
    """Of "a difference of at least the margin", which is in points: the larger of its two sides."""
    sides = []
    for supposed, side in ((margin / POINTS, -1), (-margin / POINTS, 1)):
        found, shares = distance(moments, supposed)
        sides.append(tail(lambda level, own=shares: quantile(level, own, moments.freedoms), side * float(found)))
    return max(sides)


def p_different(moments: Moments) -> float:
    """Of "no difference", two-sided."""
    found, shares, of_images = different_distance(moments)
    return min(
        1.0, 2 * tail(lambda level: different_quantile(level, shares, moments.freedoms, of_images), float(found))
    )


def interval_of(moments: Moments) -> tuple[float, float]:
    """95 % for Δ, in points."""
    return POINTS * _end(moments, -1), POINTS * _end(moments, 1)


def tail(quantile_of: Any, found: float) -> float:
    """The level whose quantile is `found`: the share of a distribution that is symmetric about 0 above it."""
    if found < 0:
        return 1 - tail(quantile_of, -found)
    least = 1e-15  # below, quantiles of one degree of freedom are no numbers
    if found >= quantile_of(least):
        return least
    return math.exp(
        optimize.brentq(lambda log: float(quantile_of(math.exp(log))) - found, math.log(least), math.log(0.5))
    )


def _end(moments: Moments, side: int) -> float:
    """The end of the interval on a side (-1 or 1) of the mean: where the test of that very difference just holds."""
    mean = float(moments.mean)

    def beyond(difference: float) -> float:
        found, shares = distance(moments, difference)
        return abs(float(found)) - float(quantile(EQUIVALENCE_LEVEL, shares, moments.freedoms))

    if mean * side >= 1 or beyond(float(side)) <= 0:
        return float(side)
    return float(optimize.brentq(beyond, mean, side))
