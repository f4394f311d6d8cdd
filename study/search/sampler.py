"""Samplers whose draws depend on what is asked alone, never on how many draws this process has made before.

An ordinary sampler holds one stream of random numbers. A search that is killed and started again begins that stream
anew, so it asks for other configurations than the search that was never killed. Here each draw has a stream of its own:

    seed of a draw = SHA-256(study's seed / cell / trial's number / parameter's name), its first 32 bits

TPE draws the parameters that all trials so far have in common at once; together they count as one parameter, `*`.
With one trial at a time the trials that TPE learns from are the same too, and so is everything that it asks for.
Random and quasi-random draws do not hang on results at all, so they are the same however many trials run at once.
"""

import hashlib
import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

_JOINT = "*"
MOST_PARAMETERS = 32
"""Of a quasi-random search: the dimensions of its points."""


class SeededSampler(BaseSampler):
    """TPE (Watanabe, arXiv:2304.11127, as Optuna has it), random or quasi-random draws, seeded anew for every draw.

    Args:
        seed: the study's.
        cell: whose search it is, so that cells of one study do not draw the same numbers.
        kind: `tpe`, `random` or `qmc`.
        startup: of TPE: how many trials must have ended before it learns; until then it draws at random.
    """

    def __init__(self, seed: int, cell: str, kind: str = "tpe", startup: int = 10) -> None:
        self._seed, self._cell, self._kind, self._startup = seed, cell, kind, startup
        self._space = TPESampler(seed=0)  # remembers which parameters all trials have in common; draws nothing

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space.infer_relative_search_space(study, trial) if self._kind == "tpe" else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._fresh(trial, _JOINT).sample_relative(study, trial, search_space) if self._kind == "tpe" else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._kind == "qmc":
            # A trial asks for its parameters one after the other; the place of each is its dimension.
            share = sobol_point(self._hash("sobol"), trial.number)[len(trial.params) % MOST_PARAMETERS]
            return value_at(share, param_distribution)
        return self._fresh(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _fresh(self, trial: FrozenTrial, parameter: str) -> BaseSampler:
        seed = self._hash(f"{trial.number}/{parameter}")
        return RandomSampler(seed) if self._kind == "random" else TPESampler(seed=seed, n_startup_trials=self._startup)

    def _hash(self, what: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}/{self._cell}/{what}".encode()).digest()[:4], "big")


def sobol_point(seed: int, number: int) -> list[float]:
    """Point `number` (from 0) of a scrambled Sobol' sequence in the unit cube (Owen, J. of Complexity 14, 1998)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(MOST_PARAMETERS, rng=seed)
    if number:
        sequence.fast_forward(number)
    return [float(x) for x in sequence.random(1)[0]]


def value_at(share: float, distribution: BaseDistribution) -> Any:
    """The value below which lies this share (0 <= share < 1) of a parameter's range, on its scale and its grid.

    >>> value_at(0.5, FloatDistribution(0.01, 1.0, log=True)), value_at(0.5, IntDistribution(1, 3))
    (0.1, 2)
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise ValueError(f"{distribution!r} is no range that quasi-random draws know; use the sampler tpe or random")
    low, high, step = distribution.low, distribution.high, distribution.step
    half = step / 2 if step else 0.0  # on a grid every value has the same share, its first and last too
    if distribution.log:
        value = math.exp(math.log(low - half) + share * (math.log(high + half) - math.log(low - half)))
    else:
        value = low - half + share * (high - low + 2 * half)
    if step:
        value = low + round((value - low) / step) * step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else value
