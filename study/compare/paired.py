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

`python -m benchmarks.verdicts` shows how often the verdicts are wrong, over what the world may be like.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POINTS = 100.0
"""Points in an accuracy of 1."""
EQUIVALENCE_LEVEL = (1 - CONFIDENCE) / 2
"""Of each of the two one-sided tests of equivalence: 2.5 %, so that they agree with the 95 % interval."""


@dataclass(frozen=True)
class PairedMoments:
    """What a table of differences d (seeds x images) says, all that a verdict needs of it.

    Every field but the two sizes may be a number or an array over many studies, which simulations use.

    Attributes:
        seeds, images: n and m.
        mean: of d, as a fraction.
        discordance: the share of answers in which exactly one of the two methods is right.
        seed_square, image_square, rest_square: the mean squares of the analysis of variance, with n - 1, m - 1 and
            (n - 1)(m - 1) degrees of freedom; 0 where there are none.
        discordant_images: the number of images with a discordant answer.
    """

    seeds: int
    images: int
    mean: Any
    discordance: Any
    seed_square: Any
    image_square: Any
    rest_square: Any
    discordant_images: Any

    @classmethod
    def of_sums(
        cls, seeds: int, images: int, seed_sums: Any, image_squares: Any, discordant: Any, discordant_images: Any
    ) -> "PairedMoments":
        """From sums, of one study or of many.

        Args:
            seeds, images: n and m.
            seed_sums: (..., n), the sum of d over the images of each seed.
            image_squares: (...), the sum over images of (the sum of d over seeds) squared.
            discordant: (...), the number of answers with d not 0.
            discordant_images: (...), the number of images with one.
        """
        seed_sums = np.asarray(seed_sums, dtype=np.float64)
        count = seeds * images
        total = seed_sums.sum(axis=-1)
        correction = total**2 / count
        of_seeds = (seed_sums**2).sum(axis=-1) / images - correction
        of_images = np.asarray(image_squares, dtype=np.float64) / seeds - correction
        rest = np.asarray(discordant, dtype=np.float64) - correction - of_seeds - of_images
        return cls(
            seeds,
            images,
            total / count,
            np.asarray(discordant) / count,
            np.maximum(of_seeds, 0) / max(1, seeds - 1),
            np.maximum(of_images, 0) / max(1, images - 1),
            np.maximum(rest, 0) / max(1, (seeds - 1) * (images - 1)),
            np.asarray(discordant_images),
        )

    @classmethod
    def of_answers(cls, method: Any, baseline: Any) -> "PairedMoments":
        """From which images each was right on: boolean arrays (seeds, images) of one shape.

        Raises:
            ValueError: arrays of other shapes, or without an answer.
        """
        method, baseline = (np.asarray(one).astype(bool, copy=False) for one in (method, baseline))
        if method.ndim != 2 or method.shape != baseline.shape or 0 in method.shape:
            raise ValueError(
                f"answers of shapes {method.shape} and {baseline.shape}; give two boolean arrays (seeds, images) of "
                "one shape, with at least one seed and one image"
            )
        difference = method.astype(np.int8) - baseline.astype(np.int8)
        of_images = difference.sum(axis=0, dtype=np.int64)
        other = difference != 0
        seeds, images = difference.shape
        return cls.of_sums(
            seeds,
            images,
            difference.sum(axis=1, dtype=np.int64),
            (of_images**2).sum(),
            other.sum(),
            other.any(axis=0).sum(),
        )

    @property
    def seed_part(self) -> Any:
        """Var(a) / n, of the mean: what the seeds vary by beyond what their images explain."""
        return np.maximum(self.seed_square - self.rest_square, 0) / (self.seeds * self.images)

    @property
    def whole_seed_part(self) -> Any:
        """What the seeds' means vary by, whatever makes them."""
        return np.maximum(self.seed_square, self.rest_square) / (self.seeds * self.images)

    @property
    def shared(self) -> Any:
        """How much an image's answers agree between seeds: 0 where they are independent, 1 where all seeds agree.

        The analysis of variance's estimate r, raised to r + (1 - r) exp(-k / 2) with k the discordant images of one
        seed. Images on which all seeds agree are few where k is small, and a sample that holds none of them looks as if
        there were none; the exponential is how likely that is if half of the discordance lay in such images.
        """
        of_image, rest = self.image_square, self.rest_square
        scale = np.maximum(of_image + (self.seeds - 1) * rest, np.finfo(float).tiny)
        estimate = np.clip((of_image - rest) / scale, 0, 1)
        return estimate + (1 - estimate) * np.exp(-self.images * self.discordance / 2)

    @property
    def answers(self) -> Any:
        """How many independent answers the n·m are worth: m where all seeds agree on every image, n·m where none do."""
        return self.seeds * self.images / (1 + (self.seeds - 1) * self.shared)

    def image_part(self, difference: float | np.ndarray) -> Any:
        """The images' part of the mean's variance if Δ were `difference` (a fraction): Tango's, of `answers` pairs.

        With the shares p, q of answers that speak for the method and against it, the likeliest discordance of which
        Δ is p - q solves a quadratic equation.
        """
        against = (self.discordance - self.mean) / 2
        linear = -self.discordance + (2 - self.mean) * difference
        constant = -against * difference * (1 - difference)
        root = np.sqrt(np.maximum(linear**2 - 8 * constant, 0))
        likeliest = 2 * np.maximum((root - linear) / 4, np.maximum(0, -difference)) + difference
        return np.maximum(likeliest - difference**2, 0) / self.answers


def distance(moments: PairedMoments, difference: float | np.ndarray) -> tuple[Any, Any]:
    """How far the mean lies from a supposed Δ, in standard errors under it, and the seeds' share of their square."""
    variance = np.maximum(moments.image_part(difference) + moments.seed_part, np.finfo(float).tiny)
    # Of two seeds only the whole mean square is trusted: their excess over the images' is too often 0 by luck.
    of_seeds = moments.seed_part if moments.seeds > 2 else moments.whole_seed_part
    return (moments.mean - difference) / np.sqrt(variance), np.minimum(of_seeds / variance, 1)


def quantile(level: float, share: Any, seeds: int) -> Any:
    """Cochran's quantile: above it lies `level`, where the seeds' part is `share` of a variance."""
    return share * stats.t.isf(level, seeds - 1) + (1 - share) * stats.norm.isf(level)


def different_distance(moments: PairedMoments) -> tuple[Any, Any, Any]:
    """What the test of "Δ = 0" goes by: the distance from 0, the seeds' share, the images' degrees of freedom.

    More cautious than the test of equivalence, of which an error is half as likely by its two-sidedness: the whole mean
    square of the seeds counts as theirs, and the rest has as many degrees of freedom as there are discordant answers.
    """
    images = moments.image_part(0.0)
    variance = np.maximum(images + moments.seed_part, np.finfo(float).tiny)
    share = np.minimum(moments.whole_seed_part / variance, 1)
    return np.abs(moments.mean) / np.sqrt(variance), share, np.maximum(moments.discordance * moments.answers, 1)


def different_quantile(level: float, share: Any, seeds: int, freedom: Any) -> Any:
    """The quantile of `different_distance`: Student's t of the seeds and of the images, weighted by their variances."""
    return share * stats.t.isf(level, seeds - 1) + (1 - share) * stats.t.isf(level, freedom)


def decide(moments: PairedMoments, margin: float) -> tuple[Any, Any]:
    """(comparable, different) of one study or of many, before any correction for their number; margin in points.

    Comparable is what two one-sided tests at 2.5 % show; different what a two-sided test at 5 % shows where the first
    does not hold. At least two seeds.
    """
    equivalent: Any = True
    for supposed, side in ((margin / POINTS, -1), (-margin / POINTS, 1)):
        found, share = distance(moments, supposed)
        equivalent = equivalent & (side * found >= quantile(EQUIVALENCE_LEVEL, share, moments.seeds))
    found, share, freedom = different_distance(moments)
    different = found > different_quantile(SIGNIFICANCE / 2, share, moments.seeds, freedom)
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
        image_error, seed_error: the parts of the standard error of the difference that images and seeds make up.
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


def paired_verdict(method: Any, baseline: Any, margin: float = 1.0) -> PairedVerdict:
    """Compare two methods by the images that each was right on (PROTOCOL §6.2, of one comparison alone).

    Args:
        method: boolean array (seeds, images), whether it was right.
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
        verdict, interval, p_different, p_equivalent = "undecided", (-POINTS, POINTS), 1.0, 1.0
    else:
        p_different, p_equivalent = _p_different(moments), _p_equivalent(moments, margin / POINTS)
        interval = (POINTS * _end(moments, -1), POINTS * _end(moments, 1))
        verdict = named_verdict(mean, p_different, p_equivalent)
    return PairedVerdict(
        verdict=verdict,
        difference=POINTS * mean,
        interval=interval,
        p_different=p_different,
        p_equivalent=p_equivalent,
        seeds=moments.seeds,
        images=moments.images,
        discordance=float(moments.discordance),
        seed_deviation=POINTS * math.sqrt(moments.seeds * moments.seed_part),
        image_error=POINTS * math.sqrt(moments.image_part(mean)),
        seed_error=POINTS * math.sqrt(moments.seed_part),
    )


def named_verdict(difference: float, p_different: float, p_equivalent: float) -> str:
    """The first that holds: `comparable`, `higher` or `lower`, else `undecided`; by p-values, adjusted or not."""
    if p_equivalent <= EQUIVALENCE_LEVEL:
        return "comparable"
    if p_different < SIGNIFICANCE:
        return "higher" if difference > 0 else "lower"
    return "undecided"


def _p_equivalent(moments: PairedMoments, margin: float) -> float:
    sides = []
    for supposed, side in ((margin, -1), (-margin, 1)):
        found, share = distance(moments, supposed)
        sides.append(_tail(lambda level, share=share: quantile(level, share, moments.seeds), side * float(found)))
    return max(sides)


def _p_different(moments: PairedMoments) -> float:
    found, share, freedom = different_distance(moments)
    return min(1.0, 2 * _tail(lambda level: different_quantile(level, share, moments.seeds, freedom), float(found)))


def _tail(quantile_of: Any, found: float) -> float:
    """The level whose quantile is `found`: the share of a distribution that is symmetric about 0 above it."""
    if found < 0:
        return 1 - _tail(quantile_of, -found)
    least = 1e-15  # below, quantiles of one degree of freedom are no numbers
    if found >= quantile_of(least):
        return least
    return math.exp(
        optimize.brentq(lambda log: float(quantile_of(math.exp(log))) - found, math.log(least), math.log(0.5))
    )


def _end(moments: PairedMoments, side: int) -> float:
    """The end of the interval on a side (-1 or 1) of the mean: where the test of that very difference just holds."""
    mean = float(moments.mean)

    def beyond(difference: float) -> float:
        found, share = distance(moments, difference)
        return abs(float(found)) - float(quantile(EQUIVALENCE_LEVEL, share, moments.seeds))

    if mean * side >= 1 or beyond(float(side)) <= 0:
        return float(side)
    return float(optimize.brentq(beyond, mean, side))
