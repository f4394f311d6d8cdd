"""What is searched for BinSFO: the mask, the scheduler, and one of temperature and learning rate.

The learning rate of a binary layer acts only through the temperature, and a given first temperature T0 cancels the
learning rate out of it, so a search that asked for both would ask for one number twice:

- `decoupled` (default): T0 is asked for. The learning rate then moves nothing but the real parameters, so it is asked
  for only where the model has some; the MLP has none.
- `coupled` (the paper): the learning rate is asked for, and sets both the temperature and the real parameters' step.

RAND masks every weight with probability clip(T, 0, 1), whatever its gradient. There T is a probability, not the size
of a step of an imagined latent weight, and the temperature that a learning rate implies would saturate at 1 over most
of its range (T0 = 70·lr with `gaussian`, 8862·lr with `scaled-gaussian`, from scratch). So RAND is asked for its T0 in
both modes, in a range and under a name of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from search_spaces.models import has_real_parameters
from search_spaces.ranges import Ranges, suggest_choice, suggest_scale

TEMPERATURE_MODES = ("decoupled", "coupled")

LEARNING_RATE_MLP = (1e-3, 1e2)
LEARNING_RATE_CNN = (1e-5, 1.0)


def parameters(model: str) -> dict[str, Sequence[Any]]:
    """Every Optuna parameter that this space may ask for, with its default range or values."""
    return {
        "mask_type": ("EWM", "WPM", "RAND"),
        "scheduler_type": ("const", "gaussian", "scaled-gaussian"),
        "temperature": (1.0, 1e5),
        "temperature_rand": (1e-5, 1e-1),
        "lr": LEARNING_RATE_CNN if has_real_parameters(model) else LEARNING_RATE_MLP,
    }


def space(
    trial: optuna.Trial,
    model: str,
    *,
    fixed: Mapping[str, Any] | None = None,
    ranges: Ranges | None = None,
    temperature_mode: str = "decoupled",
) -> dict[str, Any]:
    """The settings of one BinSFO trial, as `TrialConfig` fields: of those searched, the ones that are not fixed.

    Args:
        trial: where values are asked for.
        model: decides the learning rate's range, and whether it acts at all beside a temperature.
        fixed: `TrialConfig` fields that the study sets, so that they are not asked for.
        ranges: the study's own ranges by Optuna parameter name (see `parameters`).
        temperature_mode: `decoupled` or `coupled`; a fixed temperature decouples whatever is said here.

    Raises:
        ValueError: an unknown temperature mode.
    """
    if temperature_mode not in TEMPERATURE_MODES:
        raise ValueError(f"temperature_mode {temperature_mode!r} is unknown; use {' or '.join(TEMPERATURE_MODES)}")
    fixed = fixed or {}
    default = parameters(model)
    asked: dict[str, Any] = {}
    for choice in ("mask_type", "scheduler_type"):
        if choice not in fixed:
            asked[choice] = suggest_choice(trial, choice, default[choice], ranges)
    mask_type = fixed.get("mask_type", asked.get("mask_type"))
    temperature_is_fixed = fixed.get("temperature") is not None
    temperature_is_asked = not temperature_is_fixed and (temperature_mode == "decoupled" or mask_type == "RAND")
    if temperature_is_asked:
        name = "temperature_rand" if mask_type == "RAND" else "temperature"
        asked["temperature"] = suggest_scale(trial, name, default[name], ranges)
    lr_acts = has_real_parameters(model) or not (temperature_is_asked or temperature_is_fixed)
    if lr_acts and "lr" not in fixed:
        asked["lr"] = suggest_scale(trial, "lr", default["lr"], ranges)
    return asked
