"""What is searched for Bop (Helwegen et al., NeurIPS 2019): its adaptivity rate, through lr, and its flip threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from search_spaces.ranges import Ranges, suggest_scale


def parameters(model: str) -> dict[str, Sequence[Any]]:
    """Every Optuna parameter that this space may ask for, with its default range; the same for every model."""
    return {"lr": (1e-4, 1e-1), "bop_threshold": (1e-8, 1e-4)}


def space(
    trial: optuna.Trial, model: str, *, fixed: Mapping[str, Any] | None = None, ranges: Ranges | None = None
) -> dict[str, Any]:
    """The settings of one Bop trial, as `TrialConfig` fields; arguments as in `binary.space`."""
    default = parameters(model)
    return {name: suggest_scale(trial, name, default[name], ranges) for name in default if name not in (fixed or {})}
