"""What the answers of two methods say of their difference: its mean, and what it varies by (PROTOCOL §5.3).

Both methods answer the same m images, with each of n seeds in each of R searches (one, unless a study repeats them). Of
search g, seed s and image i

    d_gsi = [the method is right] - [the baseline is right] = Δ + h_g + a_s + (ha)_gs + b_i + e_gsi

A table of R x n runs and m images is summed up by the mean squares of its analysis of variance, from which every
interval and p-value follows (`study.compare.paired`).

On average over the data sets of a study two methods differ by the mean of D such differences, on other images and other
runs each:

    Δ = (Δ_1 + ... + Δ_D) / D        Var(mean d) = (Var(mean d_1) + ... + Var(mean d_D)) / D²

The parts of luck are known from n - 1 degrees of freedom each, and their sum from (Σ v)² / Σ (v² / f) of them
(Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2, 1946).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


class Moments(Protocol):
    """What intervals and p-values of a difference Δ need to know of it; a value may be an array over many studies."""

    @property
    def mean(self) -> Any:
        """What Δ is estimated to be, as a fraction."""

    @property
    def luck(self) -> tuple[Any, ...]:
        """What the mean varies by beyond what its images explain, by its cause."""

    @property
    def whole_luck(self) -> tuple[Any, ...]:
        """What it varies by between runs whatever makes them differ, by its cause."""

    @property
    def trusted_luck(self) -> tuple[Any, ...]:
        """What of its variance has degrees of freedom of its own, by its cause."""

    @property
    def freedoms(self) -> tuple[Any, ...]:
        """Degrees of freedom of each cause."""

    @property
    def image_freedom(self) -> Any:
        """Degrees of freedom of the images' part."""

    def image_part(self, difference: Any) -> Any:
        """The images' part of the mean's variance if Δ were `difference`."""


@dataclass(frozen=True)
class PairedMoments:
    """What a table of differences d (searches x seeds x images) says, all that a verdict needs of it.

    Every field but the two sizes may be a number or an array over many studies, which simulations use.

    Attributes:
        seeds, images: n and m.
        mean: of d, as a fraction.
        discordance: the share of answers in which exactly one of the two methods is right.
        seed_square, image_square, rest_square: the mean squares of the analysis of variance, with n - 1, m - 1 and
            (R n - 1)(m - 1) degrees of freedom; 0 where there are none.
        discordant_images: the number of images with a discordant answer.
        searches: R.
        search_square, run_square: the mean squares of searches and of a run beyond its search and its seed, with R - 1
            and (R - 1)(n - 1) degrees of freedom.
    """

    seeds: int
    images: int
    mean: Any
    discordance: Any
    seed_square: Any
    image_square: Any
    rest_square: Any
    discordant_images: Any
    searches: int = 1
    search_square: Any = 0.0
    run_square: Any = 0.0

    @classmethod
    def of_sums(
        cls, seeds: int, images: int, run_sums: Any, image_squares: Any, discordant: Any, discordant_images: Any
    ) -> "PairedMoments":
        """From sums, of one study or of many.

        Args:
            seeds, images: n and m.
            run_sums: (..., n) or (..., R, n), the sum of d over the images of each run.
            image_squares: (...), the sum over images of (the sum of d over runs) squared.
            discordant: (...), the number of answers with d not 0.
            discordant_images: (...), the number of images with one.
        """
        image_squares = np.asarray(image_squares, dtype=np.float64)
        sums = np.asarray(run_sums, dtype=np.float64)
        if sums.ndim == image_squares.ndim + 1:
            sums = sums[..., np.newaxis, :]
        searches = sums.shape[-2]
        runs = searches * seeds
        count = runs * images
        total = sums.sum(axis=(-2, -1))
        correction = total**2 / count
        of_runs = (sums**2).sum(axis=(-2, -1)) / images - correction
        of_searches = (sums.sum(axis=-1) ** 2).sum(axis=-1) / (seeds * images) - correction
        of_seeds = (sums.sum(axis=-2) ** 2).sum(axis=-1) / (searches * images) - correction
        of_images = image_squares / runs - correction
        rest = np.asarray(discordant, dtype=np.float64) - correction - of_runs - of_images
        return cls(
            seeds,
            images,
            total / count,
            np.asarray(discordant) / count,
            np.maximum(of_seeds, 0) / max(1, seeds - 1),
            np.maximum(of_images, 0) / max(1, images - 1),
            np.maximum(rest, 0) / max(1, (runs - 1) * (images - 1)),
            np.asarray(discordant_images),
            searches,
            np.maximum(of_searches, 0) / max(1, searches - 1),
            np.maximum(of_runs - of_searches - of_seeds, 0) / max(1, (searches - 1) * (seeds - 1)),
        )

    @classmethod
    def of_answers(cls, method: Any, baseline: Any) -> "PairedMoments":
        """From which images each was right on: boolean arrays (seeds, images) or (searches, seeds, images) of a shape.

        Raises:
            ValueError: arrays of other shapes, or without an answer.
        """
        method, baseline = (np.asarray(one).astype(bool, copy=False) for one in (method, baseline))
        if method.ndim not in (2, 3) or method.shape != baseline.shape or 0 in method.shape:
            raise ValueError(
                f"answers of shapes {method.shape} and {baseline.shape}; give two boolean arrays (seeds, images) or "
                "(searches, seeds, images) of one shape, with at least one answer"
            )
        difference = method.astype(np.int8) - baseline.astype(np.int8)
        of_run = difference.reshape(-1, difference.shape[-1])
        of_images = of_run.sum(axis=0, dtype=np.int64)
        other = of_run != 0
        return cls.of_sums(
            difference.shape[-2],
            difference.shape[-1],
            difference.sum(axis=-1, dtype=np.int64),
            (of_images**2).sum(),
            other.sum(),
            other.any(axis=0).sum(),
        )

    def turned_round(self) -> "PairedMoments":
        """The same, of the baseline against the method."""
        return replace(self, mean=-self.mean)

    @property
    def runs(self) -> int:
        """R n, of each method."""
        return self.searches * self.seeds

    @property
    def freedoms(self) -> tuple[int, ...]:
        """Degrees of freedom of `luck`: of the seeds, and of the searches where there are several."""
        return (self.seeds - 1,) if self.searches == 1 else (self.seeds - 1, self.searches - 1)

    def _squares(self) -> tuple[Any, ...]:
        return (self.seed_square,) if self.searches == 1 else (self.seed_square, self.search_square)

    @property
    def luck(self) -> tuple[Any, ...]:
        """What the mean varies by beyond what its images explain: by its seeds, and by its searches.

        Var(a)/n and Var(h)/R, each with Var(ha)/(R n), which both mean squares hold: it is counted twice, since what
        would take it off once is known from few runs.
        """
        count = self.runs * self.images
        return tuple(np.maximum(square - self.rest_square, 0) / count for square in self._squares())

    @property
    def whole_luck(self) -> tuple[Any, ...]:
        """What the seeds' and the searches' means vary by, whatever makes them."""
        count = self.runs * self.images
        return tuple(np.maximum(square, self.rest_square) / count for square in self._squares())

    @property
    def trusted_luck(self) -> tuple[Any, ...]:
        """The parts of the variance that have degrees of freedom of their own.

        Of two seeds, or two searches, only the whole mean square is trusted: their excess over the images' is too often
        0 by luck.
        """
        pairs = zip(self.freedoms, self.luck, self.whole_luck, strict=True)
        return tuple(own if freedom > 1 else whole for freedom, own, whole in pairs)

    @property
    def shared(self) -> Any:
        """How much an image's answers agree between runs: 0 where they are independent, 1 where all runs agree.

        The analysis of variance's estimate r, raised to r + (1 - r) exp(-k / 2) with k the discordant images of one
        run. Images on which all runs agree are few where k is small, and a sample that holds none of them looks as if
        there were none; the exponential is how likely that is if half of the discordance lay in such images.
        """
        of_image, rest = self.image_square, self.rest_square
        scale = np.maximum(of_image + (self.runs - 1) * rest, np.finfo(float).tiny)
        estimate = np.clip((of_image - rest) / scale, 0, 1)
        return estimate + (1 - estimate) * np.exp(-self.images * self.discordance / 2)

    @property
    def answers(self) -> Any:
        """How many independent answers all are worth: m where all runs agree on every image, R·n·m where none do."""
        return self.runs * self.images / (1 + (self.runs - 1) * self.shared)

    @property
    def image_freedom(self) -> Any:
        """As many as there are discordant answers."""
        return np.maximum(self.discordance * self.answers, 1)

    def image_part(self, difference: Any) -> Any:
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


@dataclass(frozen=True)
class MeanMoments:
    """The mean of a difference over several data sets, each counted alike.

    Attributes:
        parts: the difference on each, from tables of their own images and runs.
    """

    parts: tuple[PairedMoments, ...]

    @property
    def seeds(self) -> int:
        """The fewest on a data set."""
        return min(part.seeds for part in self.parts)

    @property
    def images(self) -> int:
        """In all."""
        return sum(part.images for part in self.parts)

    @property
    def searches(self) -> int:
        """The fewest on a data set."""
        return min(part.searches for part in self.parts)

    @property
    def mean(self) -> Any:
        return sum(part.mean for part in self.parts) / len(self.parts)

    @property
    def luck(self) -> tuple[Any, ...]:
        """Of all runs, whatever makes them differ."""
        return (self._summed([part.luck for part in self.parts]),)

    @property
    def whole_luck(self) -> tuple[Any, ...]:
        return (self._summed([part.whole_luck for part in self.parts]),)

    @property
    def trusted_luck(self) -> tuple[Any, ...]:
        return (self._summed([part.trusted_luck for part in self.parts]),)

    def _summed(self, parts: Sequence[tuple[Any, ...]]) -> Any:
        return sum(value for part in parts for value in part) / len(self.parts) ** 2

    @property
    def freedoms(self) -> tuple[Any, ...]:
        """Satterthwaite's, of whole mean squares: what they exceed the images' part by is too often 0 by luck."""
        every = [pair for part in self.parts for pair in zip(part.whole_luck, part.freedoms, strict=True)]
        return (satterthwaite(*zip(*every, strict=True)),)

    @property
    def image_freedom(self) -> Any:
        """Satterthwaite's, of the discordant answers of each."""
        return satterthwaite(
            [part.image_part(part.mean) for part in self.parts], [part.image_freedom for part in self.parts]
        )

    def image_part(self, difference: Any) -> Any:
        """As it would be if each data set's Δ were off by as much as their mean is."""
        off = difference - self.mean
        return sum(part.image_part(np.clip(part.mean + off, -1, 1)) for part in self.parts) / len(self.parts) ** 2


def satterthwaite(variances: Sequence[Any], freedoms: Sequence[Any]) -> Any:
    """Degrees of freedom of a sum of independent variances, each with its own; the fewest where all are 0."""
    total = sum(variances)
    spread = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    least = np.minimum.reduce([np.asarray(freedom, dtype=np.float64) for freedom in freedoms])
    return np.where(spread > 0, total**2 / np.maximum(spread, np.finfo(float).tiny), least)
