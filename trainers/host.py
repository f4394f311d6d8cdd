"""Two hosts for one loop: this process, or a Ray Train worker group.

A worker group costs seconds to start, so a one-worker trial may run in the process that asks for it; several workers
need the group: torch's process group over gloo (CPU) or nccl (GPU).
"""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trainers.config import TrialConfig
from trainers.errors import DivergedError, InvariantError, ReplicaError, UserError
from trainers.replicas import Replicas
from trainers.worker import Metrics, require_run_dir, train

OnEpoch = Callable[[Metrics], None]

_POLL_SECONDS = 0.2


def device_of(config: TrialConfig) -> torch.device:
    """The device that the configuration means on this machine."""
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def run_local(config: TrialConfig, run_dir: Path, on_epoch: OnEpoch | None = None) -> Metrics:
    """Train with one worker in this process; returns the final metrics.

    Raises:
        UserError: the configuration asks for several workers; and whatever `trainers.worker.train` raises.
    """
    if config.workers != 1:
        raise UserError(f"{config.workers} workers need Ray Train; one process runs one worker")
    require_run_dir(run_dir)
    return train(config, run_dir, Replicas(), device_of(config), on_epoch or (lambda metrics: None))


def run_ray(
    config: TrialConfig, run_dir: Path, on_epoch: OnEpoch | None = None, callbacks: Sequence[Any] = ()
) -> Metrics:
    """Train with `config.workers` workers under Ray Train, which must be initialised; returns the final metrics.

    Args:
        config: the run.
        run_dir: the run's own folder, which every worker must be able to reach.
        on_epoch: called in this process with each epoch's metrics.
        callbacks: Ray Train's own `UserCallback`s, for a run inside a Tune trial.

    Raises:
        UserError, DivergedError, ReplicaError, InvariantError: as the workers raised them. RuntimeError: anything else
            that ended them.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    require_run_dir(run_dir)
    run_dir = run_dir.resolve()
    epochs = run_dir / "epochs.jsonl"
    on_cuda = _cluster_has_gpus() if config.device == "auto" else config.device == "cuda"
    worker: Any = _ray_worker  # Ray's annotation denies that a worker may return something; it may
    trainer = TorchTrainer(
        worker,
        train_loop_config={"config": config.to_dict(), "run_dir": str(run_dir), "cuda": on_cuda},
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=on_cuda,
            resources_per_worker={"CPU": config.threads, "GPU": int(on_cuda)},
        ),
        run_config=RunConfig(
            name="train", storage_path=str(run_dir / "ray"), callbacks=[_epoch_writer(epochs), *callbacks]
        ),
    )
    with _Follow(epochs, on_epoch):
        try:
            result: Any = trainer.fit()
        except Exception as error:
            raise _workers_own(error) from error
    return dict(result.return_value)


def _cluster_has_gpus() -> bool:
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0


def _ray_worker(settings: dict[str, Any]) -> Metrics:
    """What each worker of the group runs."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    replicas = Replicas(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device() if settings["cuda"] else torch.device("cpu")
    config = TrialConfig.from_dict(settings["config"])
    return train(config, Path(settings["run_dir"]), replicas, device, ray.train.report)


def _epoch_writer(path: Path) -> Any:
    """A Ray Train callback that appends each epoch's metrics to a file; its process runs on the driver's own node."""
    from ray.train import UserCallback

    class EpochWriter(UserCallback):
        def after_report(self, run_context: Any, metrics: list[Metrics], checkpoint: Any) -> None:
            with path.open("a") as file:
                file.write(json.dumps(metrics[0]) + "\n")

    return EpochWriter()


class _Follow:
    """Calls `on_epoch` for every line that is appended to a file while the context is open."""

    def __init__(self, path: Path, on_epoch: OnEpoch | None) -> None:
        self.path, self.on_epoch = path, on_epoch
        self.position = path.stat().st_size if path.exists() else 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exc: object) -> None:
        self.done.set()
        self.thread.join()

    def _poll(self) -> None:
        finished = False
        while not finished:
            finished = self.done.wait(_POLL_SECONDS)
            self._deliver()  # once more after the end: the last lines

    def _deliver(self) -> None:
        if self.on_epoch is None or not self.path.exists():
            return
        with self.path.open() as file:
            file.seek(self.position)
            while (line := file.readline()).endswith("\n"):
                self.position = file.tell()
                self.on_epoch(json.loads(line))


def _workers_own(error: BaseException) -> BaseException:
    """The workers' own exception inside what Ray Train raises, so that one run fails alike under both hosts."""
    failures = getattr(error, "worker_failures", None) or {}
    candidates: list[BaseException] = [*failures.values()]
    for failure in candidates:
        for cause in (failure, getattr(failure, "cause", None), failure.__cause__):
            if isinstance(cause, (UserError, DivergedError, ReplicaError, InvariantError)):
                return cause
    return error
