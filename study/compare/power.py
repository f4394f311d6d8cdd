"""What a study can decide, before it is paid for and after it did not (PROTOCOL §6.6).

A difference of 0 is found comparable where the interval, whose half-width is C times the standard error SE, fits into
the margin δ. By a normal calculation that happens in

    P = 2 Φ(δ / SE - C) - 1,      SE² = Var(h) / R + Var(a) / n + Var(b) / m + Var(e) / (R n m)

of studies with R searches (Var(h) is in no interval where R = 1), n seeds and m images, C being Cochran's quantile
(`study.compare.paired`). A true difference Δ is told from none in 80 % of them where

    |Δ| = C' SE' + Φ⁻¹(0.8) SE

with the standard error SE' and the quantile C' of the test of "Δ = 0", which counts the seeds' whole mean square. The
variances are those that were seen: in the study itself, or in a pilot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from study.compare.moments import MeanMoments, PairedMoments
from study.compare.paired import EQUIVALENCE_LEVEL, POINTS, SIGNIFICANCE, quantile

POWER = 0.8
MOST_SEEDS, MOST_IMAGES, MOST_SEARCHES = 100, 10**7, 50


@dataclass(frozen=True)
class Variances:
    """What a paired difference varies by, in points squared: of one seed, one image, one answer beyond both, and one
    search where searches were repeated. Of a mean over `datasets`, each confirmed on the seeds, of all their images."""

    seed: float
    image: float
    rest: float
    search: float = 0.0
    datasets: int = 1

    @classmethod
    def of(cls, moments: PairedMoments | MeanMoments) -> "Variances":
        """As one study's answers show them."""
        if isinstance(moments, MeanMoments):
            return cls._of_mean(moments)
        of_answer = max(float(moments.discordance - moments.mean**2), 0.0) * POINTS**2
        shared = float(moments.shared)
        of_seed = float(moments.luck[0]) * moments.seeds * POINTS**2
        of_search = float(moments.luck[1]) * moments.searches * POINTS**2 if moments.searches > 1 else 0.0
        return cls(of_seed, shared * of_answer, (1 - shared) * of_answer, of_search)

    @classmethod
    def _of_mean(cls, moments: MeanMoments) -> "Variances":
        each = [(cls.of(part), moments.images / part.images) for part in moments.parts]
        count = len(each)
        return cls(
            seed=sum(one.seed for one, _ in each) / count**2,
            image=sum(one.image * of_all for one, of_all in each) / count**2,
            rest=sum(one.rest * of_all for one, of_all in each) / count**2,
            search=sum(one.search for one, _ in each) / count**2,
            datasets=count,
        )

    @classmethod
    def largest(cls, several: Sequence["Variances"]) -> "Variances":
        """Of each part the largest: what a study of all these comparisons has to reckon with."""
        return cls(*(max(getattr(one, name) for one in several) for name in ("seed", "image", "rest", "search")))

    def error(self, seeds: int, images: float, searches: int = 1) -> float:
        """The standard error of a mean difference over so many searches, seeds and images, in points."""
        of_luck = self.search / searches + self.seed / seeds
        return math.sqrt(of_luck + self.image / images + self.rest / (searches * seeds * images))

    def power(self, margin: float, seeds: int, images: float, comparisons: int = 1, searches: int = 1) -> float:
        """How often no difference is found comparable, if `comparisons` are made and Holm divides by their number."""
        error = max(self.error(seeds, images, searches), 1e-12)
        parts, freedoms = self._luck(seeds, images, searches)
        scale = max(error**2, sum(parts))
        reach: Any = quantile(EQUIVALENCE_LEVEL / comparisons, [part / scale for part in parts], freedoms)
        return max(0.0, 2 * float(stats.norm.cdf(margin / error - float(reach))) - 1)

    def least_told(self, seeds: int, images: float, comparisons: int = 1, searches: int = 1) -> float:
        """The smallest difference that is told from none in 80 % of studies, in points; Holm as in `power`."""
        parts, freedoms = self._luck(seeds, images, searches)
        of_images = self.image / images + self.rest / (searches * seeds * images)
        variance = max(of_images + sum(parts), 1e-24)
        reach: Any = quantile(SIGNIFICANCE / 2 / comparisons, [part / variance for part in parts], freedoms)
        beyond = float(stats.norm.isf(1 - POWER)) * self.error(seeds, images, searches)
        return float(reach) * math.sqrt(variance) + beyond

    def _luck(self, seeds: int, images: float, searches: int) -> tuple[list[float], list[int]]:
        """Whole mean squares of seeds, and of searches where they were repeated, with their degrees of freedom."""
        parts = [(self.seed + self.rest / images / searches) / seeds]
        freedoms = [self.datasets * (seeds - 1)]
        if searches > 1:
            parts.append((self.search + self.rest / images / seeds) / searches)
            freedoms.append(self.datasets * (searches - 1))
        return parts, freedoms


@dataclass(frozen=True)
class Needed:
    """What would decide a comparison in 80 % of studies, if there is no difference.

    Attributes:
        seeds: so many, on the images that there are; None where no number of seeds is enough.
        images: so many, with the seeds that there are; None where no number of images is enough.
        searches: so many, with the seeds and images that there are; None where no number is enough, or there is one.
    """

    seeds: int | None
    images: int | None
    searches: int | None = None

    def text(self, seeds: int, images: int) -> str:
        """In words, for a study with so many seeds and images."""
        ways = []
        if self.seeds is not None:
            ways.append(f"{self.seeds} seeds on its {images:,} images")
        if self.images is not None:
            ways.append(f"{self.images:,} images with its {seeds} seeds")
        if self.searches is not None:
            ways.append(f"{self.searches} searches")
        if not ways:
            return "no number of seeds or images alone"
        return " or ".join(ways)


def needed(
    variances: Variances, margin: float, seeds: int, images: int, comparisons: int = 1, searches: int = 1
) -> Needed:
    """The fewest seeds, images and searches with which no difference is found comparable in 80 % of studies."""

    def enough(n: int, m: float, r: int = searches) -> bool:
        return variances.power(margin, n, m, comparisons, r) >= POWER

    more_seeds = next((n for n in range(max(3, seeds), MOST_SEEDS + 1) if enough(n, images)), None)
    more_searches = None
    if searches > 1:
        more_searches = next((r for r in range(searches, MOST_SEARCHES + 1) if enough(seeds, images, r)), None)
    more_images = None
    if seeds > 2 and enough(seeds, MOST_IMAGES):
        low, high = images, MOST_IMAGES
        while high - low > max(1, low // 50):  # to 2 %, which is finer than the variances are known
            middle = (low + high) // 2
            low, high = (low, middle) if enough(seeds, middle) else (middle, high)
        digits = 10 ** max(0, len(str(high)) - 2)
        more_images = -(-high // digits) * digits
    return Needed(more_seeds, more_images, more_searches)
