"""Ray Tune's scheduler for a study: hands each epoch to its cell, and stops what the cell's rungs stop."""

from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.drive.queue import StudyQueue

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

# How often in a row a trial's process may die, without having come any further, and be started again. It may die of
# something that passes: a killed process, a node that left. The third death is the trial's own.
DEATHS_ALLOWED = 2


class PatientScheduler(FIFOScheduler):
    """Runs trials in order; counts a process's deaths only as long as its trial gets no further.

    Tune counts every death of a trial and gives up after a few in a row (`DEATHS_ALLOWED`); a new epoch is a new start.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epochs: dict[str, int] = {}

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:
        epoch = int(result.get("epoch", 0))
        if epoch > self._epochs.get(trial.trial_id, 0) and not result.get("replayed"):
            self._epochs[trial.trial_id] = epoch
            trial.run_metadata.num_failures = 0
        return TrialScheduler.CONTINUE

    def choose_trial_to_run(self, tune_controller: "TuneController") -> Trial | None:
        # Of the trials that still live: the base class looks through all of a study at every step.
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        return min(waiting, key=lambda trial: trial.config["spec"]["trial_id"], default=None)


class QueueScheduler(PatientScheduler):
    """The scheduler of a study. Tune asks it first of each result, before its search and its callbacks.

    Args:
        queue: knows each trial's cell.
    """

    def __init__(self, queue: StudyQueue) -> None:
        super().__init__()
        self._queue = queue

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:
        super().on_trial_result(tune_controller, trial, result)
        stops = self._queue.report(trial.trial_id, result)
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE
