"""Runs a set of trials under Ray Tune: what each takes of the machine, how many at once, where Tune keeps its state.

With one worker a trial's process is the training process, and Ray itself shares out the CPUs. With several, the trial's
process only drives a group of Ray Train workers that Tune does not see; were each driver let in as soon as its own tiny
share is free, trials would hold some of each other's workers and none could start. So there we count: at most as many
trials at once as have all their workers' resources free. Memory is shared out as `define.memory_plan` predicts it.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from study.define.memory_plan import Need, gpu_memory, machine_memory
from study.define.trial_spec import TrialSpec
from study.drive.ray_address import cluster_address
from study.drive.recorder import TuneRecorder
from study.drive.trial import run_trial
from study.drive.tune_hooks import Hooks, Sequel
from study.drive.tune_scheduler import DEATHS_ALLOWED, PatientScheduler, SearchScheduler
from study.drive.tune_state import TrialFiles, clear_call
from study.search.journal_search import JournalSearch
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.machine import allowed_cpus

# A driver of Ray Train workers needs no CPU of its own. Ray asks for some resource: each node offers 1 of its own name,
# and the head's offers 1 of this one, so that drivers run beside the study's folder, up to a thousand.
DRIVER_RESOURCES = {"cpu": 0, "node:__internal_head__": 0.001}

# Names beside Ray's own for what `room_for` must know of memory: bytes of the largest node, and of one GPU.
NODE_MEMORY, GPU_MEMORY = "memory of the largest node", "memory of a GPU"

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


def room_for(config: TrialConfig, cluster: Mapping[str, float], need: Need) -> tuple[dict[str, float], int]:
    """What Tune reserves for one trial, and how many such trials fit at once.

    One-worker trials share a GPU where its memory holds several; on CPUs, as many run as the memory holds.

    Args:
        config: any trial of the set; its workers, threads and device count.
        cluster: resources by Ray's names (`CPU`, `GPU`, `memory`), and `NODE_MEMORY` and `GPU_MEMORY`, the bytes of the
            largest node and of one GPU. An amount of memory that is not there is not known, and limits nothing.
        need: the memory of the most demanding trial.

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
    gpu_share = 1.0
    if on_gpu:
        if gpu_memory := int(cluster.get(GPU_MEMORY, 0)):
            need.refuse_beyond(gpu_memory, "one GPU", on_gpu=True)
            if config.workers == 1:
                gpu_share = 1 / need.side_by_side(gpu_memory, on_gpu=True)
                rooms[1] = int(cluster["GPU"]) * need.side_by_side(gpu_memory, on_gpu=True)
    elif memory := int(cluster.get("memory", 0)):
        # Workers may be spread over nodes; a run of one worker must find its room on one.
        need.refuse_beyond(memory if config.workers > 1 else int(cluster.get(NODE_MEMORY, memory)), "the machine")
        rooms.append(need.side_by_side(memory))
    if config.workers > 1:
        return dict(DRIVER_RESOURCES), min(rooms)
    if on_gpu:
        return {"cpu": config.threads, "gpu": math.floor(gpu_share * 1e4) / 1e4}, min(rooms)
    return {"cpu": config.threads, **({"memory": need.bytes()} if cluster.get("memory") else {})}, min(rooms)


def check_room(config: TrialConfig, need: Need) -> None:
    """Refuse a run that would wait for ever: by the machine's resources before Ray is started, by Ray's own then.

    A cluster that is only named by `RAY_ADDRESS` is not asked before it is joined.
    """
    if ray.is_initialized() or cluster_address() is None:
        room_for(config, resources_here(), need)


def resources_here() -> dict[str, float]:
    """What there is to share out: the connected Ray's, or this machine's where none is connected."""
    import torch

    here: dict[str, float] = {}
    if torch.cuda.is_available():
        here[GPU_MEMORY] = gpu_memory()
    if ray.is_initialized():
        nodes = [node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]]
        return {**grown(ray.cluster_resources()), **here, NODE_MEMORY: max(nodes, default=0)}
    memory = machine_memory()
    own = {"CPU": allowed_cpus(), "GPU": torch.cuda.device_count()}
    return {**own, **here, "memory": memory, NODE_MEMORY: memory}


def grown(now: Mapping[str, float]) -> dict[str, float]:
    """A cluster's resources, with what its nodes that come when trials wait would add; `now` where none come.

    Without them a cluster that starts as a head alone would seem to have no GPU at all.
    """
    try:
        from ray._private.state import state

        most = state.get_max_resources_from_cluster_config() or {}
    except (ImportError, AttributeError, RuntimeError, ray.exceptions.RayError):  # another release's inside
        most = {}
    more = {name: max(now.get(name, 0.0), float(most.get(name, 0))) for name in ("CPU", "GPU")}
    if all(more[name] == now.get(name, 0.0) for name in more):
        return dict(now)
    # What memory one of them has is not said: then it limits nothing.
    return {name: amount for name, amount in now.items() if name != "memory"} | more


def uses_gpu(config: TrialConfig, cluster: Mapping[str, float]) -> bool:
    """Whether a trial computes on GPUs: asked for, or left open where the cluster has some."""
    return config.device == "cuda" or (config.device == "auto" and cluster.get("GPU", 0) > 0)


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
    resources, room = room_for(config, resources_here(), need)
    clear_call(state)
    files = TrialFiles(state.parent.parent, recorder.attempts)
    # In this order: the study's log, the search's journal, Tune's own record; so each holds what the next one says.
    hooks = Hooks([recorder, *([Sequel(search)] if search else []), files])
    tuner = tune.Tuner(
        tune.with_resources(run_trial, resources),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(room, at_once or room),
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
