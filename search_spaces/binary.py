"""What is searched for BinSFO: the mask, the scheduler, and one of temperature and learning rate.

The learning rate of a binary layer acts only through the temperature, and a given first temperature T0 cancels the
learning rate out of it, so a search that asked for both would ask for one number twice:

- `decoupled` (default): T0 is asked for. The learning rate then moves nothing but the real parameters, so it is asked
  for only where it trains them, which is as published; else they have an optimizer of their own, and the MLP has none.
- `coupled` (the paper): the learning rate is asked for, and sets the temperature; as published, the real parameters'
  step too.

RAND masks every weight with probability clip(T, 0, 1), whatever its gradient. There T is a probability, not the size
of a step of an imagined latent weight, and the temperature that a learning rate implies would saturate at 1 over most
of its range (T0 = 70·lr with `gaussian`, 8862·lr with `scaled-gaussian`, from scratch). So RAND is asked for its T0 in
both modes, in a range and under a name of its own.

What is not of the paper is asked for only where a study's ranges name it: `anneal`, `relative` among the values of
`scheduler_type`, and `inertia_bits`, which decide about memory too (`search_spaces.footprint`). The temperature of
`relative` is in units of 1/sigma(g) and about 1, so that it too has a range and a name of its own in both modes. RAND
cannot have `relative`: where that is among the schedulers, RAND is not among the masks.

A pretrained network is fine-tuned by flipping about one weight in a hundred, and is destroyed by as many flips as it
takes to train one from scratch, so its ranges begin orders of magnitude lower (`FINE_TUNING`). The more bits a counter
has, the more events a flip takes and the higher the temperature must be: the range of `relative` goes by the bits. WPM
flips nothing below its threshold |g| = 0.48/T, which EWM's temperatures put at a hundred deviations of a pretrained
network's gradient: in fine-tuning its T0 has a range and a name of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from search_spaces.ranges import Parameters, Ranges, suggest
from trainers.method import REAL_PARAMETERS_LR, Choice, Range, fine_tunes
from trainers.registry import lr_trains_real, model_named

TEMPERATURE_MODES = ("decoupled", "coupled")
OPTIONS = ("temperature_mode",)

PAPER_SCHEDULERS = ("const", "gaussian", "scaled-gaussian")

# Of the binary layers' own rate u, where the learning rate drives flips alone.
RATE_OF_FLIPS = Range(1e-3, 1e2)
FINE_TUNING_RATE = Range(1e-5, 1e2)

FROM_SCRATCH = {
    "temperature": Range(1.0, 1e5),
    "temperature_rand": Range(1e-5, 1e-1),
    "temperature_relative": Range(1e-3, 1e1),
}
FINE_TUNING = {
    # What 3e-4 relative to it is in units of 1/sigma(g): 150 for ResNet18 from its ImageNet file (2e-6, measured).
    "temperature": Range(1e-2, 1e4),
    "temperature_wpm": Range(1e3, 1e6),  # thresholds of 240 down to 0.24 times that deviation
    "temperature_rand": Range(1e-7, 1e-3),  # half of what is masked flips: 1 % over 500 steps is 4e-5
    "temperature_relative": Range(1e-5, 3e1),
}
"""Of a run that starts from a pretrained file."""

RELATIVE_BY_BITS = {
    0: Range(1e-5, 1e-2),
    2: Range(1e-4, 1e-1),
    3: Range(3e-4, 3e-1),
    4: Range(1e-3, 5e-1),
    8: Range(3e-2, 3e1),
}
"""The temperature of `relative` in fine-tuning, by the bits of a counter. On CIFAR-100 (4,000 images of 64 pixels, 10
epochs, ResNet18 from its ImageNet file, annealed) the best seen were 0.0003 without counters (28.4 %, 3.4 % of all
weights flipped), 0.02 with 4 bits (28.1 %, 1.0 %; 0.3 flipped 25 % and lost 5 points) and 1 with 8 (27.1 %, 0.15 %)."""


def parameters(model: str, fixed: Mapping[str, Any] | None = None) -> Parameters:
    """Every Optuna parameter that this space may ask for, with its default range or all its values.

    Of `scheduler_type` only `PAPER_SCHEDULERS` are asked for by default, and `anneal` not at all.

    Args:
        model: whose binary layers take a share of the learning rate, and whose real parameters all of it or nothing.
        fixed: the settings that a study fixes; a pretrained file among them, and the bits of the counters, move ranges.
    """
    fixed = fixed or {}
    temperatures = dict(FROM_SCRATCH)
    if fine_tunes(fixed):
        temperatures = dict(FINE_TUNING)
        if (bits := fixed.get("inertia_bits")) in RELATIVE_BY_BITS:
            temperatures["temperature_relative"] = RELATIVE_BY_BITS[bits]
    share = model_named(model).binary_rate
    rate = FINE_TUNING_RATE if fine_tunes(fixed) else RATE_OF_FLIPS
    of_flips = Range(rate.low / share, rate.high / share)
    return {
        "mask_type": Choice(("EWM", "WPM", "RAND")),
        "scheduler_type": Choice((*PAPER_SCHEDULERS, "relative")),
        "anneal": Choice(("none", "cosine")),
        **temperatures,
        "lr": REAL_PARAMETERS_LR if lr_trains_real(model, fixed) else of_flips,
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
        ValueError: an unknown temperature mode, or RAND asked for beside `relative`.
    """
    if temperature_mode not in TEMPERATURE_MODES:
        raise ValueError(f"temperature_mode {temperature_mode!r} is unknown; use {' or '.join(TEMPERATURE_MODES)}")
    fixed, ranges = fixed or {}, ranges or {}
    counted = {} if "inertia_bits" in ranges else {"inertia_bits": 0}  # neither fixed nor searched: the paper's rule
    default = parameters(model, {**counted, **fixed})
    asked: dict[str, Any] = {}
    for choice, values in _choices(fixed, ranges).items():
        if choice not in fixed:
            asked[choice] = suggest(trial, choice, Choice(tuple(values)), None)
    mask_type, scheduler_type = ({**fixed, **asked}[choice] for choice in ("mask_type", "scheduler_type"))
    temperature_is_fixed = fixed.get("temperature") is not None
    name, follows_lr = "temperature", True
    if mask_type == "RAND":
        name, follows_lr = "temperature_rand", False
    elif scheduler_type == "relative":
        name, follows_lr = "temperature_relative", False
    elif mask_type == "WPM" and "temperature_wpm" in default:
        name = "temperature_wpm"
    temperature_is_asked = not temperature_is_fixed and (temperature_mode == "decoupled" or not follows_lr)
    if temperature_is_asked:
        asked["temperature"] = suggest(trial, name, default[name], ranges)
    lr_acts = lr_trains_real(model, fixed) or not (temperature_is_asked or temperature_is_fixed)
    if lr_acts and "lr" not in fixed:
        asked["lr"] = suggest(trial, "lr", default["lr"], ranges)
    return asked


def _choices(fixed: Mapping[str, Any], ranges: Ranges) -> dict[str, Sequence[Any]]:
    """The values on offer by parameter: the fixed one, the study's own, or the default ones where there are any."""
    offered: dict[str, Sequence[Any]] = {"mask_type": ("EWM", "WPM", "RAND"), "scheduler_type": PAPER_SCHEDULERS}
    offered |= {name: ranges[name] for name in (*offered, "anneal") if name in ranges}
    offered |= {name: [fixed[name]] for name in offered if name in fixed}
    if "relative" in offered["scheduler_type"]:
        if "mask_type" not in fixed and "mask_type" not in ranges:
            offered["mask_type"] = ("EWM", "WPM")
        if "RAND" in offered["mask_type"]:
            raise ValueError("mask_type RAND cannot have scheduler_type relative; offer only one of the two")
    return offered
