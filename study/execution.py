"""Runs a set of trials under Ray Tune: what each takes of the machine, how many at once, where Tune keeps its state.

With one worker a trial's process is the training process, and Ray itself shares out the CPUs. With several, the trial's
process only drives a group of Ray Train workers that Tune does not see; were each driver let in as soon as its own tiny
share is free, trials would hold some of each other's workers and none could start. So there we count: at most as many
trials at once as have all their workers' resources free.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from study.config import AshaConfig
from study.recording import TuneRecorder
from study.search import METRIC, JournalSearch
from study.trial import TrialSpec, run_trial
from trainers.config import TrialConfig
from trainers.errors import UserError

# A driver of Ray Train workers needs no CPU of its own. Ray asks for some resource: each node offers 1 of its own name,
# and the head's offers 1 of this one, so that drivers run beside the study's folder, up to a thousand.
DRIVER_RESOURCES = {"cpu": 0, "node:__internal_head__": 0.001}

_ENVIRONMENT = {
    # Tune's own CSV, JSON and TensorBoard logs would say again what the tracker records.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A diverged trial's last report has no validation accuracy, which must not end the sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ctrl-C reaches the command, which says how to go on.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The older output engine is the one that `verbose=0` silences.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Trials read and write absolute paths; a change of working directory would only move relative data folders.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def room_for(config: TrialConfig, cluster: Mapping[str, float]) -> tuple[dict[str, float], int]:
    """What Tune reserves for one trial, and how many such trials fit at once.

    Args:
        config: any trial of the set; its workers, threads and device count.
        cluster: resources by Ray's names (`CPU`, `GPU`).

    Raises:
        UserError: not even one trial fits.
    """
    cpus = config.workers * config.threads
    on_gpu = uses_gpu(config, cluster)
    rooms = [int(cluster.get("CPU", 0) // cpus)]
    if on_gpu:
        rooms.append(int(cluster.get("GPU", 0) // config.workers))
    if min(rooms) < 1:
        wanted = f"{cpus} CPUs" + (f" and {config.workers} GPUs" if on_gpu else "")
        raise UserError(
            f"one run takes {wanted} ({config.workers} workers x {config.threads} threads), but there are "
            f"{cluster.get('CPU', 0):g} CPUs and {cluster.get('GPU', 0):g} GPUs; lower workers or threads"
        )
    if config.workers > 1:
        return dict(DRIVER_RESOURCES), min(rooms)
    return {"cpu": config.threads, **({"gpu": 1} if on_gpu else {})}, min(rooms)


def check_room(config: TrialConfig) -> None:
    """Refuse a run that would wait for ever: by the machine's resources before Ray is started, by Ray's own then.

    A cluster that is only named by `RAY_ADDRESS` is not asked before it is joined.
    """
    if ray.is_initialized():
        room_for(config, ray.cluster_resources())
    elif not os.environ.get("RAY_ADDRESS"):
        import torch

        room_for(config, {"CPU": len(os.sched_getaffinity(0)), "GPU": torch.cuda.device_count()})


def uses_gpu(config: TrialConfig, cluster: Mapping[str, float]) -> bool:
    """Whether a trial computes on GPUs: asked for, or left open where the cluster has some."""
    return config.device == "cuda" or (config.device == "auto" and cluster.get("GPU", 0) > 0)


def asha_scheduler(asha: AshaConfig, epochs: int) -> AsyncHyperBandScheduler:
    """ASHA over epochs, also those of a trial that goes on from a checkpoint.

    A trial at its last epoch is not stopped but left to finish, since its last report comes after that.
    """
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric=METRIC,
        mode="max",
        max_t=epochs,
        grace_period=asha.grace_period,
        reduction_factor=asha.reduction_factor,
        stop_last_trials=False,
    )


def run_search(
    search: JournalSearch,
    trials: int,
    config: TrialConfig,
    asha: AshaConfig | None,
    recorder: TuneRecorder,
    state: Path,
) -> None:
    """Run `trials` further trials of a search, side by side as they fit.

    Args:
        search: says what each trial is.
        trials: how many.
        config: the configuration that they start from; its workers, threads, device and epochs count.
        asha: early stopping, or None.
        recorder: learns what happens.
        state: the folder for Tune's own state.
    """
    scheduler = asha_scheduler(asha, config.epochs) if asha else None
    _fit(config, recorder, state, {}, search_alg=search, num_samples=trials, scheduler=scheduler)


def run_listed(specs: list[TrialSpec], config: TrialConfig, recorder: TuneRecorder, state: Path) -> None:
    """Run the given trials to their ends, side by side as they fit; arguments as for `run_search`."""
    _fit(config, recorder, state, {"spec": tune.grid_search(specs)})


def _fit(config: TrialConfig, recorder: TuneRecorder, state: Path, param_space: dict[str, Any], **options: Any) -> None:
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    resources, at_once = room_for(config, ray.cluster_resources())
    tuner = tune.Tuner(
        tune.with_resources(run_trial, resources),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=at_once,
            # A fresh process spends seconds on importing torch, and a trial leaves nothing behind that the next reads.
            # The driver of a worker group that was stopped cannot be used again.
            reuse_actors=config.workers == 1,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            **options,
        ),
        run_config=tune.RunConfig(
            name=state.name, storage_path=str(state.parent), callbacks=[recorder], verbose=0, log_to_file=False
        ),
    )
    tuner.fit()


def _name(trial: Any) -> str:
    return trial.config["spec"]["trial_id"]
