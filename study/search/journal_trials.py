"""What a search's journal says of its trials, read without changing anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

OUTCOMES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


METRICS = ("val_accuracy", "peak_memory_bytes")


@dataclass(frozen=True)
class SearchTrial:
    """What the journal says of one search trial: its outcome (`running` while it has none), value and configuration."""

    outcome: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None


def read_searches(journal: Path) -> dict[str, list[FrozenTrial]]:
    """Every search's trials by its name (the cell's), read without changing anything.

    Raises:
        ValueError, KeyError, AssertionError, TypeError: the journal is damaged.
    """
    if not journal.exists():
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return {study.study_name: storage.get_all_trials(study._study_id) for study in storage.get_all_studies()}


def search_trials(searches: Mapping[str, list[FrozenTrial]]) -> dict[str, SearchTrial]:
    """What the journal says of each search trial, by trial id."""
    found = {}
    for cell, trials in searches.items():
        for trial in trials:
            values = trial.values or []
            config = trial.user_attrs.get("config")
            found[trial_id(cell, trial.number)] = SearchTrial(
                outcome_of(trial), dict(zip(METRICS, values, strict=False)), json.loads(config) if config else None
            )
    return found


def outcome_of(trial: FrozenTrial) -> str:
    """How a trial ended, as it was noted or else by its state; `running` while it has not."""
    if trial.state not in OUTCOMES:
        return "running"
    return str(trial.user_attrs.get("outcome", OUTCOMES[trial.state]))


def trial_id(cell: str, number: int) -> str:
    """The name of a cell's search trial."""
    return f"{cell}-search-{number:04d}"
