"""A residual unit's passes on a GPU give what the CPU's do; without a GPU they run through Triton's interpreter."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, and where a kernel is defined
pytest.importorskip("triton", reason="Triton comes with torch's CUDA build, or with the test extra on Linux")

from tests.trainers.models.twins import backward, moved
from trainers.binary import kernels
from trainers.binary.kernels import gpu, gpu_unit, unit_passes
from trainers.models.blocks import ResidualBlock, SeparableBlock, ShiftBlock
from trainers.models.fused_residual import fused
from trainers.models.resnet18 import PreactivationUnit

pytestmark = [pytest.mark.integration, pytest.mark.cuda]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are taken to lie on a GPU."""
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor, kind: gpu)
    monkeypatch.setattr(kernels, "units_on_gpu", lambda tensor: gpu_unit)


def test_every_pass_gives_what_its_twin_does() -> None:
    assert unit_passes.agrees(gpu_unit, DEVICE)


def test_a_pass_that_differs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_unit.output
    monkeypatch.setattr(gpu_unit, "output", lambda *arguments: right(*arguments).add_(0.1))
    assert not unit_passes.agrees(gpu_unit, DEVICE)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "two branches, half the side": lambda: SeparableBlock(8, 16, 2, "ApproxSign"),
    "one branch": lambda: SeparableBlock(72, 72, 1, "STE"),
    "shifts": lambda: ShiftBlock(8, "ReSTE"),
    "pre-activation": lambda: PreactivationUnit(8, 8, 1, False, "STE"),
    "pre-activation, projected": lambda: PreactivationUnit(72, 16, 2, True, "ApproxSign"),
}


@pytest.mark.parametrize(
    ("block", "images"),
    [
        *((block, "at once") for block in BLOCKS),
        # The others' weights outweigh such small images, which then come at once.
        ("two branches, half the side", "one by one"),
        ("shifts", "one by one"),
    ],
)
def test_a_unit_computes_what_the_plain_one_does(
    block: str, images: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    plain = moved(BLOCKS[block]())
    channels = next(module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)).num_features
    x = 2 * torch.randn(3, 72 if "projected" in block else channels, 6, 6).double()
    expected = backward(copy.deepcopy(plain), x, packed=False)
    if images == "one by one":
        monkeypatch.setattr("trainers.models.packed_residual.CHUNK_ELEMENTS", 1)
        monkeypatch.setattr("trainers.models.fused_preactivation.CHUNK_ELEMENTS", 1)
        monkeypatch.setattr("trainers.binary.parts.ON_GPU", 1)
    request.getfixturevalue("on_gpu")
    unit = plain.to(DEVICE)
    fits = fused(x, unit.units()) if isinstance(unit, ResidualBlock) else unit.fused().fits(x)
    assert fits
    found = backward(unit, x.to(DEVICE), packed=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # float64, whose sums run in another order than the CPU's.
        torch.testing.assert_close(
            found[name].cpu(), value, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_every_kernel_compiles_for_a_gpu() -> None:
    program = Path(__file__).with_name("compile_for_gpu.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[4]), *sys.path])}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    names = set(done.stdout.split())
    assert {"_product", "_pack_signs", "_pack_weights", "_flip", "_count", "_count_by_bit"} <= names
    assert {"_unpack", "_moments", "_output", "_backward_sums", "_backward_products", "_backward_signs"} <= names
