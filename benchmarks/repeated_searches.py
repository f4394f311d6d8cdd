"""How often verdicts are wrong where a study repeats its searches (study/PROTOCOL.md §5.3).

    python -m benchmarks.repeated_searches

As `benchmarks.verdicts`, over searches x seeds x test images x discordance x how far runs agree on an image x what runs
differ by: what a search finds, a seed, and a run beyond both. Beside the protocol's rule stands the one that takes
every run of every search for a seed of its own, as if runs of one search had nothing in common.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import MARGIN, TOLERATED, WRONG, beyond
from study.compare.moments import PairedMoments
from study.compare.paired import decide

LUCKS = ((0.0, 0.0, 0.3), (0.0, 0.3, 0.0), (0.3, 0.1, 0.1), (0.3, 0.3, 0.0), (1.0, 0.1, 0.2))
"""Deviations of what a search finds, of a seed, and of a run beyond both, in points."""


def worlds(searches: Sequence[int] = (2, 3, 5), images: Sequence[int] = (370, 2000, 10_000)) -> Iterator[World]:
    """Worlds whose searches are repeated, each confirmed on the same seeds."""
    for repeats, seeds, count, discordance, shared, luck in itertools.product(
        searches, (3, 5), images, (0.02, 0.05), (0.0, 1.0), LUCKS
    ):
        of_search, of_seed, of_run = luck
        yield World(seeds, count, discordance, shared, of_seed, 0.0, repeats, of_search, of_run)


def runs_as_seeds(moments: PairedMoments) -> PairedMoments:
    """The same answers, with every run of every search taken for a seed of its own."""
    freedom = moments.searches - 1, moments.seeds - 1
    squares = moments.search_square * freedom[0] + moments.seed_square * freedom[1]
    squares = squares + moments.run_square * freedom[0] * freedom[1]
    return dataclasses.replace(moments, seeds=moments.runs, searches=1, seed_square=squares / (moments.runs - 1))


RULES: dict[str, Callable[[PairedMoments], PairedMoments]] = {
    "protocol": lambda moments: moments,
    "every run a seed": runs_as_seeds,
}
"""What each rule takes the answers for."""


def errors(world: World, studies: int, seed: int) -> dict[str, tuple[float, float]]:
    """By rule: how often "comparable" is said at the margin, and a difference where there is none."""
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        at_zero = simulate(world, studies, seed)
        at_margin = simulate(dataclasses.replace(world, difference=MARGIN), studies, seed + 1)
        for rule, seen in RULES.items():
            comparable: Any = decide(seen(at_margin), MARGIN)[0]
            different: Any = decide(seen(at_zero), MARGIN)[1]
            found[rule] = (float(np.mean(comparable)), float(np.mean(different)))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print of each rule its worst world, and how many lie beyond 5 %; and what the protocol's breaks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.repeated_searches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=1000, metavar="N", help="studies of a world (default: 1000)")
    parser.add_argument("--quick", action="store_true", help="the smaller test sets only")
    chosen = parser.parse_args(arguments)
    every = list(worlds(images=(370, 2000)) if chosen.quick else worlds())
    rows = [(world, errors(world, chosen.studies, 2 * index)) for index, world in enumerate(every)]
    print(f"{len(every)} worlds, {chosen.studies} studies each: the worst, and worlds beyond 5 %")
    print(f"{'rule':<18}  comparable at the margin   a difference that is none")
    for rule in RULES:
        columns = list(zip(*(found[rule] for _, found in rows), strict=True))
        over = [sum(beyond(share, WRONG, chosen.studies) > 2 for share in one) for one in columns]
        told = [f"{100 * max(one):5.1f} %  {count:>4}" for one, count in zip(columns, over, strict=True)]
        print(f"{rule:<18}  {told[0]:<27}{told[1]}")
    broken = [world for world, found in rows if beyond(max(found["protocol"]), WRONG, chosen.studies) > TOLERATED]
    print("\n".join(map(str, broken)) or "no promise is broken by more than chance")


if __name__ == "__main__":
    main()
