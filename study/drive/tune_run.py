"""Runs a study's queue under Ray Tune: one call of Tune's for all cells, and where Tune keeps its state meanwhile.

With one worker a trial's process is the training process, and Ray itself shares out the CPUs. With several, the trial's
process only drives a group of Ray Train workers that Tune does not see; were each driver let in as soon as its own tiny
share is free, trials would hold some of each other's workers and none could start. So the queue counts: no more trials
at once than have all their workers' resources free (`study.drive.placement`).
"""

import os
from pathlib import Path
from typing import Any

from ray import tune

from study.drive.node_watch import NodeWatch
from study.drive.queue import StudyQueue
from study.drive.ray_address import cluster_address
from study.drive.recorder import TuneRecorder
from study.drive.trial import reserved, run_trial
from study.drive.tune_hooks import Hooks, Sequel
from study.drive.tune_scheduler import DEATHS_ALLOWED, QueueScheduler
from study.drive.tune_state import TrialFiles, call_folder, clear_calls

_ENVIRONMENT = {
    # Tune's own CSV, JSON and TensorBoard logs would say again what the tracker records.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A diverged trial's last report has no validation accuracy, which must not end the sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A process that died is said in a line of the study's own, not in a page of Ray's.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Ctrl-C reaches the command, which says how to go on.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The older output engine is the one that `verbose=0` silences.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Seconds between copies of Tune's state. Nothing reads them, and writing out all trials costs the more the more
    # there are.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # Trials read and write absolute paths; a change of working directory would only move relative data folders.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def run_queue(queue: StudyQueue, recorder: TuneRecorder, tune_folder: Path, *, reuse: bool) -> None:
    """Run all that the queue hands out, in one call of Tune's.

    Args:
        queue: says what each trial is, and when there is room for it.
        recorder: learns what happens.
        tune_folder: the study's, for Tune's state (`study.drive.tune_state`).
        reuse: a process in which a trial has ended runs another. A fresh one spends seconds on importing torch, and a
            trial leaves nothing behind that the next reads. The driver of a group of workers that was stopped cannot
            be used again.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    clear_calls(tune_folder)
    state = call_folder(tune_folder)
    # In this order: the study's log, the cell's journal, Tune's own record; so each holds what the next one says.
    listeners: list[tune.Callback] = [recorder, Sequel(queue), TrialFiles(tune_folder, recorder.attempts)]
    if cluster_address() is not None:
        listeners.append(NodeWatch())
    hooks = Hooks(listeners)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, reserved),
        tune_config=tune.TuneConfig(
            max_concurrent_trials=queue.at_once,
            num_samples=-1,  # until the queue is empty
            reuse_actors=reuse,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            scheduler=QueueScheduler(queue),
            search_alg=queue,
        ),
        run_config=tune.RunConfig(
            name=state.name,
            storage_path=str(state.parent),
            callbacks=[hooks],
            failure_config=tune.FailureConfig(max_failures=DEATHS_ALLOWED),
            verbose=0,
            log_to_file=False,
        ),
    )
    tuner.fit()
    hooks.check()
    clear_calls(tune_folder)


def _name(trial: Any) -> str:
    return trial.config["spec"]["trial_id"]
