"""Two hosts for one loop: this process, or a Ray Train worker group.

A worker group costs seconds to start, so a one-worker trial may run in the process that asks for it; several workers
need the group: torch's process group over gloo (CPU) or nccl (GPU). A group whose workers die is started again, and
goes on from the run's last checkpoint; with fewer workers, where the machines that are left hold no more and the run
allows it (`least_workers`), and otherwise as soon as all find room.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainers.attempt import Attempt
from trainers.checkpoint import recorded_history
from trainers.config import TrialConfig
from trainers.errors import (
    DataChangedError,
    DivergedError,
    InvariantError,
    PreemptedError,
    ReplicaError,
    StoppedError,
    StorageError,
    UserError,
    WorkersDiedError,
)
from trainers.exhaustion import exhausted
from trainers.plugins import receive, shipped
from trainers.progress import Metrics
from trainers.replicas import Replicas
from trainers.stop import require_no_stop
from trainers.stored_run import StoredRun
from trainers.worker import train
from trainers.working_folder import enter, require_run_dir

OnEpoch = Callable[[Metrics], None]

MOST_DEATHS = 3  # of a run's workers, without a new epoch in between; whatever kills them kills them again

_POLL_SECONDS = 0.2
_SETTLING = (5.0, 30.0)
"""Seconds after a worker died: until its node is known to be gone, and until the run goes on without its room."""

_OWN_ERRORS = (
    *(UserError, DivergedError, StoppedError, ReplicaError, InvariantError),
    *(StorageError, DataChangedError),
)


def device_of(config: TrialConfig) -> torch.device:
    """The device that the configuration means on this machine."""
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def run_local(
    config: TrialConfig, run_dir: Path, on_epoch: OnEpoch | None = None, attempt: Attempt | None = None
) -> Metrics:
    """Train with one worker in this process; returns the final metrics.

    Raises:
        UserError: the configuration asks for several workers; and whatever `trainers.worker.train` raises.
    """
    if config.workers != 1:
        raise UserError(f"{config.workers} workers need Ray Train; one process runs one worker")
    require_run_dir(run_dir)
    return train(config, run_dir, Replicas(), device_of(config), on_epoch or (lambda metrics: None), attempt)


def run_ray(
    config: TrialConfig, run_dir: Path, on_epoch: OnEpoch | None = None, attempt: Attempt | None = None
) -> Metrics:
    """Train with `config.workers` workers under Ray Train, which must be initialised; returns the final metrics.

    Args:
        config: the run.
        run_dir: the run's own folder, which every worker must be able to reach, unless the attempt names a place in
            shared storage.
        on_epoch: called in this process, on a thread of its own, with each epoch's metrics: at first, with `replayed`
            set, those that the run has from earlier attempts. No epoch is told twice, also where workers die.
        attempt: what this attempt is told beside the configuration.

    Raises:
        WorkersDiedError: they died `MOST_DEATHS` times without a new epoch in between, each time from something else
            than what `trainers.worker.train` raises, which is raised here as the workers raised it.
    """
    require_run_dir(run_dir)
    run_dir, attempt = run_dir.resolve(), attempt or Attempt()
    told = _Told(on_epoch, lambda: attempt.device_seconds(config.workers))
    deaths, epochs_then, workers = 0, -1, config.workers
    stored = StoredRun(attempt.place, run_dir, config.fingerprint())
    while True:
        require_no_stop(attempt.stop_file)
        stored.fetch()
        told.replay(recorded_history(run_dir))
        try:
            return _fit(config, workers, run_dir, told, attempt)
        except Exception as error:
            own = _own_error(error, run_dir)
            if own and not isinstance(own, PreemptedError):
                raise own from error
            workers = _next_size(config, attempt)
            if own or getattr(error, "controller_failure", None):  # it has saved; or a group found no room
                continue
            stored.fetch()
            epochs_now = len(recorded_history(run_dir))
            deaths = deaths + 1 if epochs_now == epochs_then else 1
            epochs_then = epochs_now
            if deaths == MOST_DEATHS:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise WorkersDiedError(
                    f"its workers died {deaths} times after epoch {epochs_now} without ending another: {reason}"
                ) from error


def _may_shrink(config: TrialConfig) -> bool:
    return (config.least_workers or config.workers) < config.workers


def _next_size(config: TrialConfig, attempt: Attempt) -> int:
    """How many workers a run goes on with after it lost some: all, or as many as find room where it may shrink.

    Raises:
        StoppedError: a stop is asked for while fewer than the least find room.
    """
    if not _may_shrink(config):
        return int(config.workers)
    began = time.monotonic()
    time.sleep(_SETTLING[0])
    while True:
        require_no_stop(attempt.stop_file)
        fit = min(config.workers, _workers_that_fit(config))
        if fit == config.workers or (fit >= config.least_workers and time.monotonic() > began + _SETTLING[1]):
            return int(fit)
        time.sleep(_POLL_SECONDS)


def _workers_that_fit(config: TrialConfig) -> int:
    """How many of a run's workers what is free now on the living nodes holds."""
    import ray
    from ray._private.state import available_resources_per_node  # what has no public way

    on_cuda = _on_cuda(config)
    living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return sum(
        int(min(free.get("CPU", 0) // config.threads, free.get("GPU", 0) if on_cuda else float("inf")))
        for node, free in available_resources_per_node().items()
        if node in living
    )


def _fit(config: TrialConfig, workers: int, run_dir: Path, told: "_Told", attempt: Attempt) -> Metrics:
    """One group of so many workers, from its start to its end."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    for left_behind in run_dir.glob("epochs-*.jsonl"):
        left_behind.unlink(missing_ok=True)
    epochs = run_dir / f"epochs-{secrets.token_hex(4)}.jsonl"  # a group that outlives its driver writes to another
    on_cuda = _on_cuda(config)
    failures: Any = FailureConfig  # Ray shows type checkers that of its Train V1
    stored = StoredRun(attempt.place, run_dir)
    for_ray: Any = stored.for_ray() if attempt.place else {"storage_path": str(run_dir / "ray")}
    worker: Any = _ray_worker  # Ray's annotation denies that a worker may return something; it may
    trainer = TorchTrainer(
        worker,
        train_loop_config={
            "config": config.to_dict(),
            "run_dir": str(run_dir),
            "cuda": on_cuda,
            "attempt": attempt.to_dict(),
            "plugins": shipped(),
        },
        scaling_config=ScalingConfig(**_group(config, workers, on_cuda)),
        run_config=RunConfig(
            name="train",
            **for_ray,
            callbacks=[_epoch_writer(epochs)],
            # A group that finds no room for a minute is given up where another may be smaller; otherwise it waits.
            failure_config=failures(controller_failure_limit=0 if _may_shrink(config) else -1),
        ),
    )
    try:
        with _Follow(epochs, told):
            result: Any = _off_the_main_thread(trainer.fit)
    finally:
        epochs.unlink(missing_ok=True)
        stored.clear_ray()
    return dict(result.return_value)


def _group(config: TrialConfig, workers: int, on_cuda: bool) -> dict[str, Any]:
    """What is asked of Ray for so many workers of a run: a whole GPU each where they train on GPUs."""
    return {
        "num_workers": workers,
        "use_gpu": on_cuda,
        "resources_per_worker": {"CPU": config.threads, "GPU": int(on_cuda)},
        "placement_strategy": config.placement.upper(),
    }


def _off_the_main_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns or raises: on the main thread, Ray Train would put its own answer to Ctrl-C in place."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _on_cuda(config: TrialConfig) -> bool:
    """Whether workers take a GPU each: asked for, or left open where the cluster has some."""
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0 if config.device == "auto" else config.device == "cuda"


def _ray_worker(settings: dict[str, Any]) -> Metrics:
    """What each worker of the group runs."""
    import ray.train
    import ray.train.torch

    receive(settings["plugins"])
    context = ray.train.get_context()
    replicas = Replicas(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device() if settings["cuda"] else torch.device("cpu")
    config, attempt = TrialConfig.recorded(settings["config"]), Attempt.from_dict(settings["attempt"])
    enter(attempt.working_folder, config, required=attempt.place is None)
    # The driver has told the earlier epochs: through Ray Train each would take as long as a poll of its workers.
    return train(config, Path(settings["run_dir"]), replicas, device, ray.train.report, attempt, replay=False)


def _epoch_writer(path: Path) -> Any:
    """A Ray Train callback that appends each epoch's metrics to a file; its process runs on the driver's own node."""
    from ray.train import UserCallback

    class EpochWriter(UserCallback):
        def after_report(self, run_context: Any, metrics: list[Metrics], checkpoint: Any) -> None:
            with path.open("a") as file:
                file.write(json.dumps(metrics[0]) + "\n")

    return EpochWriter()


class _Told:
    """Passes each epoch on once, in order, whether workers report it or only a checkpoint tells of it."""

    def __init__(self, on_epoch: OnEpoch | None, device_seconds: Callable[[], float]) -> None:
        self.on_epoch, self.device_seconds = on_epoch, device_seconds
        self.last = 0

    def __call__(self, metrics: Metrics) -> None:
        if metrics["epoch"] <= self.last:
            return
        self.last = metrics["epoch"]
        if self.on_epoch is not None:
            self.on_epoch(metrics)

    def replay(self, history: list[Metrics]) -> None:
        """Pass on what a checkpoint tells of."""
        for metrics in history:
            self({**metrics, "replayed": True, "device_seconds": self.device_seconds()})


class _Follow:
    """Calls `told` for every line that is appended to a file while the context is open; raises what `told` raised."""

    def __init__(self, path: Path, told: _Told) -> None:
        self.path, self.told = path, told
        self.position = 0
        self.failure: Exception | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exc: object) -> None:
        self.done.set()
        self.thread.join()
        if self.failure is not None:
            raise self.failure

    def _poll(self) -> None:
        finished = False
        while not finished and self.failure is None:
            finished = self.done.wait(_POLL_SECONDS)
            try:
                self._deliver()  # once more after the end: the last lines
            except Exception as error:
                self.failure = error

    def _deliver(self) -> None:
        if not self.path.exists():
            return
        with self.path.open() as file:
            file.seek(self.position)
            while (line := file.readline()).endswith("\n"):
                self.position = file.tell()
                self.told(json.loads(line))


def _own_error(error: BaseException, run_dir: Path) -> BaseException | None:
    """The run's own exception inside what Ray Train raises, so that one run fails alike under both hosts."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in (error, *failures.values()):
        for cause in (failure, getattr(failure, "cause", None), failure.__cause__):
            if isinstance(cause, _OWN_ERRORS):
                return cause
    return exhausted(error, run_dir)
