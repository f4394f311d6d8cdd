"""How often verdicts on the mean over several data sets are wrong (study/PROTOCOL.md §6.5).

    python -m benchmarks.mean_verdicts

As `benchmarks.verdicts`, over data sets x seeds x test images of each x discordance x how far seeds agree on an image x
the seeds' own deviation, alike on all data sets or ten times as large on one of them x the true differences, alike or 2
points up and down about their mean. Beside the protocol's rule stand two others that differ in one thing: how well they
take the variance that seeds make to be known.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import MARGIN, TOLERATED, WRONG, beyond
from study.compare.moments import MeanMoments
from study.compare.paired import decide

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


def errors(those: Worlds, studies: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """By rule: how often "comparable" is said at the margin, a difference where there is none, "comparable" there."""
    found = {}
    at_zero, at_margin = those.drawn(studies, seed), those.drawn(studies, seed + 1, MARGIN)
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, rule in RULES.items():
            comparable: Any = decide(rule(at_margin.parts), MARGIN)[0]
            as_good, different = decide(rule(at_zero.parts), MARGIN)
            found[name] = (float(np.mean(comparable)), float(np.mean(different)), float(np.mean(as_good)))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print of each rule its worst world, and how many lie beyond 5 %; and what the protocol's breaks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mean_verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=1000, metavar="N", help="studies of a world (default: 1000)")
    parser.add_argument("--quick", action="store_true", help="three data sets only")
    chosen = parser.parse_args(arguments)
    every = list(worlds((3,)) if chosen.quick else worlds())
    rows = [(those, errors(those, chosen.studies, 2 * index)) for index, those in enumerate(every)]
    print(f"{len(every)} worlds, {chosen.studies} studies each: the worst, and worlds beyond 5 %")
    print(f"{'rule':<16}  comparable at the margin   a difference that is none   comparable at no difference, mean")
    for rule in RULES:
        at_margin, none, zero = zip(*(found[rule] for _, found in rows), strict=True)
        over = [sum(beyond(share, WRONG, chosen.studies) > 2 for share in one) for one in (at_margin, none)]
        told = [f"{100 * max(one):5.1f} %  {count:>4}" for one, count in zip((at_margin, none), over, strict=True)]
        print(f"{rule:<16}  {told[0]:<27}{told[1]:<28}{100 * float(np.mean(zero)):5.1f} %")
    broken = [those for those, found in rows if beyond(max(found["protocol"][:2]), WRONG, chosen.studies) > TOLERATED]
    print("\n".join(map(str, broken)) or "no promise is broken by more than chance")


if __name__ == "__main__":
    main()
