"""How the next configuration is chosen: Optuna's TPE, with every trial kept in the study folder's journal.

The journal is the only state of a search. A sweep that is started again reads it, counts the trials that ended, takes
up the ones that were running when it was stopped under the numbers they had, and asks for what is missing.
"""

import hashlib
import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from study.config import Cell
from study.folder import StudyFolder
from study.trial import trial_spec

METRIC = "val_accuracy"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
OUTCOME_STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


def open_journal(journal: Path) -> JournalStorage:
    """The storage in a study's journal file, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(JournalFileBackend(str(journal)))


def open_search(cell: Cell, storage: JournalStorage) -> optuna.Study:
    """The Optuna study of a cell; its name is the cell's."""
    return optuna.create_study(
        storage=storage, study_name=cell.name, direction="maximize", load_if_exists=True, sampler=_sampler(cell, 0)
    )


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count against the budget: completed, pruned and failed ones, by number."""
    return study.get_trials(deepcopy=False, states=ENDED)


def best_trials(study: optuna.Study, k: int) -> list[FrozenTrial]:
    """The `k` completed trials of highest validation accuracy after their last epoch, the best first.

    A pruned trial is never among them, however well it stood when it was stopped; of equal ones the earlier counts.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(completed, key=lambda trial: (-(trial.value or 0.0), trial.number))[:k]


def search_trial_id(cell: Cell, number: int) -> str:
    """The one name of a search trial in Tune, MLflow and the study folder."""
    return f"{cell.name}-search-{number:04d}"


def outcome_of(result: dict[str, Any] | None, error: bool) -> str:
    """How a trial ended: what its last report says, or `pruned` where the scheduler stopped it before it said so."""
    if result and result.get("outcome"):
        return str(result["outcome"])
    return "failed" if error else "pruned"


def _sampler(cell: Cell, number: int) -> optuna.samplers.TPESampler:
    """A sampler whose draws depend on the study's seed, the cell and the trial's number alone.

    One sampler for a whole sweep would draw its first values again after each restart.
    """
    digest = hashlib.sha256(f"{cell.search.seed}/{cell.name}/{number}".encode()).digest()
    return optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"))


class JournalSearch(OptunaSearch):
    """Ray Tune's Optuna search, for one cell, with outcomes told as what they are.

    By itself `OptunaSearch` tells a stopped trial as complete with the value of its last epoch, and leaves one whose
    value is NaN running. Here a stopped trial is PRUNED, a diverged or failed one FAIL, a finished one COMPLETE.

    Args:
        cell: what is searched.
        storage: the study's journal.
        folder: the study's folder, where each trial has one of its own.
    """

    def __init__(self, cell: Cell, storage: JournalStorage, folder: StudyFolder) -> None:
        self._cell = cell
        self._folder = folder
        super().__init__(
            space=self._ask,
            metric=METRIC,
            mode="max",
            study_name=cell.name,
            storage=storage,
            sampler=_sampler(cell, 0),
        )
        # The same study once more: that of the base class is an attribute of no declared type.
        self._study = open_search(cell, storage)
        self._ot_study = self._study  # type: ignore[assignment]
        self._interrupted = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _ask(self, trial: Any) -> dict[str, Any]:
        """One trial's specification; nested, so that Optuna's parameter names beside it stay apart from fields."""
        settings = self._cell.space.suggest(trial, self._cell.base.model, **self._cell.space_options)
        config = self._cell.base.replace(**settings)
        trial.set_user_attr("config", json.dumps(config.to_dict(), sort_keys=True))
        trial_id = search_trial_id(self._cell, trial.number)
        run_dir = self._folder.run_dir(trial_id)
        return {
            "spec": trial_spec(trial_id, "search", self._cell.method, config, run_dir, self._folder.simulation),
        }

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._interrupted:
            earlier = self._interrupted.pop(0)
            number = earlier.number
            # The trial answers with the parameters that it has, so this is the same configuration again.
            self._ot_trials[trial_id] = optuna.Trial(self._study, earlier._trial_id)
        else:
            number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = _sampler(self._cell, number)
        return super().suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        value = result.get(METRIC)
        if result.get("outcome") or value is None or not math.isfinite(value):
            return
        with warnings.catch_warnings():
            # A trial that goes on from its checkpoint may report an epoch that the journal has.
            warnings.simplefilter("ignore")
            self._ot_trials[trial_id].report(value, int(result["epoch"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        outcome = outcome_of(result, error)
        trial = self._ot_trials.pop(trial_id)
        trial.set_user_attr("outcome", outcome)
        state = OUTCOME_STATES.get(outcome, TrialState.FAIL)
        value = result[METRIC] if outcome == "completed" and result else None
        self._study.tell(trial, value, state=state)

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune keeps a copy of its search's state; the journal holds ours, so the copy says only where it is."""
        Path(checkpoint_path).write_text(f"{self._cell.name}: see optuna.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        logging.getLogger(__name__).debug("the state of a search is its journal; nothing to restore from here")
