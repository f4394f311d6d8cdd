"""How the next configuration is chosen: by a sampler, with every trial kept in the study folder's journal.

The journal is the only state of a search. A sweep that is started again reads it, counts the trials that ended, takes
up the ones that were running when it was stopped under the numbers they had, and asks for what is missing.

A trial that ran out of memory is not over: it waits, and is tried once more when it has the device to itself.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from study.define.cells import Cell
from study.define.offer import EARLIER_STARTUP
from study.define.settings import METRIC, OBJECTIVES
from study.define.trial_spec import trial_spec
from study.define.workload import expected_data
from study.record.folder import StudyFolder
from study.record.outcomes import OUT_OF_MEMORY, ending
from study.record.study_log import TrialRecord
from study.search.front import best_trials
from study.search.journal import open_journal
from study.search.rungs import Rungs
from study.search.sampler import SeededSampler

__all__ = [
    "METRIC",
    "JournalSearch",
    "best_trials",
    "ended",
    "open_journal",
    "open_search",
    "search_trial_id",
    "settle",
    "waiting_alone",
]

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
# How Optuna is told. An infeasible trial is PRUNED and violates a constraint: TPE learns nothing from a failed one, and
# from one that violates a constraint that its neighbourhood is to be left (optuna.samplers._tpe, `_split_trials`).
OUTCOME_STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
STARTUP = "startup_trials"
"""The search's own note, in its journal, of how many random draws it begins with."""
# The constraint that an infeasible trial violates: above 0 is a violation.
_CONSTRAINT = "memory"


def open_search(cell: Cell, storage: JournalStorage) -> optuna.Study:
    """The Optuna study of a cell; its name is the cell's.

    How many draws its sampler begins with is decided once, when the search begins, and kept there: a search that is
    extended goes on as it began, and one of before there was a choice has Optuna's own number.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=cell.name,
        directions=[OBJECTIVES[objective] for objective in cell.search.objectives],
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )
    study.sampler = SeededSampler(
        cell.search.seed, cell.searched, cell.search.sampler, startup_trials(study, cell) or 0
    )
    return study


def startup_trials(study: optuna.Study, cell: Cell) -> int | None:
    """How many random draws a cell's search begins with; None where its sampler never learns."""
    if cell.search.startup is None:
        return None
    if STARTUP not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            return EARLIER_STARTUP
        study.set_user_attr(STARTUP, cell.search.startup)
    return int(study.user_attrs[STARTUP])


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count against the budget: completed, pruned, infeasible and failed ones, by number."""
    return study.get_trials(deepcopy=False, states=ENDED)


def interrupted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were running when their command was stopped, by number."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if not trial.user_attrs.get(OUT_OF_MEMORY)]


def waiting_alone(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ran out of memory beside others and are to be tried once more alone, by number."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial.user_attrs.get(OUT_OF_MEMORY)]


def search_trial_id(cell: Cell, number: int) -> str:
    """The one name of a search trial in Tune, MLflow and the study folder."""
    return f"{cell.name}-search-{number:04d}"


def tell(study: optuna.Study, cell: Cell, number: int, outcome: str, metrics: Mapping[str, Any]) -> None:
    """Tell the journal how a running trial came out; one that is to go on stays running there.

    Args:
        study: the cell's search.
        cell: whose.
        number: the trial's.
        outcome: one of `OUTCOME_STATES`, `out_of_memory`, or how an attempt was interrupted.
        metrics: its last ones, which hold the objectives where it completed.
    """
    frozen = study.get_trials(deepcopy=False)[number]
    trial = optuna.Trial(study, frozen._trial_id)
    if outcome == OUT_OF_MEMORY:
        _note(trial, OUT_OF_MEMORY, True)
    if outcome not in OUTCOME_STATES:
        return
    _note(trial, "outcome", outcome)
    if outcome == "infeasible":
        trial.set_constraint(_CONSTRAINT, 1.0)
    values = [float(metrics[name]) for name in cell.search.objectives] if outcome == "completed" else None
    study.tell(trial, values, state=OUTCOME_STATES[outcome])


def _note(trial: Any, name: str, value: Any) -> None:
    """Keep a user attribute; once, where a trial that is taken up again comes here again."""
    if trial.user_attrs.get(name) != value:
        trial.set_user_attr(name, value)


def settle(study: optuna.Study, cell: Cell, records: Mapping[str, TrialRecord]) -> None:
    """Tell the journal of trials that the study's log says are over: a command was killed between the two.

    Args:
        study: the cell's search.
        cell: whose.
        records: the log's runs by trial id.
    """
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        record = records.get(search_trial_id(cell, frozen.number))
        if record is None:
            continue
        outcome = record.outcome if record.ended else OUT_OF_MEMORY if record.out_of_memory else ""
        if record.ended or not frozen.user_attrs.get(OUT_OF_MEMORY):
            tell(study, cell, frozen.number, outcome, record.metrics)


class JournalSearch(OptunaSearch):
    """Ray Tune's Optuna search, for one cell, with outcomes told as what they are.

    By itself `OptunaSearch` tells a stopped trial as complete with the value of its last epoch, and leaves one whose
    value is NaN running. Here a stopped trial is PRUNED, a diverged or failed one FAIL, a finished one COMPLETE.

    Tune asks its scheduler first of each result, and that asks `report`. When a trial has ended, Tune tells its search
    before its callbacks; here the journal is told last (`conclude`), after the study's log, so that whatever the
    journal calls ended is in the log.

    Args:
        cell: what is searched.
        storage: the study's journal.
        folder: the study's folder, where each trial has one of its own.
        alone: ask for the trials that are to be tried once more alone, and for no other.
    """

    def __init__(self, cell: Cell, storage: JournalStorage, folder: StudyFolder, alone: bool = False) -> None:
        self._cell = cell
        self._folder = folder
        self._alone = alone
        self._study = open_search(cell, storage)
        super().__init__(
            space=self._ask,
            metric=list(cell.search.objectives),
            mode=["max" if OBJECTIVES[name] == "maximize" else "min" for name in cell.search.objectives],
            study_name=cell.name,
            storage=storage,
            sampler=self._study.sampler,
        )
        # The same study once more: that of the base class is an attribute of no declared type.
        self._ot_study = self._study  # type: ignore[assignment]
        self._earlier = waiting_alone(self._study) if alone else interrupted(self._study)
        self._rungs = Rungs(cell.search.asha, cell.base.epochs) if cell.search.asha else None

    def _setup_study(self, mode: str | list[str]) -> None:
        """The study is there already, with as many directions as it has objectives."""

    def _ask(self, trial: Any) -> dict[str, Any]:
        """One trial's specification; nested, so that Optuna's parameter names beside it stay apart from fields."""
        settings = self._cell.space.ask(trial, self._cell.base.model, **self._cell.space_options)
        config = self._cell.base.replace(**settings)
        _note(trial, "config", json.dumps(config.to_dict(), sort_keys=True))
        trial_id = search_trial_id(self._cell, trial.number)
        run_dir, simulation = self._folder.run_dir(trial_id), self._folder.simulation
        return {
            "spec": trial_spec(
                trial_id,
                "search",
                self._cell.method,
                config,
                run_dir,
                simulation,
                stop_file=self._folder.stop_file,
                alone=self._alone,
                expected_data=expected_data(self._folder.workload(self._cell.name)),
                place=self._folder.place(trial_id),
            )
        }

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._earlier:
            # The trial answers with the parameters that it has, so this is the same configuration again.
            self._ot_trials[trial_id] = optuna.Trial(self._study, self._earlier.pop(0)._trial_id)
        return super().suggest(trial_id)

    def report(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Keep an epoch's validation accuracy, and say whether the trial stops there.

        An epoch that the journal has, because a trial that goes on from its checkpoint tells of it again, changes
        nothing: its value stays, and so does what was decided then.
        """
        value = result.get(METRIC)
        several = len(self._cell.search.objectives) > 1  # Optuna keeps no course of such a trial
        if several or result.get("outcome") or value is None or not math.isfinite(value):
            return False
        trial, epoch = self._ot_trials[trial_id], int(result["epoch"])
        if epoch not in self._study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, epoch)
        return self._rungs is not None and self._rungs.stops(self._study, trial, epoch)

    def conclude(self, trial_id: str, result: Mapping[str, Any] | None, error: bool = False) -> None:
        """Tell the journal how a trial of Tune's has ended: by its last report, or `error` where it died too often."""
        trial = self._ot_trials.pop(trial_id)
        end = ending(result, died=error, alone=self._alone)
        tell(self._study, self._cell, trial.number, end.outcome, result or {})

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """The scheduler has told the journal."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The journal is told by `conclude`, when the log has been."""

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune keeps a copy of its search's state; the journal holds ours, so the copy says only where it is."""
        Path(checkpoint_path).write_text(f"{self._cell.name}: see optuna.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        logging.getLogger(__name__).debug("the state of a search is its journal; nothing to restore from here")

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune writes a pickle of its search that nothing reads."""
        return {}
