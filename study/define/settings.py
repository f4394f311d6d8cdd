"""A study's settings as they stand in its file: how to search, to confirm, what a run takes; and what they may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from search_spaces import TEMPERATURE_MODES
from trainers.config import TrialConfig
from trainers.errors import UserError

METHODS = ("binary", "bop", "frozen", "real", "real-SGD", "real-Adam")

# Fields of a TrialConfig that a cell, the search or the command line sets, so that `fixed` may not.
_SET_ELSEWHERE = {
    "dataset": "cells: datasets",
    "model": "cells: models",
    "algorithm": "cells: methods",
    "optimizer": "cells: methods (real-SGD or real-Adam)",
    "seed": "search: seed",
    "test": "nothing: only confirmation runs open the test set",
    "workers": "resources: workers",
    "threads": "resources: threads",
    "device": "resources: device",
    "data_root": "--data-root",
    "prepared_root": "--prepared-root",
}

ABLATED = ("mask_type", "scheduler_type", "inertia_bits", "bop_momentum_bits")
"""What a block's `ablate` may list values of: each makes a method of its own."""

METRIC = "val_accuracy"
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {METRIC: "maximize", "peak_memory_bytes": "minimize"}
"""What a search may go by, and which way; validation accuracy always, first, and in early stopping alone."""


@dataclass(frozen=True)
class AshaConfig:
    """When a trial that lags is stopped (ASHA, Li et al., MLSys 2020); epochs are its unit of time.

    Args:
        grace_period: epochs that every trial gets.
        reduction_factor: of the trials at a rung, one in this many goes on.
    """

    grace_period: int = 1
    reduction_factor: int = 3


@dataclass(frozen=True)
class SearchConfig:
    """How the best configuration of a cell is looked for, on validation accuracy alone.

    Args:
        trials: configurations a cell may try (one where its space is empty).
        seed: the study's seed: that of every search trial's training, and where the sampler's draws come from.
        asha: early stopping; None lets every trial finish.
        temperature_mode: what `binary` asks for (see `search_spaces.binary`).
        objectives: what the best is best in; see `OBJECTIVES`.
        ranges: by method, ranges that replace the space's own.
        fixed: by method, `TrialConfig` fields that are not searched.
    """

    trials: int = 20
    seed: int = 1
    asha: AshaConfig | None = field(default_factory=AshaConfig)
    temperature_mode: str = "decoupled"
    objectives: tuple[str, ...] = (METRIC,)
    ranges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fixed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ConfirmConfig:
    """The best `k` configurations of a cell, trained again with each of `seeds`, unpruned; these open the test set.

    Accuracies whose difference surely lies within `margin` points count as comparable (PROTOCOL §6.2).
    """

    k: int = 1
    seeds: tuple[int, ...] = (11, 12, 13)
    margin: float = 1.0


@dataclass(frozen=True)
class ResourcesConfig:
    """What one trial takes, and how many run side by side.

    Args:
        workers: data-parallel workers of a trial.
        threads: CPU threads of a worker.
        device: auto, cpu or cuda; on `cuda` each worker takes a GPU.
        at_once: the most trials side by side; None for as many as fit. With 1 the search is the same every time; with
            more, what a trial learns from depends on which others have ended.
    """

    workers: int = 1
    threads: int = 1
    device: str = "auto"
    at_once: int | None = None


def fixed_settings(values: Any, where: str) -> dict[str, Any]:
    """Settings of every trial: `TrialConfig` fields that nothing else sets."""
    names = [entry.name for entry in fields(TrialConfig) if entry.name not in _SET_ELSEWHERE]
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; give settings as `name: value`")
    for name in values:
        if name in _SET_ELSEWHERE:
            raise UserError(f"{where}: {name} is set by {_SET_ELSEWHERE[name]}; take it out of here")
        if name not in names:
            raise UserError(f"{where}: {name!r} is unknown; use {', '.join(names)}")
    return dict(values)


def check_search(search: SearchConfig) -> None:
    """Refuse search settings that no sweep could use."""
    if search.trials < 1:
        raise UserError(f"search: trials is {search.trials}; a sweep needs at least 1")
    asha = search.asha
    if asha and (asha.grace_period < 1 or asha.reduction_factor < 2):
        raise UserError(
            f"search: asha: grace_period is {asha.grace_period} and reduction_factor {asha.reduction_factor}; "
            "use at least 1 epoch and at least 2"
        )
    if search.temperature_mode not in TEMPERATURE_MODES:
        raise UserError(
            f"search: temperature_mode {search.temperature_mode!r} is unknown; use {' or '.join(TEMPERATURE_MODES)}"
        )
    check_objectives(search)
    for kind, by_method in (("ranges", search.ranges), ("fixed", search.fixed)):
        for method, values in by_method.items():
            if method not in METHODS:
                raise UserError(f"search: {kind}: method {method!r} is unknown; use {', '.join(METHODS)}")
            if not isinstance(values, dict):
                raise UserError(f"search: {kind}: {method} is {values!r}; give `name: value` lines")
            if kind == "fixed":
                fixed_settings(values, f"search: fixed: {method}")


def check_objectives(search: SearchConfig) -> None:
    """Refuse objectives that there are not, and early stopping where there are several."""
    objectives = list(search.objectives)
    if objectives not in ([METRIC], list(OBJECTIVES)):
        raise UserError(f"search: objectives is {objectives!r}; give [{METRIC}] or [{', '.join(OBJECTIVES)}]")
    if len(objectives) > 1 and search.asha:
        raise UserError(
            "search: asha stops trials by their validation accuracy, and Optuna none that has several objectives; "
            f"take asha out, or give objectives: [{METRIC}]"
        )


def check_confirm(confirm: ConfirmConfig) -> None:
    """Refuse a confirmation that would count a run twice or could not run."""
    seeds = confirm.seeds
    if any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise UserError(f"confirm: seeds are {list(seeds)!r}; give whole numbers from 0")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"confirm: seeds are {list(seeds)}; give each once, or the same run would count twice")
    if confirm.k < 0:
        raise UserError(f"confirm: k is {confirm.k}; give 0 (no confirmation) or more")
    check_margin(confirm.margin, "confirm: margin")


def check_margin(points: float, where: str) -> None:
    """Refuse a margin of equivalence within which no difference, or every one, would lie."""
    if not 0 < points < 100:
        raise UserError(f"{where} is {points:g} points; give more than 0 and less than 100, e.g. 1")


def check_resources(resources: ResourcesConfig) -> None:
    """Refuse resources with which nothing could run; the rest is checked with each trial's own configuration."""
    if resources.at_once is not None and resources.at_once < 1:
        raise UserError(f"resources: at_once is {resources.at_once}; give 1 or more, or leave it out")
