"""How a study listens to Ray Tune: one listener that calls the others in order, and lets none of their errors get lost.

Tune takes an exception in a listener for a failure of the trial that it was told of, and goes on with the next trial. A
full disk would so fail trial after trial. Here nobody is told of anything after the first error, and it ends the call
at Tune's next step.
"""

from collections.abc import Sequence
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.drive.queue import StudyQueue


class Hooks(Callback):
    """The one listener that Tune is given.

    Args:
        listeners: called in this order.
    """

    def __init__(self, listeners: Sequence[Callback]) -> None:
        self._listeners = listeners
        self._error: Exception | None = None

    def check(self) -> None:
        """Raise the first error, if there was one; to be asked once more after the last step."""
        if self._error is not None:
            raise self._error

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune writes a pickle of its callbacks that nothing reads."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.check()
        self._call("on_step_begin", iteration=iteration, trials=trials, **info)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._call("on_step_end", iteration=iteration, trials=trials, **info)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._call("on_trial_start", iteration=iteration, trials=trials, trial=trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._call("on_trial_result", iteration=iteration, trials=trials, trial=trial, result=result, **info)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._call("on_trial_recover", iteration=iteration, trials=trials, trial=trial, **info)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._call("on_trial_complete", iteration=iteration, trials=trials, trial=trial, **info)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._call("on_trial_error", iteration=iteration, trials=trials, trial=trial, **info)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self._call("on_experiment_end", trials=trials, **info)

    def _call(self, name: str, **arguments: Any) -> None:
        """Call each listener, in order."""
        if self._error is not None:
            return
        try:
            for listener in self._listeners:
                getattr(listener, name)(**arguments)
        except Exception as error:
            self._error = error


class Sequel(Callback):
    """Tells the queue of each end, in its turn.

    Args:
        queue: passes it to the trial's cell.
    """

    def __init__(self, queue: StudyQueue) -> None:
        self._queue = queue

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._queue.conclude(trial.trial_id, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._queue.conclude(trial.trial_id, trial.last_result, error=True)
