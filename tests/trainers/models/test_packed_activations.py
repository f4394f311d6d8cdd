"""Packed activations compute what stock autograd computes, from a fraction of the memory."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainers.models.networks import CLOSE, gradients, images, network, use
from trainers.binary.bits import unpack_signs
from trainers.binary.layers import BinaryConv2d, binary_layers, set_epoch, set_kernels
from trainers.binary.weights import PackedWeight
from trainers.config import TrialConfig
from trainers.methods import make_update_rule
from trainers.models import set_activation_memory
from trainers.models.branch import Branch
from trainers.models.fused_residual import fused

CONVOLUTIONAL = ("AdamBNN", "BCDNet")
PATHS = [
    *((name, "packed") for name in (*CONVOLUTIONAL, "MLP", "own")),
    *((name, "generic") for name in (*CONVOLUTIONAL, "MLP")),
]


def slow_if(slow: bool, *values: object) -> Any:
    """A case, left to the slow tests where that is so: in all, those of convolutional networks take minutes."""
    return pytest.param(*values, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("pack", [False, True], ids=["latent", "bits"])
@pytest.mark.parametrize(
    ("name", "path", "approx", "scale"),
    [
        slow_if(name in CONVOLUTIONAL and approx != "ReSTE", name, path, approx, scale)
        for name, path in PATHS
        for approx, scale in (("STE", "none"), ("ApproxSign", "channel"), ("ReSTE", "layer"))
    ],
)
def test_logits_gradients_and_running_statistics_equal_the_stock_paths(
    name: str, path: str, approx: str, scale: str, pack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ((1 << 20, 1 << 19), (3000, 1000))
    for chunk, block in sizes if path == "packed" else sizes[1:]:  # the generic path has no chunks
        monkeypatch.setattr("trainers.models.packed_residual.CHUNK_ELEMENTS", chunk)
        monkeypatch.setattr("trainers.binary.weights.BLOCK_WEIGHTS", block)
        stock = network(name, approx=approx, weight_scale=scale)
        set_epoch(stock, 1, 2)
        packed = use(path, copy.deepcopy(stock))
        (logits, grads), (got, got_grads) = gradients(stock, images(name), pack), gradients(packed, images(name), pack)
        torch.testing.assert_close(got, logits, **CLOSE)
        assert got_grads.keys() == grads.keys()
        for parameter, grad in grads.items():
            torch.testing.assert_close(got_grads[parameter], grad, **CLOSE)
        for tensor_name, tensor in stock.state_dict().items():
            torch.testing.assert_close(packed.state_dict()[tensor_name], tensor, **CLOSE)


@pytest.mark.parametrize("freeze_num", [2, 30])
def test_frozen_modules_stay_as_they_are(freeze_num: int) -> None:
    freeze_num = min(freeze_num, 14)
    stock = network("AdamBNN", freeze_num=freeze_num)
    packed = copy.deepcopy(stock)
    set_activation_memory(packed, "packed")
    (_, grads), (_, got) = gradients(stock, images("AdamBNN"), False), gradients(packed, images("AdamBNN"), False)
    assert got.keys() == grads.keys()
    for parameter, grad in grads.items():
        torch.testing.assert_close(got[parameter], grad, **CLOSE)


RULES = {
    "binary": {"algorithm": "binary", "lr": 0.1},
    "inertia": {
        "algorithm": "binary", "lr": 0.1, "scheduler_type": "relative", "temperature": 0.5, "inertia_bits": 4,
    },
    "bop": {"algorithm": "bop", "lr": 1e-3},
}  # fmt: skip


# Rules read gradients, whichever path made them: the networks that take long are trained by one of them.
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        *[slow_if(True, name, "inertia") for name in CONVOLUTIONAL],
        *[(name, rule) for name in ("MLP", "own") for rule in RULES],
    ],
)
def test_after_fifty_steps_every_path_holds_the_same_bits(name: str, rule: str) -> None:
    # float64, and new images at every step: a network that has learnt its few images by heart amplifies any rounding.
    config = TrialConfig("Digits", "AdamBNN" if name == "own" else name, batch_size=12, width=0.25, **RULES[rule])
    found = []
    for path in ("stock", "packed") if name == "own" else ("stock", "packed", "generic"):
        model = use(path, network(name))
        updates = make_update_rule(config, model, lambda grad: grad)
        flips = 0
        for step in range(50):
            updates.start_step(step, 12, 0)
            nn.functional.cross_entropy(model(images(name, 12, step)), torch.arange(12) % 7).backward()
            updates.finish_step()
            flips += updates.flips
        assert flips > 0
        found.append({layer: module.store.bits for layer, module in binary_layers(model)})
    for other in found[1:]:
        assert all(torch.equal(found[0][layer], other[layer]) for layer in found[0])


@pytest.mark.parametrize("name", ["AdamBNN", "BCDNet"])
def test_fused_units_compute_what_their_slow_twin_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.models.packed_residual.CHUNK_ELEMENTS", 3000)
    fast = network(name, approx="ApproxSign")
    set_activation_memory(fast, "packed")
    slow = copy.deepcopy(fast)
    set_kernels(slow, "torch")
    x = images(name)
    units = fast.feature[1].units()
    assert fused(fast.feature[0](x), units)
    assert not fused(fast.feature[0](x), slow.feature[1].units())
    (logits, grads), (got, got_grads) = gradients(slow, x, True), gradients(fast, x, True)
    torch.testing.assert_close(got, logits, **CLOSE)
    assert got_grads.keys() == grads.keys()
    for parameter, grad in grads.items():
        torch.testing.assert_close(got_grads[parameter], grad, **CLOSE)


@pytest.mark.parametrize("name", ["AdamBNN", "BCDNet"])
def test_no_two_parameters_gradients_share_memory(name: str) -> None:
    model = network(name)
    set_activation_memory(model, "packed")
    gradients(model, images(name), True)
    places = sorted((p.grad.data_ptr(), p.grad.nbytes) for p in model.parameters() if p.grad is not None)
    assert all(start + size <= following for (start, size), (following, _) in pairwise(places))


@pytest.mark.parametrize("kind", ["stock", "packed"])
@pytest.mark.parametrize("name", ["AdamBNN", "BCDNet", "MLP"])
def test_evaluation_of_packed_weights_runs_on_bits(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(name, weight_scale="layer").eval()
    with torch.no_grad():
        expected = model(images(name))
    for _, layer in binary_layers(model):
        layer.pack()
    set_activation_memory(model, kind)

    def refuse(store: PackedWeight, rows: slice, dtype: torch.dtype) -> Tensor:
        assert not getattr(store.layer, "sign_inputs", True), "weights were unpacked into floats"
        return unpack_signs(store.bits[rows], store.shape, dtype)

    monkeypatch.setattr(PackedWeight, "signs", refuse)
    with torch.no_grad():
        torch.testing.assert_close(model(images(name)), expected, **CLOSE)


def test_the_mlps_two_paths_are_bit_equal_in_float32() -> None:
    stock = network("MLP").float()
    packed = copy.deepcopy(stock)
    set_activation_memory(packed, "packed")
    x = images("MLP").float()
    (logits, grads), (got, got_grads) = gradients(stock, x, True), gradients(packed, x, True)
    assert torch.equal(got, logits)
    assert all(torch.equal(got_grads[name], grad) for name, grad in grads.items())


def test_evaluation_is_the_stock_paths() -> None:
    model = network("BCDNet")
    model.eval()
    with torch.no_grad():
        expected = model(images("BCDNet"))
        set_activation_memory(model, "packed")
        assert torch.equal(model(images("BCDNet")), expected)


@pytest.mark.parametrize("name", ["AdamBNN", "BCDNet"])
def test_what_is_kept_for_backward_is_under_a_quarter_of_the_stock_paths(name: str) -> None:
    def kept(kind: str) -> int:
        model = network(name).float()
        for _, layer in binary_layers(model):
            layer.pack()
        set_activation_memory(model, kind)
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(images(name).float())
        own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
        return sum(size for pointer, size in storages.items() if pointer not in own)

    assert kept("packed") < kept("stock") / 4


def test_products_too_large_for_sixteen_bits_are_kept_as_floats() -> None:
    with torch.device("meta"):
        wide, usual = BinaryConv2d(4096, 8, kernel_size=3), BinaryConv2d(1024, 8, kernel_size=3)
    assert not Branch(((wide, 0),), nn.BatchNorm2d(8)).exact  # |z| may reach 9·4096
    assert Branch(((usual, 0),), nn.BatchNorm2d(8)).exact


@pytest.mark.parametrize("name", ["AdamBNN", "BCDNet"])
def test_floats_in_place_of_integers_give_the_stock_paths_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.models.branch.INT16_LIMIT", 0)
    stock = network(name, weight_scale="channel")
    packed = copy.deepcopy(stock)
    set_activation_memory(packed, "packed")
    (logits, grads), (got, got_grads) = gradients(stock, images(name), True), gradients(packed, images(name), True)
    torch.testing.assert_close(got, logits, **CLOSE)
    for parameter, grad in grads.items():
        torch.testing.assert_close(got_grads[parameter], grad, **CLOSE)
