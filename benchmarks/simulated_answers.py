"""Answers of two methods in a world whose truth is known, to see how often verdicts on them are wrong.

Which of the two is right on an image, with a seed, is d = -1, 0 or 1. In a `World`

- a share `discordance` of answers has d not 0, of which as many more speak for the method as make its true difference;
- on a share `shared` of the images all seeds agree, as where an image is hard for one method whatever its seed; on the
  others every seed's answer is drawn anew;
- each seed of a method is better or worse than its mean by a normal deviation `seed_deviation`.

`latent_answers` draws from another world, nearer to networks: an image has a difficulty that both methods meet, one
that only this method meets, and a rest that differs by seed; an answer is right where their normal sum is below a
threshold.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import stats

from study.compare.moments import PairedMoments
from study.compare.paired import POINTS


@dataclass(frozen=True)
class World:
    """What is true of a comparison. `discordance` and `shared` are fractions, the others points of accuracy.

    Where a search is repeated, `search_deviation` is that of what it finds, and `run_deviation` that of a run beyond
    its search's and its seed's.
    """

    seeds: int
    images: int
    discordance: float
    shared: float
    seed_deviation: float
    difference: float = 0.0
    searches: int = 1
    search_deviation: float = 0.0
    run_deviation: float = 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean difference, in points, if every variance were known and all were normal."""
        of_images = self.discordance * (self.shared + (1 - self.shared) / self.seeds) / self.images
        return math.hypot(POINTS * math.sqrt(of_images), self.seed_deviation / math.sqrt(self.seeds))

    def power(self, margin: float, quantile: float) -> float:
        """How often a difference of 0 is found to be within ± margin, by a normal calculation with that quantile."""
        return max(0.0, 2 * float(stats.norm.cdf(margin / self.standard_error - quantile)) - 1)

    @property
    def careful_quantile(self) -> float:
        """Of the normal calculation of somebody who has to learn the seeds' variance from the seeds: Cochran's."""
        of_images = self.discordance * self.shared / self.images * POINTS**2
        of_seeds = 1 - of_images / self.standard_error**2
        return float(of_seeds * stats.t.isf(0.025, self.seeds - 1) + (1 - of_seeds) * stats.norm.isf(0.025))


def simulate(world: World, studies: int, seed: int) -> PairedMoments:
    """The moments of so many studies of a world."""
    discordance = max(world.discordance, abs(world.difference) / POINTS)
    runs = world.searches * world.seeds
    sums, *drawn = _draw(
        seed,
        studies,
        runs,
        world.images,
        world.difference / POINTS,
        discordance,
        world.shared,
        world.seed_deviation / POINTS,
        _shifts(world, studies, seed),
    )
    if world.searches > 1:
        sums = sums.reshape(studies, world.searches, world.seeds)
    return PairedMoments.of_sums(world.seeds, world.images, sums, *drawn)


def _shifts(world: World, studies: int, seed: int) -> np.ndarray:
    """How much better each run of each study is than the mean, a fraction; none where a search is not repeated."""
    if world.searches == 1:
        return np.zeros((0, 0))
    generator = np.random.default_rng(seed)
    shape = (studies, world.searches, world.seeds)
    of_search = generator.normal(size=(*shape[:2], 1)) * world.search_deviation
    of_seed = generator.normal(size=(shape[0], 1, shape[2])) * world.seed_deviation
    of_run = generator.normal(size=shape) * world.run_deviation
    found: np.ndarray = (of_search + of_seed + of_run).reshape(studies, -1) / POINTS
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _draw(seed, studies, seeds, images, difference, discordance, shared, deviation, shifts):  # type: ignore[no-untyped-def]
    """Sums over seeds, squares over images, discordant answers and discordant images of each study.

    Only discordant answers are visited: the gaps between them are geometric.
    """
    np.random.seed(seed)
    seed_sums = np.zeros((studies, seeds))
    squares, discordant, touched = np.zeros(studies), np.zeros(studies), np.zeros(studies)
    favour = (discordance + difference) / 2 / discordance
    rate = math.log(1 - discordance)
    of_image, count = np.zeros(images, np.int64), np.zeros(images, np.int64)
    agreed, outcome, taken = np.zeros(images, np.bool_), np.zeros(images, np.int64), np.zeros(images, np.int64)
    turn = 0
    for study in range(studies):
        of_image[:] = 0
        count[:] = 0
        for image in range(images):
            agreed[image] = np.random.random() < shared
            outcome[image] = 0
            if agreed[image] and np.random.random() < discordance:
                outcome[image] = 1 if np.random.random() < favour else -1
        for one in range(seeds):
            turn += 1
            total = 0
            if shifts.size > 0:
                own = shifts[study, one]
            else:
                own = np.random.normal() * deviation if deviation > 0 else 0.0
            if own != 0:  # a better seed is right on images that it would have been wrong on
                sign = 1 if own > 0 else -1
                image = int(math.log(1 - np.random.random()) / math.log(1 - abs(own)))
                while image < images:
                    taken[image] = turn
                    of_image[image] += sign
                    count[image] += 1
                    total += sign
                    image += 1 + int(math.log(1 - np.random.random()) / math.log(1 - abs(own)))
            image = int(math.log(1 - np.random.random()) / rate)
            while image < images:
                if not agreed[image] and taken[image] != turn:
                    sign = 1 if np.random.random() < favour else -1
                    of_image[image] += sign
                    count[image] += 1
                    total += sign
                image += 1 + int(math.log(1 - np.random.random()) / rate)
            if shared > 0:
                for image in range(images):
                    if outcome[image] != 0 and taken[image] != turn:
                        of_image[image] += outcome[image]
                        count[image] += 1
                        total += outcome[image]
            seed_sums[study, one] = total
        for image in range(images):
            squares[study] += of_image[image] ** 2
            discordant[study] += count[image]
            touched[study] += count[image] > 0
    return seed_sums, squares, discordant, touched


def latent_accuracies(
    generator: np.random.Generator,
    studies: int,
    seeds: int,
    images: int,
    *,
    accuracy: float,
    shared: float,
    seed_deviation: float,
) -> tuple[PairedMoments, np.ndarray]:
    """Errors of one method in so many studies of a world of latent difficulties: their moments, and by seed.

    Args:
        generator: of the draws.
        studies: how many.
        seeds, images: n and m.
        accuracy: the true mean over seeds and images, a fraction.
        shared: the share of an answer's variance that is the image's, the same for all seeds.
        seed_deviation: in points, of a seed's accuracy.

    Returns:
        The moments of the errors, and the accuracies (studies, seeds).
    """
    threshold = stats.norm.ppf(accuracy)
    deviation = seed_deviation / (stats.norm.pdf(threshold) * POINTS)
    threshold = threshold * math.hypot(1, deviation)  # so that the mean over seeds is the accuracy
    sums, squares, errors, touched = (np.zeros((studies, *shape)) for shape in ((seeds,), (), (), ()))
    at_once = max(1, 2_000_000 // (seeds * images))
    for start in range(0, studies, at_once):
        block = slice(start, min(start + at_once, studies))
        count = block.stop - start
        of_image = generator.standard_normal((count, 1, images), dtype=np.float32) * math.sqrt(shared)
        rest = generator.standard_normal((count, seeds, images), dtype=np.float32) * math.sqrt(1 - shared)
        wrong = of_image + rest > threshold + generator.standard_normal((count, seeds, 1)) * deviation
        by_image = wrong.sum(axis=1)
        sums[block], squares[block] = wrong.sum(axis=2), (by_image**2).sum(axis=1)
        errors[block], touched[block] = by_image.sum(axis=1), (by_image > 0).sum(axis=1)
    return PairedMoments.of_sums(seeds, images, sums, squares, errors, touched), 1 - sums / images


def latent_answers(
    generator: np.random.Generator,
    seeds: int,
    images: int,
    *,
    accuracy: float,
    difference: float,
    common: float,
    own: float,
    seed_deviation: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Which images (seeds, images) the method and the baseline are right on.

    Args:
        generator: of the draws.
        seeds, images: n and m.
        accuracy: the baseline's, a fraction.
        difference: the method's true difference from it, in points.
        common, own: the shares of an answer's variance that are the image's for both methods, and for one of them.
        seed_deviation: in points, of each method's seeds, at its accuracy.
    """
    shared = generator.normal(size=images) * math.sqrt(common)
    answers = []
    for mean in (accuracy + difference / POINTS, accuracy):
        of_image = shared + generator.normal(size=images) * math.sqrt(own)
        threshold = stats.norm.ppf(mean)
        slope = stats.norm.pdf(threshold) * POINTS
        of_seed = generator.normal(size=(seeds, 1)) * seed_deviation / slope
        rest = generator.normal(size=(seeds, images)) * math.sqrt(1 - common - own)
        answers.append(of_image + rest < threshold + of_seed)
    return answers[0], answers[1]
