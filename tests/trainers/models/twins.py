"""A block's training step on its packed path and on its plain one, to be compared."""

import torch
from torch import Tensor, nn

from tests.trainers.gradient_receiver import GradientReceiver
from trainers.binary.layers import binary_layers
from trainers.models.recompute import PackedBlock, recomputed
from trainers.models.resnet18 import Stem


def moved(module: nn.Module) -> nn.Module:
    """In float64, with norms that have moved off their start."""
    draw = torch.Generator().manual_seed(7)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            for tensor in (norm.weight, norm.bias):
                tensor.data += torch.randn(tensor.shape, generator=draw)
    return module.double()


def backward(module: nn.Module, x: Tensor, packed: bool) -> dict[str, Tensor]:
    """What a training step's passes give: output, every gradient, the running statistics."""
    receivers = {name: GradientReceiver() for name, _ in binary_layers(module)}
    for name, layer in binary_layers(module):
        layer.pack().consumer = receivers[name]
    x = x.clone().requires_grad_(not isinstance(module, Stem))
    assert isinstance(module, PackedBlock)
    y = module.packed(x) if packed else recomputed(module, module.compute, x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(8), dtype=x.dtype))
    found = {"y": y.detach(), **{name: receiver.grad for name, receiver in receivers.items()}}
    found |= {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    found |= {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    return found | ({} if x.grad is None else {"x": x.grad})
