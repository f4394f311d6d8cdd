"""Binary layers as modules: a weight store and an operator each, and the sign activation between them.

From scratch a layer's latent weights are N(0, 0.01^2): latents of magnitude 1 do not train (algorithm, section 4).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainers.binary.functional import binary_product, sign_activation
from trainers.binary.products import Convolution, MatrixProduct, ProductOperator
from trainers.binary.weights import LatentWeight, PackedWeight, WeightStore

LATENT_STD = 0.01  # algorithm, section 4


class BinaryLayer(nn.Module):
    """A layer with 1-bit weights; it starts with a latent store and can be packed.

    Attributes:
        store: where its weights are.
        kernels: what computes its products of bits once it is packed: `auto` or `torch`.
        sign_inputs: whether its inputs are signs, as a rule; products of others run on floats.
    """

    store: WeightStore
    kernels = "auto"
    sign_inputs = True

    def __init__(self, shape: tuple[int, ...], operator: ProductOperator) -> None:
        super().__init__()
        weight = torch.empty(shape)
        if not weight.is_meta:  # where it is, there is nothing to draw, and to say so torch imports its compiler
            weight.normal_(std=LATENT_STD)
        self.weight = nn.Parameter(weight)
        self.store = LatentWeight(self)
        self.operator = operator

    def forward(self, inputs: Tensor) -> Tensor:
        return binary_product(inputs, self.store, self.operator)

    def set_weight_scale(self, kind: str) -> None:
        """Choose none, layer or channel; only while the latent weights are there to take it from."""
        if not isinstance(self.store, LatentWeight):
            raise RuntimeError("the weight scale is taken from real weights, and this layer keeps bits only")
        self.store.scale_kind = kind

    def pack(self) -> PackedWeight:
        """Binarize for good: 1 bit a weight, the latent tensor goes."""
        if isinstance(self.store, LatentWeight):
            self.store = PackedWeight.from_latent(self.store)
        assert isinstance(self.store, PackedWeight)
        return self.store

    def extra_repr(self) -> str:
        return f"{tuple(self.store.shape)}, {type(self.store).__name__}"


class BinaryConv2d(BinaryLayer):
    """Binary convolution without bias: (N, in, H, W) -> (N, out, H', W'); 3x3 with padding 1, 1x1 without.

    What lies outside an image counts as 0, or as +1 where `ones` says so.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, ones: bool = False
    ) -> None:
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        super().__init__(shape, Convolution(stride, kernel_size // 2, ones))


class BinaryLinear(BinaryLayer):
    """Binary matrix product without bias: (N, in) -> (N, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__((out_features, in_features), MatrixProduct())


class SignActivation(nn.Module):
    """s = sgn(x) with the surrogate gradient `approx`; `order` is ReSTE's o, 1 at first.

    With `packed_activations` it keeps bits for backward, and lets the binary layers that take s keep its bits.
    """

    packed_activations = False

    def __init__(self, approx: str = "STE") -> None:
        super().__init__()
        self.approx = approx
        self.order = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return sign_activation(x, self.approx, self.order, self.packed_activations)

    def extra_repr(self) -> str:
        return self.approx


def binary_layers(model: nn.Module) -> Iterator[tuple[str, BinaryLayer]]:
    """Every binary layer of a model with its name, in the model's order."""
    for name, module in model.named_modules():
        if isinstance(module, BinaryLayer):
            yield name, module


def binary_sizes(model: nn.Module) -> dict[str, int]:
    """How many weights each binary layer has, by its name."""
    return {name: layer.store.shape.numel() for name, layer in binary_layers(model)}


def packed_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model whose binary layers are packed, as a file keeps it: on the CPU, each tensor contiguous."""
    for name, layer in binary_layers(model):
        if not isinstance(layer.store, PackedWeight):
            raise RuntimeError(f"binary layers are saved as bits, and {name} is not packed; pack them first")
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def set_kernels(model: nn.Module, kind: str) -> None:
    """Choose what computes products of bits: `auto`, compiled kernels where they can run, or `torch`, float products.

    Both give the same integers.
    """
    for _, layer in binary_layers(model):
        layer.kernels = kind


def set_epoch(model: nn.Module, epoch: int, epochs: int) -> None:
    """At the start of epoch e = 0, 1, ...: ReSTE's order o = 1 + 2e/epochs (algorithm, section 7)."""
    for module in model.modules():
        if isinstance(module, SignActivation):
            module.order = 1 + 2 * epoch / epochs
