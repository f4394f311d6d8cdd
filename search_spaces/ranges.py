"""What a range is: its default, how a study narrows or widens it, and when a found value lies at its edge.

Nearly every searched number is a scale (a learning rate, a temperature, a threshold), whose range is logarithmic. A
study's `ranges` name Optuna parameters: `[low, high]` for a number, a list of allowed values for a choice.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from trainers.method import Choice, Range

Ranges = Mapping[str, Sequence[Any]]
Parameters = Mapping[str, Range | Choice]
"""Every Optuna parameter of a space by name, with its default range or all its values."""

# A best value in the outer 5 % of a range (in log scale) says that the range, not the data, may have chosen it.
EDGE_FRACTION = 0.05


def suggest(trial: optuna.Trial, name: str, default: Range | Choice, ranges: Ranges | None) -> Any:
    """A number from the study's own range of this name, or else the default one; or one of the values, likewise."""
    if isinstance(default, Choice):
        return trial.suggest_categorical(name, list((ranges or {}).get(name, default.values)))
    low, high = (ranges or {}).get(name, (default.low, default.high))
    return trial.suggest_float(name, float(low), float(high), log=default.log)


def check_ranges(ranges: Ranges, known: Parameters, algorithm: str, beside: Sequence[str] = ()) -> None:
    """Refuse a study's ranges that no trial could use.

    Args:
        ranges: the study's ranges, by Optuna parameter name.
        known: every parameter of the space with its default.
        algorithm: named in the message.
        beside: further names that a study may give ranges for, to be named in the message too.

    Raises:
        ValueError: an unknown name, a number's range that is not two finite numbers with low <= high (0 < low on a
            logarithmic scale), or a value that the choice does not have.
    """
    for name, given in ranges.items():
        if name not in known:
            raise ValueError(
                f"the search space of {algorithm} has no parameter {name!r}; it has {', '.join([*known, *beside])}"
            )
        default = known[name]
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"range of {name}: got {given!r}; give a list")
        if isinstance(default, Choice):
            unknown = [value for value in given if value not in default.values]
            if unknown:
                values = ", ".join(map(str, default.values))
                raise ValueError(f"range of {name}: {unknown[0]!r} is unknown; use some of {values}")
            continue
        numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
        finite = len(numbers) == len(given) == 2 and all(map(math.isfinite, numbers))
        if not finite or not numbers[0] <= numbers[1] or (default.log and numbers[0] <= 0):
            bound = "0 < low <= high" if default.log else "low <= high"
            raise ValueError(f"range of {name}: got {list(given)!r}; give [low, high] with {bound}")


def edge_notes(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> list[str]:
    """One sentence for every value that lies within 5 % of an edge of its range, in the range's own scale.

    The position of a value v in [low, high] is (ln v - ln low) / (ln high - ln low), without logarithms in a linear
    range. A range of one point has no edge.

    Args:
        params: the chosen values by Optuna parameter name (`FrozenTrial.params`).
        distributions: what each was drawn from (`FrozenTrial.distributions`).
    """
    notes = []
    for name, value in params.items():
        drawn_from = distributions[name]
        if not isinstance(drawn_from, FloatDistribution) or drawn_from.low == drawn_from.high:
            continue
        scale = math.log if drawn_from.log else float
        low, high = scale(drawn_from.low), scale(drawn_from.high)
        position = (scale(value) - low) / (high - low)
        if EDGE_FRACTION < position < 1 - EDGE_FRACTION:
            continue
        edge = "lower" if position <= EDGE_FRACTION else "upper"
        notes.append(
            f"{name} = {value:.3g} lies within 5 % of the {edge} edge of its range "
            f"{drawn_from.low:g} .. {drawn_from.high:g}; a wider range may do better"
        )
    return notes
