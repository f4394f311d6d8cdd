"""What may be searched beside a method's own parameters: settings that decide how much memory a run takes.

They are asked for only where a study's `ranges` list values for them, since more memory nearly always gives more
accuracy, and a search on accuracy alone would answer a question that nobody asked. They belong to a search with two
objectives, accuracy and memory, or to one that a device's memory bounds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from search_spaces.ranges import Ranges
from trainers.registry import settings_of


def parameters(algorithm: str, model: str) -> tuple[str, ...]:
    """The names that a study may list values for: those that mean something to this method and this model.

    >>> parameters("binary", "MLP")
    ('batch_size', 'activation_memory', 'inertia_bits')
    """
    return tuple(setting.name for setting in settings_of(algorithm, model) if setting.offered)


def ask(
    trial: optuna.Trial, algorithm: str, model: str, fixed: Mapping[str, Any] | None, ranges: Ranges | None
) -> dict[str, Any]:
    """One of the listed values for each name that has a list and is not fixed, as `TrialConfig` fields."""
    listed = [name for name in parameters(algorithm, model) if name in (ranges or {}) and name not in (fixed or {})]
    return {name: trial.suggest_categorical(name, list((ranges or {})[name])) for name in listed}


def check_values(name: str, given: Any) -> None:
    """Refuse what is no list of distinct values; ValueError says what is wanted. A run's own check does the rest."""
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    plain = all(isinstance(value, int | float | str) and not isinstance(value, bool) for value in values)
    if not values or not plain or len(set(values)) < len(values):
        raise ValueError(f"range of {name}: got {given!r}; list the values to choose from, each once, as in [64, 128]")
