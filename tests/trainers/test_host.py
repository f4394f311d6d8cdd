"""One loop, two hosts: a Ray Train worker group trains what this process trains."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray.train.torch
import torch
from ray.train import Result, ScalingConfig
from safetensors.torch import load_file

from trainers import host
from trainers.attempt import Attempt
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import DataChangedError, DivergedError, UserError, WorkersDiedError
from trainers.host import run_local, run_ray
from trainers.progress import Metrics

MakeConfig = Callable[..., TrialConfig]


@pytest.mark.usefixtures("running_ray")
def test_a_ray_train_worker_holds_the_bits_that_this_process_holds(digits: MakeConfig, tmp_path: Path) -> None:
    config = digits(test=True)
    local: list[Metrics] = []
    by_ray: list[Metrics] = []
    here = run_local(config, tmp_path / "local", local.append)
    there = run_ray(config, tmp_path / "ray", by_ray.append)
    first, second = (load_file(last_checkpoint(tmp_path / folder)) for folder in ("local", "ray"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [metrics["epoch"] for metrics in by_ray] == [metrics["epoch"] for metrics in local]
    for key in ("train_loss", "val_accuracy", "test_accuracy", "peak_memory_bytes"):
        assert here[key] == there[key]
    assert [metrics.get("replayed", False) for metrics in by_ray] == [False, False]
    again: list[Metrics] = []
    run_ray(config, tmp_path / "ray", again.append)
    assert [(metrics["epoch"], metrics["replayed"]) for metrics in again] == [(1, True), (2, True)]


@pytest.mark.usefixtures("running_ray")
def test_two_ray_workers_train_together_and_their_own_error_comes_back(digits: MakeConfig, tmp_path: Path) -> None:
    config = digits(workers=2)
    assert run_ray(config, tmp_path)["status"] == "completed"
    with pytest.raises(UserError, match=r"belongs to another run: lr was 1\.0, is 2\.0"):
        run_ray(config.replace(lr=2.0), tmp_path)


@pytest.mark.parametrize(("placement", "strategy"), [("pack", "PACK"), ("spread", "SPREAD")])
def test_workers_get_whole_gpus_and_lie_as_the_run_says(
    digits: MakeConfig, placement: str, strategy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[ScalingConfig] = []

    class Trainer:
        def __init__(self, worker: object, *, scaling_config: ScalingConfig, **rest: object) -> None:
            asked.append(scaling_config)

        def fit(self) -> Result:
            return Result(None, None, None, None, return_value={"status": "completed"})

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    monkeypatch.setattr(host, "_on_cuda", lambda config: True)
    assert run_ray(digits(workers=4, threads=2, placement=placement), tmp_path)["status"] == "completed"
    (group,) = asked
    assert (group.num_workers, group.use_gpu, group.placement_strategy) == (4, True, strategy)
    assert group.resources_per_worker == {"CPU": 2, "GPU": 1}
    assert digits(workers=4, placement=placement).fingerprint() == digits(workers=4).fingerprint()


@pytest.mark.usefixtures("running_ray")
def test_every_ray_worker_holds_its_nodes_data_against_what_the_study_began_with(
    digits: MakeConfig, tmp_path: Path
) -> None:
    told: list[Metrics] = []
    with pytest.raises(DataChangedError, match=r"on node .* are not those that the study began with"):
        run_ray(digits(workers=2), tmp_path, told.append, Attempt(expected_data={"data": "0" * 64}))
    assert not told and not (tmp_path / "checkpoints").exists()


def _kill_a_train_worker() -> None:
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if any("TrainWorker" in part for part in process.cmdline())
    ]
    assert workers
    workers[0].kill()


@pytest.mark.usefixtures("running_ray")
def test_workers_of_which_one_is_killed_are_started_again_and_end_with_the_same_bits(
    digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(workers=2, epochs=4)
    run_ray(config, tmp_path / "whole")
    told: list[Metrics] = []

    def kill_after_the_first(metrics: Metrics) -> None:
        told.append(metrics)
        if len(told) == 1:
            _kill_a_train_worker()

    final = run_ray(config, tmp_path / "killed", kill_after_the_first)
    assert final["status"] == "completed"
    assert [metrics["epoch"] for metrics in told] == [1, 2, 3, 4]
    first, second = (load_file(last_checkpoint(tmp_path / folder)) for folder in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_whose_workers_die_without_an_epoch_in_between_is_given_up(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = digits(epochs=9)
    epochs_done = [0, 1, 1, 2, 2, 2]  # when each group died
    groups = 0

    def dies(*_: object) -> Metrics:
        nonlocal groups
        groups += 1
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(host, "_fit", dies)
    monkeypatch.setattr(host, "recorded_history", lambda run_dir: [{"epoch": 1}] * epochs_done[max(0, groups - 1)])
    with pytest.raises(WorkersDiedError, match=r"died 3 times after epoch 2 .*: Connection closed by peer"):
        run_ray(config, tmp_path)
    assert groups == len(epochs_done)


def test_what_the_run_itself_ends_in_is_not_tried_again(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = 0

    def diverges(*_: object) -> Metrics:
        nonlocal groups
        groups += 1
        raise DivergedError("the loss became nan")

    monkeypatch.setattr(host, "_fit", diverges)
    with pytest.raises(DivergedError):
        run_ray(digits(), tmp_path)
    assert groups == 1


def test_one_process_refuses_to_be_several_workers(digits: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 workers need Ray Train"):
        run_local(digits(workers=2), tmp_path)


def test_an_output_folder_that_cannot_be_made_is_refused_before_any_work(digits: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write to"):
        run_local(digits(), tmp_path / "file" / "run")
