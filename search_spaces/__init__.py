"""What is searched: one space a method, asked for in Optuna's terms.

`space_for(algorithm).ask(trial, model)` returns settings that are fields of `trainers.config.TrialConfig`. Nothing
is asked for that the chosen branch ignores, so every dimension the sampler sees acts on the score. A method says what
is searched as plain data (`trainers.method.Range` and `Choice` by setting); where one answer decides what is asked
next, a module of this package asks: `binary` and `real`.

    >>> import optuna
    >>> trial = optuna.trial.FixedTrial({"lr": 0.001, "bop_threshold": 1e-6})
    >>> space_for("bop").ask(trial, "MLP")
    {'lr': 0.001, 'bop_threshold': 1e-06}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from search_spaces import binary, footprint, plain, real
from search_spaces.binary import TEMPERATURE_MODES
from search_spaces.ranges import Parameters, Ranges, check_ranges, edge_notes
from trainers.errors import UserError
from trainers.method import Choice, Range
from trainers.registry import METHODS, method_named

__all__ = ["TEMPERATURE_MODES", "Choice", "Range", "Ranges", "Space", "edge_notes", "searched_methods", "space_for"]

# Spaces in which one answer decides what is asked next.
_CONDITIONAL: dict[str, ModuleType] = {"binary": binary, "real": real}


class _AskedError(Exception):
    """A space asked for a value where it was only to be seen whether it would."""


class _Probe:
    """A trial that answers no question."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        raise _AskedError(name)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        raise _AskedError(name)


@dataclass(frozen=True)
class Space:
    """The search space of one algorithm.

    Attributes:
        algorithm: whose space it is.
        suggest: `suggest(trial, model, *, fixed=None, ranges=None, **options)` asks a trial for one configuration and
            returns `TrialConfig` fields.
        parameters: `parameters(model, fixed=None)` gives every Optuna parameter by name, with its default range or
            values, for what a study fixes.
        options: further keywords that `suggest` takes.
    """

    algorithm: str
    suggest: Callable[..., dict[str, Any]]
    parameters: Callable[..., Parameters]
    options: tuple[str, ...] = ()

    def ask(
        self,
        trial: Any,
        model: str,
        *,
        fixed: Mapping[str, Any] | None = None,
        ranges: Ranges | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One configuration: what `suggest` asks for, and the settings of memory that `ranges` list values for."""
        settings = self.suggest(trial, model, fixed=fixed, ranges=ranges, **options)
        return {**settings, **footprint.ask(trial, self.algorithm, model, fixed, ranges)}

    def check_ranges(self, model: str, ranges: Ranges, fixed: Mapping[str, Any] | None = None) -> None:
        """Refuse ranges that no trial of this space could use beside what is fixed; ValueError says what is allowed."""
        beside = footprint.parameters(self.algorithm, model)
        own = {name: values for name, values in ranges.items() if name not in beside}
        check_ranges(own, self.parameters(model, fixed), self.algorithm, beside)
        for name in ranges.keys() - own.keys():
            footprint.check_values(name, ranges[name])

    def is_empty(self, model: str, *, fixed: Mapping[str, Any] | None = None, **options: Any) -> bool:
        """Whether nothing is left to ask for, so that one trial is the whole search."""
        try:
            self.ask(_Probe(), model, fixed=fixed, **options)
        except _AskedError:
            return False
        return True


def searched_methods() -> tuple[str, ...]:
    """The algorithms that have a search space."""
    return tuple(name for name, method in METHODS.all().items() if method.space is not None or name in _CONDITIONAL)


def space_for(algorithm: str) -> Space:
    """The space of an algorithm; UserError, which is a ValueError, names those that have one."""
    if algorithm not in searched_methods():
        known = ", ".join(searched_methods())
        if algorithm in METHODS.all():
            raise UserError(f"method {algorithm!r} has no search space, so it can be trained alone; of others: {known}")
        raise UserError(f"algorithm {algorithm!r} has no search space; use {known}")
    if algorithm in _CONDITIONAL:
        module = _CONDITIONAL[algorithm]
        return Space(algorithm, module.space, module.parameters, getattr(module, "OPTIONS", ()))
    method = method_named(algorithm)
    return Space(algorithm, plain.space_of(method), plain.parameters_of(method))
