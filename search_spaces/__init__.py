"""What is searched: one define-by-run space per algorithm, in Optuna's terms.

`space_for(algorithm).ask(trial, model)` returns settings that are fields of `trainers.config.TrialConfig`. Nothing
is asked for that the chosen branch ignores, so every dimension the sampler sees acts on the score.

    >>> import optuna
    >>> trial = optuna.trial.FixedTrial({"lr": 0.001, "bop_threshold": 1e-6})
    >>> space_for("bop").ask(trial, "MLP")
    {'lr': 0.001, 'bop_threshold': 1e-06}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import binary, bop, footprint, frozen, real
from search_spaces.binary import TEMPERATURE_MODES
from search_spaces.ranges import Ranges, check_ranges, edge_notes

__all__ = ["SPACES", "TEMPERATURE_MODES", "Ranges", "Space", "edge_notes", "space_for"]


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
        parameters: `parameters(model)` gives every Optuna parameter by name, with its default range or values.
        options: further keywords that `suggest` takes.
    """

    algorithm: str
    suggest: Callable[..., dict[str, Any]]
    parameters: Callable[[str], dict[str, Sequence[Any]]]
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

    def check_ranges(self, model: str, ranges: Ranges) -> None:
        """Refuse ranges that no trial of this space could use; ValueError says what is allowed."""
        beside = footprint.parameters(self.algorithm, model)
        own = {name: values for name, values in ranges.items() if name not in beside}
        check_ranges(own, self.parameters(model), self.algorithm, beside)
        for name in ranges.keys() - own.keys():
            footprint.check_values(name, ranges[name])

    def is_empty(self, model: str, *, fixed: Mapping[str, Any] | None = None, **options: Any) -> bool:
        """Whether nothing is left to ask for, so that one trial is the whole search."""
        try:
            self.ask(_Probe(), model, fixed=fixed, **options)
        except _AskedError:
            return False
        return True


SPACES: dict[str, Space] = {
    "binary": Space("binary", binary.space, binary.parameters, options=("temperature_mode",)),
    "real": Space("real", real.space, real.parameters),
    "bop": Space("bop", bop.space, bop.parameters),
    "frozen": Space("frozen", frozen.space, frozen.parameters),
}


def space_for(algorithm: str) -> Space:
    """The space of an algorithm; ValueError names those that have one."""
    if algorithm not in SPACES:
        raise ValueError(f"algorithm {algorithm!r} has no search space; use {', '.join(SPACES)}")
    return SPACES[algorithm]
