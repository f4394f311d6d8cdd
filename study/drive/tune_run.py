"""Runs a set of trials under Ray Tune: what each takes of the machine, how many at once, where Tune keeps its state.

With one worker a trial's process is the training process, and Ray itself shares out the CPUs. With several, the trial's
process only drives a group of Ray Train workers that Tune does not see; were each driver let in as soon as its own tiny
share is free, trials would hold some of each other's workers and none could start. So there we count: at most as many
trials at once as have all their workers' resources free (`study.drive.placement`).
"""

import os
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from study.define.memory_plan import Need
from study.define.trial_spec import TrialSpec
from study.drive.placement import hosts_here, room_for
from study.drive.recorder import TuneRecorder
from study.drive.trial import run_trial
from study.drive.tune_hooks import Hooks, Sequel
from study.drive.tune_scheduler import DEATHS_ALLOWED, PatientScheduler, SearchScheduler
from study.drive.tune_state import TrialFiles, clear_call
from study.search.journal_search import JournalSearch
from trainers.config import TrialConfig

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


def run_search(
    search: JournalSearch,
    trials: int,
    config: TrialConfig,
    recorder: TuneRecorder,
    state: Path,
    need: Need,
    at_once: int | None = None,
) -> int:
    """Run `trials` further trials of a search, side by side as they fit; the largest number of them that ran at once.

    Args:
        search: says what each trial is.
        trials: how many.
        config: the configuration that they start from; its workers, threads and device count.
        recorder: learns what happens.
        state: the folder for what Tune writes during the call (`study.drive.tune_state`).
        need: the memory of one trial.
        at_once: the most side by side; None for as many as fit.
    """
    asked = {"search_alg": search, "num_samples": trials}
    return _fit(config, recorder, state, need, {}, SearchScheduler(search), at_once, search, **asked)


def run_listed(
    specs: list[TrialSpec],
    config: TrialConfig,
    recorder: TuneRecorder,
    state: Path,
    need: Need,
    at_once: int | None = None,
) -> int:
    """Run the given trials to their ends, side by side as they fit; arguments and result as for `run_search`."""
    return _fit(config, recorder, state, need, {"spec": tune.grid_search(specs)}, PatientScheduler(), at_once)


def _fit(
    config: TrialConfig,
    recorder: TuneRecorder,
    state: Path,
    need: Need,
    param_space: dict[str, Any],
    scheduler: TrialScheduler,
    at_once: int | None,
    search: JournalSearch | None = None,
    **options: Any,
) -> int:
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    room = room_for(config, hosts_here(), need)
    clear_call(state)
    files = TrialFiles(state.parent.parent, recorder.attempts)
    # In this order: the study's log, the search's journal, Tune's own record; so each holds what the next one says.
    hooks = Hooks([recorder, *([Sequel(search)] if search else []), files])
    tuner = tune.Tuner(
        tune.with_resources(run_trial, room.resources),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(room.at_once, at_once or room.at_once),
            # A fresh process spends seconds on importing torch, and a trial leaves nothing behind that the next
            # reads. The driver of a worker group that was stopped cannot be used again.
            reuse_actors=config.workers == 1,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            scheduler=scheduler,
            **options,
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
    clear_call(state)
    return hooks.most_at_once


def _name(trial: Any) -> str:
    return trial.config["spec"]["trial_id"]
