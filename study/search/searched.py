"""What a search tried, as plain values: its settings and their scales, every trial, and which settings mattered.

Importance is fANOVA's (Hutter, Hoos and Leyton-Brown 2014, as Optuna has it): a forest of trees learns the validation
accuracy of the completed trials from their settings, and a setting's importance is the share of the forest's variance
that it explains alone, of what single settings explain. It says what mattered *within the ranges and among the trials
of this search*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from study.search.journal_trials import outcome_of, read_searches
from trainers.errors import UserError

LEAST_TRIALS, TRIALS_A_SETTING = 10, 4
"""Completed trials, at least, and for each setting, without which no importance is worked out."""
SEED = 0  # of the forest: the same journal gives the same importance


@dataclass(frozen=True)
class SearchedSetting:
    """One searched setting.

    Attributes:
        name: as the search asks for it.
        choices: its values, where it has a list of them; otherwise empty.
        low, high, log: its range and whether that is logarithmic, where it is a number.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class SearchedTrial:
    """One trial: its outcome (`running` while it has none), its validation accuracy if it completed, its settings.

    `search` says which of a method's searches it is of, from 1.
    """

    number: int
    outcome: str
    accuracy: float | None
    settings: Mapping[str, Any]
    search: int = 1


@dataclass(frozen=True)
class Searched:
    """One search.

    Attributes:
        cell: whose.
        settings: in the order in which they were first asked for.
        trials: by number.
        importance: by setting, in all 1; empty where there are too few completed trials for the number of settings, or
            nothing is left to tune.
    """

    cell: str
    settings: tuple[SearchedSetting, ...]
    trials: tuple[SearchedTrial, ...]
    importance: Mapping[str, float]


@dataclass(frozen=True)
class SearchedMethod:
    """What was searched for one method: once, or several times.

    Attributes:
        searches: each search that has a trial, in order.
        together: all of their trials as those of one search.
    """

    searches: tuple[Searched, ...]
    together: Searched


def read_searched(journal: Path, methods: Mapping[str, Sequence[str]]) -> dict[str, SearchedMethod]:
    """The searches of methods, read without changing anything; without those that have no trial.

    Args:
        journal: the study's; nothing was searched where there is none.
        methods: by any name, the cells of its searches, in order.

    Raises:
        UserError: the journal is damaged.
    """
    try:
        searches = read_searches(journal)
    except (ValueError, KeyError, AssertionError, TypeError, OSError) as error:
        raise UserError(f"the search's journal {journal} cannot be read ({type(error).__name__}: {error})") from error
    found = {}
    for method, cells in methods.items():
        trials = [(place, cell, searches[cell]) for place, cell in enumerate(cells, start=1) if searches.get(cell)]
        if trials:
            single = tuple(_searched(cell, [(place, one) for one in own]) for place, cell, own in trials)
            every = [(place, one) for place, _, own in trials for one in own]
            found[method] = SearchedMethod(single, single[0] if len(single) == 1 else _searched(trials[0][1], every))
    return found


def _searched(cell: str, trials: Sequence[tuple[int, FrozenTrial]]) -> Searched:
    settings: dict[str, SearchedSetting] = {}
    for _, trial in trials:
        for name, distribution in trial.distributions.items():
            settings.setdefault(name, _setting(name, distribution))
    made = [
        SearchedTrial(
            trial.number,
            outcome_of(trial),
            trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None,
            dict(trial.params),
            search,
        )
        for search, trial in trials
    ]
    made.sort(key=lambda trial: (trial.search, trial.number))
    return Searched(cell, tuple(settings.values()), tuple(made), _importance([trial for _, trial in trials]))


def _setting(name: str, distribution: BaseDistribution) -> SearchedSetting:
    if isinstance(distribution, CategoricalDistribution):
        return SearchedSetting(name, tuple(distribution.choices))
    low, high = float(getattr(distribution, "low", 0)), float(getattr(distribution, "high", 1))
    return SearchedSetting(name, (), low, high, bool(getattr(distribution, "log", False)))


def _importance(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Of the settings that every completed trial has (a condition leaves some out of some)."""
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    shared = set.intersection(*(set(trial.params) for trial in completed)) if completed else set()
    varied = [name for name in completed[0].params if name in shared] if completed else []
    varied = [name for name in varied if len({str(trial.params[name]) for trial in completed}) > 1]
    if len(completed) < max(LEAST_TRIALS, TRIALS_A_SETTING * len(varied)) or len(varied) < 2:
        return {}
    if len({trial.values[0] for trial in completed}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    for trial in completed:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: trial.params[name] for name in varied},
                distributions={name: trial.distributions[name] for name in varied},
                value=trial.values[0],
            )
        )
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=SEED))
    return {name: float(value) for name, value in found.items()}
