"""Scores over repeated searches (PROTOCOL §5.2, §5.3): a table of runs, searches x seeds, and what its mean varies by.

Each of R searches finds a configuration of its own, confirmed on the same n seeds. A mean over the R n runs varies with
the searches and with the seeds, by the analysis of variance of the table

    V = MS_search / (R n) + MS_seed / (R n)

with R - 1 and n - 1 degrees of freedom (what a run has beyond its search and its seed stands in both, so that V is no
underestimate), and the interval is mean ± c sqrt(V), c being Cochran's quantile.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.compare.moments import PairedMoments
from study.compare.paired import EQUIVALENCE_LEVEL, POINTS, quantile, shares_of, tail
from study.compare.statistics import Estimate, mean_and_interval


def run_table(by_search: Sequence[Mapping[int, float]]) -> np.ndarray:
    """Values by seed, of each search, as a table (searches, seeds), over the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(values) for values in by_search)))
    return np.array([[values[seed] for seed in seeds] for values in by_search])


def table_interval(values: np.ndarray) -> Estimate:
    """Mean and 95 % interval over searches and seeds; over seeds alone where there is one search (§5.2).

    Values that all agree give no interval: that says nothing of what others would be.
    """
    searches, seeds = values.shape
    if values.size > 1 and values.min() == values.max():
        return Estimate(float(values.flat[0]), None, None, values.size)
    if 1 in (searches, seeds):
        return mean_and_interval([float(one) for one in values.ravel()])
    parts = table_parts(values)
    mean, variance = float(values.mean()), sum(parts)
    half_width = float(quantile(EQUIVALENCE_LEVEL, shares_of(parts, variance), table_freedoms(values)))
    half_width *= math.sqrt(variance)
    return Estimate(mean, mean - half_width, mean + half_width, searches * seeds)


def table_p(values: np.ndarray, supposed: float, *, side: int = 0) -> float:
    """The p-value of a supposed mean: two-sided, or against means beyond it on a side (-1 or 1).

    Values that all agree say little of others: they count as 2^(1 - n) at least, n being the smaller of the table's
    sides, and as no evidence that a mean is at a place.
    """
    parts = table_parts(values)
    distance, variance = float(values.mean()) - supposed, sum(parts)
    if variance <= 0:
        return 1.0 if side or distance == 0 else 2.0 ** (1 - min(values.shape))
    shares, found = shares_of(parts, variance), distance / math.sqrt(variance)

    def beyond(level: float) -> float:
        return float(quantile(level, shares, table_freedoms(values)))

    return min(1.0, 2 * tail(beyond, abs(found))) if side == 0 else tail(beyond, -side * found)


def table_parts(values: np.ndarray) -> tuple[float, ...]:
    """What the mean of a table (searches, seeds) varies by: its seeds, and its searches where there are several."""
    searches, seeds = values.shape
    of_seeds = float(values.mean(axis=0).var(ddof=1)) / seeds
    return (of_seeds,) if searches == 1 else (of_seeds, float(values.mean(axis=1).var(ddof=1)) / searches)


def table_freedoms(values: np.ndarray) -> tuple[int, ...]:
    """Of each of `table_parts` its degrees of freedom."""
    searches, seeds = values.shape
    return (seeds - 1,) if searches == 1 else (seeds - 1, searches - 1)


@dataclass(frozen=True)
class VarianceSplit:
    """The variance of a method's score, in points squared, by what it would change with.

    Attributes:
        search, seed, image: of other searches, other seeds (a run's own luck included) and other test images.
    """

    search: float
    seed: float
    image: float

    @property
    def error(self) -> float:
        """The standard error of the score over all three, in points."""
        return math.sqrt(self.search + self.seed + self.image)

    def shares(self) -> tuple[float, float, float]:
        """Of search, seed and image, each of the whole; zeros where nothing varies."""
        whole = self.search + self.seed + self.image
        return (self.search / whole, self.seed / whole, self.image / whole) if whole else (0.0, 0.0, 0.0)


def variance_split(answers: Sequence[Sequence[np.ndarray]]) -> VarianceSplit:
    """Of the answers of one method's runs, by search and seed: unbiased parts, those below 0 drawn to it.

    With the mean squares MS of the table of runs: search (MS_search - MS_run) / (R n), seed, with the runs' own luck,
    (MS_seed - MS_rest) / (R n), and the images' by the share of answers that are right and how far runs agree.
    """
    right = np.array([list(runs) for runs in answers])
    found = PairedMoments.of_answers(right, np.zeros_like(right))
    count, scale = found.runs * found.images, POINTS**2
    return VarianceSplit(
        scale * max(0.0, float(found.search_square - found.run_square)) / count,
        scale * max(0.0, float(found.seed_square - found.rest_square)) / count,
        scale * float(found.image_part(float(found.mean))),
    )
