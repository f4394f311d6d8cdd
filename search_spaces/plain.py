"""The spaces that are plain data: each setting with its range or its values, all of them asked for in every trial."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from search_spaces.ranges import Parameters, Ranges, suggest
from trainers.method import Method
from trainers.registry import model_named


def parameters_of(method: Method) -> Callable[..., Parameters]:
    """`parameters(model, fixed)`: every Optuna parameter of the method's space with its default; the names are
    settings."""

    def parameters(model: str, fixed: Mapping[str, Any] | None = None) -> Parameters:
        return method.searched(model_named(model), fixed or {})

    return parameters


def space_of(method: Method) -> Callable[..., dict[str, Any]]:
    """`space(trial, model, *, fixed, ranges)`: one trial's settings, arguments as in `search_spaces.binary.space`."""
    parameters = parameters_of(method)

    def space(
        trial: optuna.Trial, model: str, *, fixed: Mapping[str, Any] | None = None, ranges: Ranges | None = None
    ) -> dict[str, Any]:
        asked = {name: default for name, default in parameters(model, fixed).items() if name not in (fixed or {})}
        return {name: suggest(trial, name, default, ranges) for name, default in asked.items()}

    return space
