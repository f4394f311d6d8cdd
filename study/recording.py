"""The one writer between training and the records: every report of every run passes here, in the driver's process."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.progress import Progress
from study.search import outcome_of
from study.simulate import simulated_tag
from study.tracking import Tracker, recordable
from study.trial import TrialSpec
from trainers.config import TrialConfig


@dataclass(frozen=True)
class Place:
    """Where a run belongs.

    Args:
        progress: where its lines are shown.
        parent_run_id: its sweep's run in MLflow; None for a run of its own.
        tags: tags that it has beside those of every run.
    """

    progress: Progress
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Recorder:
    """Writes each run, its epochs and its outcome to the tracker, shows progress, and clears pruned runs away.

    Args:
        tracker: the study's records.
        place: where runs belong: one place for all, or each run's own by trial id.
    """

    def __init__(self, tracker: Tracker, place: Place | Mapping[str, Place]) -> None:
        self._tracker = tracker
        self._place = place
        self._run_ids: dict[str, str] = {}
        self._last_epoch: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}
        """How each run ended, by trial id."""
        self.finals: dict[str, dict[str, Any]] = {}
        """Each ended run's last metrics, with its `mlflow_run_id`, by trial id."""

    def start(self, spec: TrialSpec) -> None:
        """A run starts, or goes on after it was stopped."""
        trial_id, place = spec["trial_id"], self._place_of(spec)
        config = TrialConfig.from_dict(spec["config"])
        self._run_ids[trial_id] = self._tracker.trial_run(
            trial_id,
            place.parent_run_id,
            config.to_dict(),
            {
                "dataset": config.dataset,
                "model": config.model,
                "algorithm": config.algorithm,
                "method": spec["method"],
                "phase": spec["phase"],
                "seed": str(config.seed),
                **simulated_tag(spec["simulate"]),
                **place.tags,
            },
        )

    def epoch(self, spec: TrialSpec, metrics: Mapping[str, Any]) -> None:
        """A run has done one more epoch."""
        trial_id = spec["trial_id"]
        self._last_epoch[trial_id] = recordable(metrics)
        self._tracker.log_epoch(self._run_ids[trial_id], recordable(metrics), int(metrics["epoch"]))
        self._place_of(spec).progress.epoch(TrialConfig.from_dict(spec["config"]), metrics)

    def end(self, spec: TrialSpec, outcome: str, final: Mapping[str, Any] | None = None, reason: str = "") -> None:
        """A run has ended: completed, pruned, diverged or failed, for a reason that is recorded where there is one."""
        trial_id = spec["trial_id"]
        metrics = {**self._last_epoch.get(trial_id, {}), **recordable(final or {})}
        run_id = self._run_ids[trial_id]
        if reason:
            self._tracker.set_tags(run_id, {"reason": reason})
        self._tracker.finish(run_id, outcome, metrics)
        self.outcomes[trial_id] = outcome
        self.finals[trial_id] = {**metrics, "mlflow_run_id": run_id}
        if outcome == "pruned":
            shutil.rmtree(Path(spec["run_dir"]), ignore_errors=True)
        shown = {**metrics, "epoch": int(metrics.get("epoch", 0))}
        self._place_of(spec).progress.end(TrialConfig.from_dict(spec["config"]), shown, outcome, reason)

    def _place_of(self, spec: TrialSpec) -> Place:
        return self._place if isinstance(self._place, Place) else self._place[spec["trial_id"]]


class TuneRecorder(Recorder, Callback):
    """The recorder as Ray Tune calls it."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.start(trial.config["spec"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if not result.get("outcome"):
            self.epoch(trial.config["spec"], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        last = trial.last_result or {}
        outcome = outcome_of(last, error=False)
        # The last result of a pruned trial is an epoch's, which is recorded already.
        final = last if last.get("outcome") else None
        self.end(trial.config["spec"], outcome, final, last.get("reason", ""))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.end(trial.config["spec"], "failed", None, "the process that ran it died")
