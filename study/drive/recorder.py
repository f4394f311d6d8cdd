"""The one writer between training and the records: every report of every run passes here, in the driver's process.

What is reported goes into the study's log, each epoch once, and onto the terminal. Nothing here waits for MLflow.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.define.trial_spec import TrialSpec, plugins_tag
from study.drive.shared import fetch_ended
from study.drive.simulate import simulated_tag
from study.drive.trial import failure
from study.record.inputs import file_tags
from study.record.metrics import recordable
from study.record.outcomes import ALL_ALIKE, HOW, ending
from study.record.study_log import StudyLog, TrialRecord
from study.record.terminal import Progress, say
from trainers.config import TrialConfig
from trainers.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a run belongs.

    Args:
        progress: where its lines are shown.
        cell: the name of its cell, whose parent run it is shown under; None for a run of its own.
        tags: tags that it has beside those of every run.
    """

    progress: Progress
    cell: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Recorder:
    """Writes each run, its epochs and its outcome to the log, shows progress, and clears pruned runs away.

    Args:
        log: the study's log.
        place: where runs belong: one place for all, or each run's own by trial id.
    """

    def __init__(self, log: StudyLog, place: Place | Mapping[str, Place]) -> None:
        self._log = log
        self._place = place
        self.outcomes: dict[str, str] = {}
        """How each run ended, by trial id; one that is to go on is `interrupted`."""
        self.finals: dict[str, dict[str, Any]] = {}
        """Each ended run's last metrics, by trial id."""

    def start(self, spec: TrialSpec) -> None:
        """A run starts, or goes on after it was stopped."""
        trial_id, place = spec["trial_id"], self._place_of(spec)
        earlier, config = self._log.trials().get(trial_id), TrialConfig.recorded(spec["config"])
        self._log.append(
            "start",
            trial_id=trial_id,
            cell=place.cell,
            phase=spec["phase"],
            method=spec["method"],
            config=config.to_dict(),
            tags={**file_tags(config), **simulated_tag(spec["simulate"]), **plugins_tag(config), **place.tags},
            attempt=1 + (earlier.attempts if earlier else 0),
        )

    def epoch(self, spec: TrialSpec, metrics: Mapping[str, Any]) -> None:
        """A run has done one more epoch, or tells again of one before its last checkpoint (`replayed`)."""
        trial_id, epoch, replayed = spec["trial_id"], int(metrics["epoch"]), bool(metrics.get("replayed"))
        self._say_note(spec, metrics)
        seconds = metrics.get("device_seconds")
        if epoch > self._record(spec).last_epoch:
            self._log.append(
                "epoch", trial_id=trial_id, epoch=epoch, metrics=recordable(metrics), device_seconds=seconds
            )
        elif not replayed:
            self._log.append("retrained", trial_id=trial_id, epoch=epoch, device_seconds=seconds)
        if not replayed:
            self._place_of(spec).progress.epoch(TrialConfig.recorded(spec["config"]), metrics)

    def end(self, spec: TrialSpec, outcome: str, final: Mapping[str, Any] | None = None, reason: str = "") -> None:
        """A run is over: completed, pruned, diverged, failed or infeasible, for a reason where there is one.

        A pruned run's folder is removed: it is never gone on with. What another machine left of one in shared storage
        is fetched before the log says that it is over, but for its checkpoints.
        """
        trial_id, final = spec["trial_id"], final or {}
        self._require_start(spec)
        fetch_ended(spec, outcome)
        self._say_note(spec, final)
        record = self._record(spec)
        self.test_opening(spec, final)
        self._log.append(
            "end",
            trial_id=trial_id,
            outcome=outcome,
            metrics=recordable(final),
            reason=reason,
            rung=record.last_epoch if outcome == "pruned" else None,
            device_seconds=final.get("device_seconds"),
            **({"flipped_by_layer": final["flipped_by_layer"]} if final.get("flipped_by_layer") else {}),
        )
        self.outcomes[trial_id] = outcome
        self.finals[trial_id] = dict(record.metrics)
        if outcome == "pruned":
            shutil.rmtree(Path(spec["run_dir"]), ignore_errors=True)
        shown = {**record.metrics, "epoch": record.last_epoch}
        self._place_of(spec).progress.end(TrialConfig.recorded(spec["config"]), shown, outcome, reason)

    def attempt_end(self, spec: TrialSpec, how: str, reason: str = "", device_seconds: float | None = None) -> None:
        """A run has stopped and is not over: interrupted, died, out_of_memory, or as `ALL_ALIKE` ends."""
        trial_id = spec["trial_id"]
        self._require_start(spec)
        self._log.append("attempt_end", trial_id=trial_id, how=how, reason=reason, device_seconds=device_seconds)
        self.outcomes[trial_id] = "interrupted"
        record, config = self._record(spec), TrialConfig.recorded(spec["config"])
        self._place_of(spec).progress.pause(config, record.last_epoch, record.metrics, how, reason)

    def attempt_failed(self, spec: TrialSpec, error: Exception, device_seconds: float) -> None:
        """A run ended in an error: it is over, or stopped and will go on, as the error's type says."""
        ended = failure(error, Path(spec["run_dir"]))
        outcome, reason = ended["outcome"], ended["reason"]
        if outcome in HOW:
            self.attempt_end(spec, HOW[outcome], reason, device_seconds)
        else:
            self.end(spec, outcome, {"device_seconds": device_seconds}, reason)

    def test_opening(self, spec: TrialSpec, report: Mapping[str, Any]) -> None:
        """The test set was opened, where the report says so: once by the protocol; again only by force.

        A report that repeats what an earlier attempt measured is no opening.
        """
        forced = bool(report.get("test_forced"))
        if report.get("test_accuracy") is not None and (forced or not self._record(spec).test_opened):
            known = {"test_set": report.get("test_set"), "images": report.get("test_images")}
            self._log.append(
                "test_opened",
                trial_id=spec["trial_id"],
                forced=forced,
                accuracy=float(report["test_accuracy"]),
                **{name: value for name, value in known.items() if value is not None},
            )

    def attempts(self, trial_id: str) -> int:
        """How often a run was started, over all commands."""
        return self._log.trials()[trial_id].attempts

    @staticmethod
    def _say_note(spec: TrialSpec, report: Mapping[str, Any]) -> None:
        if report.get("note"):
            say(f"note: {spec['trial_id']}: {report['note']}", important=True)

    def _require_start(self, spec: TrialSpec) -> None:
        """A process that takes one run after another may die on its way to this one, before Tune calls it started."""
        if spec["trial_id"] not in self._log.trials():
            self.start(spec)

    def _record(self, spec: TrialSpec) -> TrialRecord:
        return self._log.trials()[spec["trial_id"]]

    def _place_of(self, spec: TrialSpec) -> Place:
        return self._place if isinstance(self._place, Place) else self._place[spec["trial_id"]]


class TuneRecorder(Recorder, Callback):
    """The recorder as Ray Tune calls it.

    Tune wraps what a callback raises into an error of its own: `failure` is what was raised.
    """

    failure: UserError | None = None

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._kept(lambda: self.start(trial.config["spec"]))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if not result.get("outcome"):
            self._kept(lambda: self.epoch(trial.config["spec"], result))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its process died, and Tune starts it again."""
        last = trial.last_result or {}
        seconds, why = last.get("device_seconds"), "the process that ran it died"
        self._kept(lambda: self.attempt_end(trial.config["spec"], "died", why, seconds))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._kept(lambda: self._settle(trial, died=False))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._kept(lambda: self._settle(trial, died=True))

    def _settle(self, trial: Trial, died: bool) -> None:
        spec: TrialSpec = trial.config["spec"]
        last = trial.last_result or {}
        how = ending(last, died=died, alone=bool(spec.get("alone")))
        if not how.over:
            self.attempt_end(spec, how.outcome, how.reason, last.get("device_seconds"))
            if how.outcome in ALL_ALIKE:  # every other run would end the same way
                raise UserError(how.reason)
            return
        # The last result of a pruned or dead trial is an epoch's, which is recorded already.
        self.end(spec, how.outcome, last if last.get("outcome") and not died else None, how.reason)

    def _kept(self, write: Any) -> None:
        try:
            write()
        except UserError as error:
            self.failure = self.failure or error
            raise
