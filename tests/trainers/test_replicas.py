"""Several workers train the model that one would: real processes over gloo."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from tests.trainers.models.networks import use
from tests.trainers.pair import run_pair
from trainers.batch_norm import synchronize_batch_norm
from trainers.binary.weights import BLOCK_WEIGHTS
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.host import run_local
from trainers.models.blocks import SeparableBlock, ShiftBlock
from trainers.replicas import Replicas
from trainers.worker import train

pytestmark = pytest.mark.integration

MakeConfig = Callable[..., TrialConfig]


def _join(rank: int, folder: str) -> Replicas:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    return Replicas(rank, 2)


def _train_as_one_of_two(rank: int, folder: str, settings: dict[str, Any]) -> None:
    replicas = _join(rank, folder)
    train(TrialConfig.from_dict(settings), Path(folder), replicas, torch.device("cpu"), lambda metrics: None)
    dist.destroy_process_group()


def _normalize_half(rank: int, folder: str, shape: tuple[int, ...]) -> None:
    replicas = _join(rank, folder)
    model, x, weights = _norm_and_data(shape)
    synchronize_batch_norm(model, replicas)
    mine = slice(0, 3) if rank == 0 else slice(3, None)  # unequal shares
    part = x[mine].clone().requires_grad_()
    y = model(part)
    (y * weights[mine]).sum().backward()
    for parameter in model.parameters():
        replicas.sum(parameter.grad)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save({"y": y.detach(), "x": part.grad, "state": state, "grads": grads}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _norm_and_data(shape: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    norm = nn.BatchNorm2d(shape[1]) if len(shape) == 4 else nn.BatchNorm1d(shape[1], affine=False)
    model = nn.Sequential(norm).double()
    if norm.affine:
        norm.weight.data = torch.randn(shape[1], generator=generator).double()
    x, weights = (torch.randn(shape, generator=generator).double() for _ in range(2))
    return model, 3 * x + 10, weights


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8, 5)])
def test_synchronized_batch_norm_equals_batch_norm_over_the_whole_batch(shape: tuple[int, ...], tmp_path: Path) -> None:
    run_pair(_normalize_half, str(tmp_path), shape)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    model, x, weights = _norm_and_data(shape)
    x.requires_grad_()
    y = model(x)
    (y * weights).sum().backward()
    close = {"rtol": 1e-10, "atol": 1e-10}  # float64; only the order of sums differs
    torch.testing.assert_close(torch.cat([part["y"] for part in parts]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([part["x"] for part in parts]), x.grad, **close)
    for part in parts:
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(part["state"][name], tensor, **close)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(part["grads"][name], parameter.grad, **close)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "real", "lr": 0.3},
        {"algorithm": "binary", "lr": 1.0},
        {"algorithm": "binary", "lr": 1.0, "activation_memory": "packed"},
        {"algorithm": "binary", "lr": 1.0, "norm_statistics": "reestimated"},
        {"algorithm": "binary", "scheduler_type": "relative", "temperature": 0.3, "inertia_bits": 4},
        {"algorithm": "bop", "lr": 1e-2},
    ],
    ids=lambda s: "-".join(str(value) for value in s.values()),
)
def test_two_workers_with_half_the_batch_train_what_one_worker_trains(
    settings: dict[str, Any], digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(**settings, epochs=1)
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    alone = run_local(config, one)
    pair = config.replace(workers=2)
    run_pair(_train_as_one_of_two, str(two), pair.to_dict())
    first, second = (load_file(last_checkpoint(folder)) for folder in (one, two))
    differing = total = 0
    for name, tensor in first.items():
        if name.endswith("weight_bits"):
            # A sum in another order can carry a gradient across a mask's threshold: a few bits, not a drift.
            differing += int((tensor != second[name]).sum())
            total += tensor.numel()
        elif tensor.is_floating_point():
            assert float((tensor - second[name]).abs().mean()) < 1e-3 * (1 + float(tensor.abs().mean())), name
    assert differing <= 0.01 * total
    assert alone["status"] == "completed"


def _block_half(rank: int, folder: str, path: str) -> None:
    torch.set_num_threads(1)
    replicas = _join(rank, folder)
    block, x = _block_and_data()
    use(path, block)
    synchronize_batch_norm(block, replicas)
    part = x[slice(0, 3) if rank == 0 else slice(3, None)].clone().requires_grad_()
    (block(part) ** 2).sum().backward()
    for parameter in block.parameters():
        replicas.sum(parameter.grad)
    grads = {name: parameter.grad for name, parameter in block.named_parameters()}
    torch.save({"x": part.grad, "grads": grads, "state": block.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _block_and_data() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(8)
    block = nn.Sequential(SeparableBlock(8, 16, 2, "STE"), ShiftBlock(16, "STE")).double()
    return block, torch.randn(8, 8, 8, 8).double()


@pytest.mark.parametrize("path", ["packed", "generic"])
def test_packed_activations_of_two_workers_are_those_of_one(path: str, tmp_path: Path) -> None:
    run_pair(_block_half, str(tmp_path), path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    block, x = _block_and_data()
    x.requires_grad_()
    (block(x) ** 2).sum().backward()
    close = {"rtol": 1e-9, "atol": 1e-9}  # float64; only the order of sums differs
    torch.testing.assert_close(torch.cat([part["x"] for part in parts]), x.grad, **close)
    for part in parts:
        for name, parameter in block.named_parameters():
            torch.testing.assert_close(part["grads"][name], parameter.grad, **close)
        for name, tensor in block.state_dict().items():
            torch.testing.assert_close(part["state"][name], tensor, **close)


@pytest.mark.parametrize("algorithm", ["binary", "bop"])
def test_averaging_over_workers_brings_no_gradient_buffer_back(
    algorithm: str, digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(algorithm, hid_dim=1024, lr=1e-2, epochs=1, activation_memory="packed")
    alone = run_local(config, tmp_path / "one")["peak_memory_bytes"]
    pair = config.replace(workers=2, batch_size=2 * config.batch_size)  # the same share for each worker
    run_pair(_train_as_one_of_two, str(tmp_path), pair.to_dict())
    together = json.loads((tmp_path / "result.json").read_text())["peak_memory_bytes"]
    assert together <= alone + 4 * BLOCK_WEIGHTS  # one block of float gradients


@pytest.mark.parametrize("batch_size", [19, 28, 57])
def test_two_workers_train_fifty_eight_pictures_in_any_batch(batch_size: int, tmp_path: Path) -> None:
    """Of 76 pictures 12 become test and 6 validation, and 58 = 3*19 + 1 = 2*28 + 2 = 57 + 1 are trained on."""
    rng = np.random.Generator(np.random.PCG64(0))
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for index in range(38):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "own" / name / f"{index}.png")
    prepare(tmp_path / "own", tmp_path)
    config = TrialConfig(
        str(tmp_path / "own"), "MLP", "binary", hid_dim=32, depth=2, batch_size=batch_size, epochs=1, lr=1.0, test=True,
        workers=2, device="cpu", data_root=str(tmp_path),
    )  # fmt: skip
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    run_pair(_train_as_one_of_two, str(run_dir), config.to_dict())
    final = json.loads((run_dir / "result.json").read_text())
    assert np.isfinite(final["train_loss"]) and "test_accuracy_top5" not in final
    assert 12 * final["test_accuracy"] == pytest.approx(round(12 * final["test_accuracy"]))
