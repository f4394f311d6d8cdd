"""Residual units on the GPU: what the fused passes give, and how long a block takes forward and back."""

import copy

import torch
from torch import nn

from benchmarks.gpu_exam.parts import Record
from benchmarks.gpu_exam.timing import milliseconds
from trainers.binary import kernels
from trainers.binary.kernels import gpu_unit, unit_passes
from trainers.binary.layers import binary_layers, set_kernels
from trainers.models import set_activation_memory
from trainers.models.blocks import SeparableBlock
from trainers.models.resnet18 import PreactivationUnit

# Blocks with the inputs that they have at 256 pixels, batch 96: of AdamBNN's early, middle and last ones, of ResNet18.
BLOCKS = {
    "64 channels, 64x64": (lambda: SeparableBlock(64, 64, 1, "STE"), (96, 64, 64, 64)),
    "256 to 512 channels, 16x16": (lambda: SeparableBlock(256, 512, 2, "STE"), (96, 256, 16, 16)),
    "1024 channels, 4x4": (lambda: SeparableBlock(1024, 1024, 1, "STE"), (96, 1024, 4, 4)),
    "ResNet18, 128 channels, 32x32": (lambda: PreactivationUnit(128, 128, 1, False, "STE"), (96, 128, 32, 32)),
}
SMALL = {"8 to 16 channels, 6x6": (lambda: SeparableBlock(8, 16, 2, "STE"), (2, 8, 6, 6))}


def units(rehearsal: bool, record: Record) -> None:
    """Whether every pass gives what its twin on the CPU does; blocks in their fused, unfused and conventional forms."""
    device = torch.device("cpu" if rehearsal else "cuda")
    agree = unit_passes.agrees(gpu_unit, device)
    record("passes agree with the CPU's", agree)
    used = kernels.units_on_gpu(torch.empty(0, device=device)) is not None
    record("fused units are used", used)
    for name, (make, shape) in (SMALL if rehearsal else BLOCKS).items():
        record(name, _block(make(), shape, device))
    assert agree and (used or rehearsal), "the fused passes are not used on this GPU"


def _block(block: nn.Module, shape: tuple[int, ...], device: torch.device) -> dict[str, object]:
    """Milliseconds forward and back by form, and by how much fused and unfused gradients of the input differ."""
    draws = torch.Generator(device).manual_seed(1)
    x = torch.randn(shape, generator=draws, device=device)
    found: dict[str, object] = {}
    gradients = {}
    for form in ("fused", "unfused", "conventional"):
        own = copy.deepcopy(block).to(device)
        if form != "conventional":
            for _, layer in binary_layers(own):
                layer.pack()
            set_activation_memory(own, "packed")
            set_kernels(own, "auto" if form == "fused" else "torch")
        inputs = x.clone().requires_grad_()

        def step(own: nn.Module = own, inputs: torch.Tensor = inputs) -> None:
            inputs.grad = None
            own(inputs).square().mean().backward()

        step()
        gradients[form] = inputs.grad
        found[f"{form}, ms"] = milliseconds(step, device)
    fused, unfused = gradients["fused"], gradients["unfused"]
    assert fused is not None and unfused is not None
    found["largest difference of dL/dx, relative"] = float((fused - unfused).abs().max() / unfused.abs().max())
    return found
