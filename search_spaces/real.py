"""What is searched for training in real space: the optimizer, unless fixed, and its learning rate.

SGD and Adam want learning rates that lie decades apart, so each has a range and an Optuna parameter of its own: one
parameter whose range changed from trial to trial would mislead the sampler.
"""

from collections.abc import Mapping
from typing import Any

import optuna

from search_spaces.ranges import Parameters, Ranges, suggest
from trainers.method import (
    LATENT_ADAM,
    LATENT_ADAM_FINE_TUNING,
    LATENT_SGD,
    LATENT_SGD_FINE_TUNING,
    Choice,
    fine_tunes,
)

FROM_SCRATCH = {"lr_sgd": LATENT_SGD, "lr_adam": LATENT_ADAM}
FINE_TUNING = {"lr_sgd": LATENT_SGD_FINE_TUNING, "lr_adam": LATENT_ADAM_FINE_TUNING}
"""Of a run that starts from a pretrained file."""


def parameters(model: str, fixed: Mapping[str, Any] | None = None) -> Parameters:
    """Every Optuna parameter that this space may ask for, with its default range or values."""
    rates = FINE_TUNING if fine_tunes(fixed or {}) else FROM_SCRATCH
    return {"optimizer": Choice(("SGD", "Adam")), **rates}


def space(
    trial: optuna.Trial, model: str, *, fixed: Mapping[str, Any] | None = None, ranges: Ranges | None = None
) -> dict[str, Any]:
    """The settings of one trial in real space, as `TrialConfig` fields; arguments as in `binary.space`."""
    fixed = fixed or {}
    default = parameters(model, fixed)
    asked: dict[str, Any] = {}
    if "optimizer" not in fixed:
        asked["optimizer"] = suggest(trial, "optimizer", default["optimizer"], ranges)
    if "lr" not in fixed:
        name = "lr_adam" if fixed.get("optimizer", asked.get("optimizer")) == "Adam" else "lr_sgd"
        asked["lr"] = suggest(trial, name, default[name], ranges)
    return asked
