"""How often the protocol's intervals hold the truth, and its p-values reject a true null (study/PROTOCOL.md §5).

    python -m benchmarks.intervals

*Accuracies* (§5.2): one method's answers are drawn, with n seeds on m images, from worlds of latent difficulties whose
true accuracy is known, over seeds x images x accuracy x how far seeds agree x what seeds differ by. Beside the
protocol's interval stand those that it was chosen from.

*Other means* (§5.2, §5.4): for each of three populations samples of n = 10 are drawn: normal; binomial, as accuracies
near 95 % on 360 test images are; and exponential, which is far more skewed than accuracies. Beside the protocol's own
stand what it could have used instead: the BCa interval at its plain level, and the t-test.
"""

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.simulated_answers import latent_accuracies
from study.compare.accuracy import reach
from study.compare.moments import PairedMoments
from study.compare.statistics import CONFIDENCE, RESAMPLES, SIGNIFICANCE, mean_and_interval, paired_difference

N = 10
POPULATIONS: dict[str, tuple[float, Callable[[np.random.Generator], np.ndarray]]] = {
    "normal": (0.0, lambda generator: generator.normal(size=N)),
    "binomial": (0.95, lambda generator: generator.binomial(360, 0.95, size=N) / 360),
    "exponential": (1.0, lambda generator: generator.exponential(size=N)),
}


def plain_interval(values: np.ndarray) -> tuple[float, float]:
    """The BCa interval at the level of 95 %, without the protocol's widening."""
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="BCa", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def shares(population: str, samples: int, seed: int = 0) -> dict[str, float]:
    """Of `samples` samples: the share of intervals that hold the true mean, and of p-values below 5 % at the true mean.

    Keys are `widened BCa`, `plain BCa`, `bootstrapped t` and `t-test`.
    """
    mean, draw = POPULATIONS[population]
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(("widened BCa", "plain BCa", "bootstrapped t", "t-test"), 0)
    for _ in range(samples):
        values = draw(generator)
        low, high = mean_and_interval(values.tolist()).interval
        counts["widened BCa"] += low <= mean <= high
        low, high = plain_interval(values)
        counts["plain BCa"] += low <= mean <= high
        difference = paired_difference(dict(enumerate(values.tolist())), dict.fromkeys(range(N), mean))
        assert difference is not None and difference.p is not None
        counts["bootstrapped t"] += difference.p < SIGNIFICANCE
        counts["t-test"] += float(stats.ttest_1samp(values, mean).pvalue) < SIGNIFICANCE
    return {name: count / samples for name, count in counts.items()}


@dataclass(frozen=True)
class AnswersOf:
    """What is true of one method's answers: fractions, and points that seeds deviate by."""

    seeds: int
    images: int
    accuracy: float
    shared: float
    seed_deviation: float


def worlds(
    seeds: Sequence[int] = (2, 3, 5, 10), images: Sequence[int] = (270, 2000), deviations: Sequence[float] = (0, 0.1, 1)
) -> Iterator[AnswersOf]:
    """Worlds of one method, without those whose seeds differ by more than their errors."""
    for n, m, accuracy, shared, deviation in itertools.product(
        seeds, images, (0.6, 0.9, 0.97, 0.995), (0.0, 0.3, 0.8, 0.97), deviations
    ):
        if deviation < 100 * (1 - accuracy) / 4:
            yield AnswersOf(n, m, accuracy, shared, deviation)


def _score(trusted: Callable[[PairedMoments], tuple[Any, ...]]) -> Callable[[PairedMoments, np.ndarray, float], Any]:
    """The score interval, its quantile weighted by these parts of the variance: how far its end lies from the mean."""
    return lambda found, by_seed, true: reach(true, found.luck, trusted(found), found.freedoms, found.answers)


def _one_set(found: PairedMoments, by_seed: np.ndarray, true: float) -> Any:
    """What is taken where answers are not kept: all runs as if they agreed on the images."""
    luck = (by_seed.var(axis=1, ddof=1) / found.seeds,)
    return reach(true, luck, luck, found.freedoms, found.images)


ACCURACIES: dict[str, Callable[[PairedMoments, np.ndarray, float], Any]] = {
    "protocol": _score(lambda found: found.whole_luck),
    "protocol, answers not kept": _one_set,
    "weighted by the seeds' excess": _score(lambda found: found.trusted_luck),
    "seeds only, t": lambda found, by_seed, true: (
        stats.t.isf(0.025, found.seeds - 1) * by_seed.std(axis=1, ddof=1) / np.sqrt(found.seeds)
    ),
    "images only, Wilson": lambda found, by_seed, true: reach(true, (0.0,), (0.0,), found.freedoms, found.images),
}
"""Of each rule how far the mean may lie from the true accuracy for its interval to hold it."""


def held(world: AnswersOf, studies: int, seed: int) -> dict[str, float]:
    """By rule the share of a world's studies whose interval of the accuracy holds the true one."""
    found, by_seed = latent_accuracies(
        np.random.default_rng(seed),
        studies,
        world.seeds,
        world.images,
        accuracy=world.accuracy,
        shared=world.shared,
        seed_deviation=world.seed_deviation,
    )
    true = 1 - world.accuracy  # of errors, which are what is counted
    distance = np.abs(found.mean - true)
    return {rule: float(np.mean(distance <= reaches(found, by_seed, true))) for rule, reaches in ACCURACIES.items()}


def accuracy_lines(chosen: Sequence[AnswersOf], studies: int) -> Iterator[str]:
    """Of each rule the least share that is held in any world, by number of seeds, and the mean over all."""
    rows = [(world, held(world, studies, place)) for place, world in enumerate(chosen)]
    counts = sorted({world.seeds for world in chosen})
    yield f"{len(rows)} worlds, {studies} studies each: 95 % intervals of accuracies that hold the true one, in %"
    yield f"{'rule':<30}  {'mean':>5}  " + "  ".join(f"least, n = {count:<2}" for count in counts)
    for rule in ACCURACIES:
        least = [min(shares[rule] for world, shares in rows if world.seeds == count) for count in counts]
        mean = sum(shares[rule] for _, shares in rows) / len(rows)
        yield f"{rule:<30}  {100 * mean:5.1f}  " + "  ".join(f"{100 * one:13.1f}" for one in least)


def main(arguments: list[str] | None = None) -> None:
    """Print a line a rule, and a line a population."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="of a world or a population (default: 1000)",
    )
    samples = parser.parse_args(arguments).samples
    for line in accuracy_lines(list(worlds()), samples):
        print(line, flush=True)
    warnings.simplefilter("ignore")  # SciPy's, of samples in which nearly all values are equal
    print(f"{samples} samples of n = {N}; held: of 95 % intervals; rejected: at 5 %, where nothing is to be rejected")
    for population in POPULATIONS:
        found = shares(population, samples)
        held = ", ".join(f"{name} {100 * found[name]:.1f} %" for name in ("widened BCa", "plain BCa"))
        rejected = ", ".join(f"{name} {100 * found[name]:.1f} %" for name in ("bootstrapped t", "t-test"))
        print(f"{population:<12} held: {held}; rejected: {rejected}", flush=True)


if __name__ == "__main__":
    main()
