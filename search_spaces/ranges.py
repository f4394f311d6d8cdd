"""What a range is: its default, how a study narrows or widens it, and when a found value lies at its edge.

Every searched number here is a scale (a learning rate, a temperature, a threshold), so all ranges are logarithmic.
A study's `ranges` name Optuna parameters: `[low, high]` for a number, a list of allowed values for a choice.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

Ranges = Mapping[str, Sequence[Any]]

# A best value in the outer 5 % of a range (in log scale) says that the range, not the data, may have chosen it.
EDGE_FRACTION = 0.05


def suggest_scale(trial: optuna.Trial, name: str, default: Sequence[float], ranges: Ranges | None) -> float:
    """A positive number from a logarithmic range: the study's own range of this name, or else the default one."""
    low, high = (ranges or {}).get(name, default)
    return trial.suggest_float(name, float(low), float(high), log=True)


def suggest_choice(trial: optuna.Trial, name: str, default: Sequence[str], ranges: Ranges | None) -> str:
    """One of the named values: those that the study's range of this name lists, or else all."""
    return trial.suggest_categorical(name, list((ranges or {}).get(name, default)))


def check_ranges(
    ranges: Ranges, known: Mapping[str, Sequence[Any]], algorithm: str, beside: Sequence[str] = ()
) -> None:
    """Refuse a study's ranges that no trial could use.

    Args:
        ranges: the study's ranges, by Optuna parameter name.
        known: every parameter of the space with its default: `(low, high)` of a number, or the values of a choice.
        algorithm: named in the message.
        beside: further names that a study may give ranges for, to be named in the message too.

    Raises:
        ValueError: an unknown name, a number's range that is not two finite numbers with 0 < low <= high, or a value
            that the choice does not have.
    """
    for name, given in ranges.items():
        if name not in known:
            raise ValueError(
                f"the search space of {algorithm} has no parameter {name!r}; it has {', '.join([*known, *beside])}"
            )
        default = known[name]
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"range of {name}: got {given!r}; give a list")
        if isinstance(default[0], str):
            unknown = [value for value in given if value not in default]
            if unknown:
                raise ValueError(f"range of {name}: {unknown[0]!r} is unknown; use some of {', '.join(default)}")
            continue
        numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
        ordered = len(numbers) == len(given) == 2 and 0 < numbers[0] <= numbers[1] < math.inf
        if not ordered:
            raise ValueError(f"range of {name}: got {list(given)!r}; give [low, high] with 0 < low <= high")


def edge_notes(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> list[str]:
    """One sentence for every value that lies within 5 % (in log scale) of an edge of the range it was drawn from.

    The position of a value v in [low, high] is (ln v - ln low) / (ln high - ln low). A range of one point has no edge.

    Args:
        params: the chosen values by Optuna parameter name (`FrozenTrial.params`).
        distributions: what each was drawn from (`FrozenTrial.distributions`).
    """
    notes = []
    for name, value in params.items():
        drawn_from = distributions[name]
        if not isinstance(drawn_from, FloatDistribution) or drawn_from.low == drawn_from.high:
            continue
        low, high = math.log(drawn_from.low), math.log(drawn_from.high)
        position = (math.log(value) - low) / (high - low)
        if EDGE_FRACTION < position < 1 - EDGE_FRACTION:
            continue
        edge = "lower" if position <= EDGE_FRACTION else "upper"
        notes.append(
            f"{name} = {value:.3g} lies within 5 % of the {edge} edge of its range "
            f"{drawn_from.low:g} .. {drawn_from.high:g}; a wider range may do better"
        )
    return notes
