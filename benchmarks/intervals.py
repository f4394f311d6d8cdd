"""How often the protocol's intervals hold the true mean, and its p-values reject a true null (study/PROTOCOL.md §5).

    python -m benchmarks.intervals

For each of three populations samples of n = 10 are drawn: normal; binomial, as accuracies near 95 % on 360 test images
are; and exponential, which is far more skewed than accuracies. Beside the protocol's own stand what it could have used
instead: the BCa interval at its plain level, and the t-test.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

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


def main(arguments: list[str] | None = None) -> None:
    """Print one line a population."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="samples of a population (default: 1000)"
    )
    samples = parser.parse_args(arguments).samples
    warnings.simplefilter("ignore")  # SciPy's, of samples in which nearly all values are equal
    print(f"{samples} samples of n = {N}; held: of 95 % intervals; rejected: at 5 %, where nothing is to be rejected")
    for population in POPULATIONS:
        found = shares(population, samples)
        held = ", ".join(f"{name} {100 * found[name]:.1f} %" for name in ("widened BCa", "plain BCa"))
        rejected = ", ".join(f"{name} {100 * found[name]:.1f} %" for name in ("bootstrapped t", "t-test"))
        print(f"{population:<12} held: {held}; rejected: {rejected}", flush=True)


if __name__ == "__main__":
    main()
