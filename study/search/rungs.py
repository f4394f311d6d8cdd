"""Early stopping that stands in the journal: which trial stops at which rung is decided once, and never again.

A *rung* is an epoch at which trials are compared: grace_period · reduction_factor^i for i = 0, 1, 2, ... At a rung one
trial in `reduction_factor` goes on, by the values that trials had there when they came (ASHA, Li et al., MLSys 2020);
the rule is Optuna's `SuccessiveHalvingPruner`. All that it goes by lies in the journal, so rungs survive restarts and
extensions. The last epoch is no rung: a trial that has come that far is left to finish.

A kill between any two of these writings is repaired by asking again:

    1. the epoch's value    2. if the trial stops, `rung` = the epoch    3. the value as that of the rung

With 3 in the journal the decision has been made; without, it is made again, from the same values.
"""

from typing import Any, cast

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from study.define.settings import AshaConfig

RUNG = "rung"
"""The user attribute of a pruned trial that holds the epoch at which it was stopped."""

# Optuna's name for the value that a trial had at a rung, without the rung's number.
_REACHED = "completed_rung_"


class Rungs:
    """Decides which trials of a search stop.

    Args:
        asha: where the rungs are, and how many trials go on.
        epochs: the last epoch.
    """

    def __init__(self, asha: AshaConfig, epochs: int) -> None:
        self._asha, self._epochs = asha, epochs
        self._pruner = SuccessiveHalvingPruner(
            min_resource=asha.grace_period, reduction_factor=asha.reduction_factor, min_early_stopping_rate=0
        )

    def stops(self, study: optuna.Study, trial: optuna.Trial, epoch: int) -> bool:
        """Whether the trial stops at this epoch, whose value is in the journal; decided once, then remembered.

        Args:
            study: the search.
            trial: one of its running trials.
            epoch: from 1.
        """
        rung = self._rung(epoch)
        if rung is None:
            return False
        storage = study._storage
        frozen = storage.get_trial(trial._trial_id)
        if any(key == f"{_REACHED}{rung}" for key in frozen.system_attrs):
            return bool(frozen.user_attrs.get(RUNG) == epoch)
        view = _View(study)
        stops = self._pruner.prune(cast("optuna.Study", view), frozen) or RUNG in frozen.user_attrs
        if stops and RUNG not in frozen.user_attrs:
            trial.set_user_attr(RUNG, epoch)
        for key, value in view.kept.items():
            storage.set_trial_system_attr(trial._trial_id, key, value)
        return stops

    def _rung(self, epoch: int) -> int | None:
        """The number of the rung at this epoch, from 0; None where there is none."""
        rung, at = 0, self._asha.grace_period
        while at < epoch:
            rung, at = rung + 1, at * self._asha.reduction_factor
        return rung if at == epoch < self._epochs else None


class _View:
    """A study as the pruner sees it: it reads the journal, and what it writes is kept back for `Rungs` to write last.

    By itself the pruner writes a trial's value at the rung before it decides, so that a trial which was killed in
    between would pass that rung undecided.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._storage = self
        self.direction = study.direction
        self.kept: dict[str, Any] = {}

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=deepcopy)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.kept[key] = value
