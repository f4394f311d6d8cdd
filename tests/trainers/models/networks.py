"""Small networks in float64, and one training step's gradients by any path."""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from tests.trainers.gradient_receiver import GradientReceiver
from trainers.binary.layers import BinaryConv2d, BinaryLinear, SignActivation, binary_layers
from trainers.models import MLP, build_model, set_activation_memory
from trainers.models.blocks import ResidualBlock
from trainers.models.recompute import PackedBlock, PackedSequential, recomputed

CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64; sums over images run chunk by chunk


class Residual(PackedBlock):
    """A block as a user would write it: y = prelu(bn(conv(sgn(x))) + pool(x)), twice as wide where it halves."""

    def __init__(self, channels: int, out: int, approx: str = "STE") -> None:
        super().__init__()
        self.sign = SignActivation(approx)
        stride = 2 if out == 2 * channels else 1
        self.conv = BinaryConv2d(channels, out, kernel_size=3, stride=stride)
        self.norm = nn.BatchNorm2d(out)
        self.pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        self.act = nn.PReLU(out)

    def compute(self, x: Tensor) -> Tensor:
        shortcut = self.pool(x)
        if self.conv.store.shape[0] > x.shape[1]:
            shortcut = torch.cat([shortcut, shortcut], dim=1)
        return self.act(self.norm(self.conv(self.sign(x))) + shortcut)


class OwnNetwork(nn.Module):
    """Stem, residual blocks, then dense ones, of which the first hands signs on: (N, 3, H, W) -> (N, classes)."""

    def __init__(
        self, num_classes: int, in_channels: int = 3, approx: str = "STE", width: int = 8, depth: int = 1
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False)
        same = [Residual(width, width, approx) for _ in range(depth)]
        self.blocks = nn.Sequential(*same, Residual(width, 2 * width, approx), Residual(2 * width, 2 * width, approx))
        self.neck = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(8 * width), SignActivation(approx)
        )
        self.dense = PackedSequential(
            BinaryLinear(8 * width, 24), nn.BatchNorm1d(24, affine=False), SignActivation(approx)
        )
        self.fc = PackedSequential(BinaryLinear(24, num_classes), nn.BatchNorm1d(num_classes, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dense(self.neck(self.blocks(self.stem(x)))))


def network(name: str, **options: Any) -> nn.Module:
    """A small network in float64 whose real parameters have moved off their start."""
    torch.manual_seed(4)
    if name == "MLP":
        return build_model(name, 7, in_features=30, hid_dim=40, depth=4, **options).double()
    scale = options.get("weight_scale", "none")
    model = OwnNetwork(7, approx=options.get("approx", "STE")) if name == "own" else None
    if model is None:
        model = build_model(name, 7, width=0.25, **options)
    for _, layer in binary_layers(model):
        layer.set_weight_scale(scale)
    model = model.double()
    latents = {id(layer.weight) for _, layer in binary_layers(model)}
    for parameter in model.parameters():
        if id(parameter) not in latents:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def images(name: str, count: int = 6, seed: int = 9) -> Tensor:
    """Images that `network(name)` takes."""
    shape = {"MLP": (count, 30), "own": (count, 3, 8, 8)}.get(name, (count, 3, 32, 32))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def use(path: str, model: nn.Module) -> nn.Module:
    """Let `model` keep activations by a path: `stock`, `packed`, or `generic`.

    Generic blocks are recomputed even where they have a faster path of their own. The whole MLP is one generic block.
    """
    set_activation_memory(model, "stock" if path == "stock" else "packed")
    if path == "generic":
        for module in model.modules():
            if isinstance(module, ResidualBlock):
                module.packed = MethodType(PackedBlock.packed, module)  # type: ignore[method-assign]
        if isinstance(model, MLP):
            model._packed = MethodType(_whole, model)  # type: ignore[method-assign]
    return model


def _whole(mlp: MLP, x: Tensor) -> Tensor:
    return recomputed(mlp, lambda x: mlp.classifier(mlp.feature(x)), x)


def gradients(model: nn.Module, x: Tensor, pack: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and every gradient by name, those that packed layers hand out included."""
    receivers = {}
    if pack:
        for name, layer in binary_layers(model):
            receivers[name] = layer.pack().consumer = GradientReceiver()
    logits = model(x)
    nn.functional.cross_entropy(logits, torch.arange(len(x)) % 7).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), grads | {name: receiver.grad for name, receiver in receivers.items()}
