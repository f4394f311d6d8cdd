"""Optuna's TPE with draws that depend on what is asked alone, never on how many draws this process has made before.

An ordinary sampler holds one stream of random numbers. A search that is killed and started again begins that stream
anew, so it asks for other configurations than the search that was never killed. Here each draw has a stream of its own:

    seed of a draw = SHA-256(study's seed / cell / trial's number / parameter's name), its first 32 bits

TPE draws the parameters that all trials so far have in common at once; together they count as one parameter, `*`.
With one trial at a time the trials that TPE learns from are the same too, and so is everything that it asks for.
"""

import hashlib
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

_JOINT = "*"


class SeededSampler(BaseSampler):
    """TPE (Watanabe, arXiv:2304.11127, as Optuna has it), seeded anew for every draw.

    Args:
        seed: the study's.
        cell: whose search it is, so that cells of one study do not draw the same numbers.
    """

    def __init__(self, seed: int, cell: str) -> None:
        self._seed, self._cell = seed, cell
        self._space = TPESampler(seed=0)  # remembers which parameters all trials have in common; draws nothing

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._fresh(trial, _JOINT).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._fresh(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _fresh(self, trial: FrozenTrial, parameter: str) -> TPESampler:
        digest = hashlib.sha256(f"{self._seed}/{self._cell}/{trial.number}/{parameter}".encode()).digest()
        return TPESampler(seed=int.from_bytes(digest[:4], "big"))
