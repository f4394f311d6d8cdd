"""How often verdicts on the mean over several data sets are wrong (study/PROTOCOL.md §6.5).

    python -m benchmarks.mean_verdicts

As `benchmarks.verdicts`, over data sets x seeds x test images of each x discordance x how far seeds agree on an image x
the seeds' own deviation, alike on all data sets or ten times as large on one of them x the true differences, alike or 2
points up and down about their mean. Beside the protocol's rule stand two others that differ in one thing: how well they
take the variance that seeds make to be known.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import MARGIN
from benchmarks.worst_worlds import Shares, shares_said, tell_worst
from study.compare.moments import MeanMoments

DEVIATIONS, FAR = (0.1, 0.3), 10
APART = 2.0


@dataclass(frozen=True)
class Worlds:
    """Several data sets.

    Attributes:
        each: the world of each; its difference is by how many points it is off the mean of all.
    """

    each: tuple[World, ...]

    def drawn(self, studies: int, seed: int, difference: float = 0.0) -> MeanMoments:
        """So many studies in which the mean of the true differences is `difference`, in points."""
        generator = np.random.SeedSequence(seed)
        return MeanMoments(
            tuple(
                simulate(dataclasses.replace(world, difference=world.difference + difference), studies, int(own))
                for world, own in zip(self.each, generator.generate_state(len(self.each)), strict=True)
            )
        )


def worlds(counts: Sequence[int] = (2, 3, 6)) -> Iterator[Worlds]:
    """Worlds of so many data sets."""
    for count, seeds, images, discordance, shared, deviation, far, apart in itertools.product(
        counts, (3, 5), ((370, 1000), (2000, 2000)), (0.05, 0.2), (0.0, 1.0), DEVIATIONS, (1, FAR), (0.0, APART)
    ):
        off = np.linspace(-apart, apart, count)
        yield Worlds(
            tuple(
                World(seeds, images[one % 2], discordance, shared, deviation * (1 if one else far), float(off[one]))
                for one in range(count)
            )
        )


class FewestFreedoms(MeanMoments):
    """The variance that all seeds make, taken to be known no better than one data set's."""

    @property
    def freedoms(self) -> tuple[Any, ...]:
        return (min(freedom for part in self.parts for freedom in part.freedoms),)


class EveryFreedom(MeanMoments):
    """The same, taken to be known as well as if it were one variance that all data sets have in common."""

    @property
    def freedoms(self) -> tuple[Any, ...]:
        return (sum(freedom for part in self.parts for freedom in part.freedoms),)


RULES: dict[str, type[MeanMoments]] = {
    "protocol": MeanMoments,
    "fewest freedoms": FewestFreedoms,
    "every freedom": EveryFreedom,
}


def errors(those: Worlds, studies: int, seed: int) -> Shares:
    """By rule: how often "comparable" is said at the margin, a difference where there is none, "comparable" there."""
    at_zero, at_margin = those.drawn(studies, seed), those.drawn(studies, seed + 1, MARGIN)
    return shares_said(RULES, at_zero.parts, at_margin.parts)


def main(arguments: list[str] | None = None) -> None:
    """Print how often each rule is wrong (`benchmarks.worst_worlds`)."""
    tell_worst(
        "mean_verdicts",
        str(__doc__),
        lambda quick: list(worlds((3,)) if quick else worlds()),
        errors,
        "three data sets only",
        arguments,
    )


if __name__ == "__main__":
    main()
