"""What is searched for the control whose binary weights never change: the real parameters' learning rate.

A model without real parameters has nothing to learn then, so nothing is asked for and one trial says all there is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from search_spaces.binary import LEARNING_RATE_CNN
from search_spaces.models import has_real_parameters
from search_spaces.ranges import Ranges, suggest_scale


def parameters(model: str) -> dict[str, Sequence[Any]]:
    """Every Optuna parameter that this space may ask for, with its default range.

    The range is that of `binary`: the control's real parameters get the same search as those of the rule it controls.
    """
    return {"lr": LEARNING_RATE_CNN} if has_real_parameters(model) else {}


def space(
    trial: optuna.Trial, model: str, *, fixed: Mapping[str, Any] | None = None, ranges: Ranges | None = None
) -> dict[str, Any]:
    """The settings of one control trial, as `TrialConfig` fields; arguments as in `binary.space`."""
    default = parameters(model)
    return {name: suggest_scale(trial, name, default[name], ranges) for name in default if name not in (fixed or {})}
