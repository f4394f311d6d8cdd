"""How often verdicts are wrong where a study repeats its searches (study/PROTOCOL.md §5.3).

    python -m benchmarks.repeated_searches

As `benchmarks.verdicts`, over searches x seeds x test images x discordance x how far runs agree on an image x what runs
differ by: what a search finds, a seed, and a run beyond both. Beside the protocol's rule stands the one that takes
every run of every search for a seed of its own, as if runs of one search had nothing in common.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import MARGIN
from benchmarks.worst_worlds import Shares, shares_said, tell_worst
from study.compare.moments import PairedMoments

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


def errors(world: World, studies: int, seed: int) -> Shares:
    """By rule: how often "comparable" is said at the margin, a difference where there is none, "comparable" there."""
    at_zero = simulate(world, studies, seed)
    return shares_said(RULES, at_zero, simulate(dataclasses.replace(world, difference=MARGIN), studies, seed + 1))


def main(arguments: list[str] | None = None) -> None:
    """Print how often each rule is wrong (`benchmarks.worst_worlds`)."""
    tell_worst(
        "repeated_searches",
        str(__doc__),
        lambda quick: list(worlds(images=(370, 2000)) if quick else worlds()),
        errors,
        "the smaller test sets only",
        arguments,
    )


if __name__ == "__main__":
    main()
