"""The contracts that rules and networks keep, as classes of tests to inherit from: the project's own and yours.

A rule of your own, from `examples/own_rule.py`, is held to the contract by five lines:

    from trainers.plugins import load_plugin
    from trainers.testing import RuleContract

    load_plugin("examples/own_rule.py")

    class TestLargest(RuleContract):
        settings = {"algorithm": "largest"}

A network likewise, by its name, the options it is to be built small with, and an image's channels and side:

    class TestTiny(ModelContract):
        name, options, image = "Tiny", {"width": 8}, (3, 8)

Any runner that collects methods named `test_...` of classes named `Test...` runs them, pytest among them; nothing here
needs one.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.binary.weights import PackedWeight
from trainers.config import TrialConfig
from trainers.learner import InputShape, Learner
from trainers.memory.invariants import Bystanders, check_invariants, is_of_channels
from trainers.memory.state import state_bits_per_weight
from trainers.methods import contract
from trainers.models import build_model, set_activation_memory
from trainers.registry import METHODS, method_named, model_named
from trainers.replicas import Replicas

CLASSES, BATCH = 5, 4
MLP_IMAGE, CNN_IMAGE = (1, 8), (3, 32)  # channels and side


def learner_of(channels: int, side: int, settings: Mapping[str, Any]) -> Learner:
    """A learner of a run on random images of `side` x `side` pixels in `CLASSES` classes."""
    config = TrialConfig(**{"dataset": "random images", "batch_size": BATCH, "epochs": 2, "device": "cpu", **settings})
    return Learner(config, InputShape(CLASSES, channels, side), Replicas(), torch.device("cpu"))


def train(learner: Learner, channels: int, side: int, steps: int, first: int = 0) -> list[int]:
    """Train steps `first`, `first + 1`, ... on random images, the same for equal arguments; the flips in each."""
    flips = []
    for step in range(first, first + steps):
        draws = torch.Generator().manual_seed(11 + step)
        images = torch.randint(256, (BATCH, channels, side, side), generator=draws, dtype=torch.uint8)
        learner.train_step(images, torch.randint(CLASSES, (BATCH,), generator=draws), step, BATCH, 0)
        flips.append(int(learner.rule.flips))
    return flips


def signs(model: nn.Module) -> dict[str, Tensor]:
    """Every binary layer's weights as -1 and +1."""
    return {name: layer.store.signs(slice(None), torch.float32).clone() for name, layer in binary_layers(model)}


class RuleContract:
    """What every update rule owes, whatever it does.

    Attributes:
        settings: of a run: at least its `algorithm`; with a learning rate or the like by which some weights flip.
    """

    settings: ClassVar[Mapping[str, Any]]

    def learner(self, **changes: Any) -> Learner:
        """A learner under this rule, of a small MLP."""
        small = {"model": "MLP", "hid_dim": 64, "depth": 3}
        return learner_of(*MLP_IMAGE, {**small, **self.settings, **changes})

    def convolutions(self, **changes: Any) -> Learner:
        """A learner of a network with real parameters beside the binary ones, and with blocks to freeze."""
        return learner_of(*CNN_IMAGE, {"model": "AdamBNN", "width": 0.25, **self.settings, **changes})

    def test_reported_flips_are_the_weights_that_changed_and_nothing_but_signs_is_left(self) -> None:
        learner = self.learner()
        for step in range(3):
            before = signs(learner.model)
            (flips,) = train(learner, *MLP_IMAGE, 1, first=step)
            after = signs(learner.model)
            assert flips == sum(int((before[name] != after[name]).sum()) for name in before), step
            assert all(torch.equal(weight.abs(), torch.ones_like(weight)) for weight in after.values())

    def test_real_parameters_move_and_no_gradient_outlives_the_step(self) -> None:
        learner = self.convolutions()
        before = {name: parameter.detach().clone() for name, parameter in learner.model.named_parameters()}
        train(learner, *CNN_IMAGE, 2)
        method, after = method_named(learner.config.algorithm), dict(learner.model.named_parameters())
        learning = {id(one) for one in (method.trains_real or nn.Module.parameters)(learner.model)}
        moved = {name for name, parameter in after.items() if not torch.equal(before[name], parameter)}
        assert all(id(after[name]) in learning for name in moved), moved
        still = [name for name, one in after.items() if id(one) in learning - {id(after[m]) for m in moved}]
        still = [name for name in still if "bias" not in name]
        assert not still, still
        assert all(parameter.grad is None for parameter in after.values())

    def test_equal_seeds_give_equal_bits(self) -> None:
        first, second = self.learner(), self.learner()
        assert train(first, *MLP_IMAGE, 3) == train(second, *MLP_IMAGE, 3)
        for name, tensor in first.model.state_dict().items():
            assert torch.equal(tensor, second.model.state_dict()[name]), name

    def test_frozen_modules_do_not_change(self) -> None:
        learner = self.convolutions(freeze_num=3)
        before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
        train(learner, *CNN_IMAGE, 2)
        for name, tensor in learner.model.state_dict().items():
            if name.startswith(("feature.0.", "feature.1.", "feature.2.")):
                assert torch.equal(tensor, before[name]), name

    def test_memory_holds_what_the_rule_names_and_nothing_else(self) -> None:
        bystanders = Bystanders()
        learner = self.learner()
        train(learner, *MLP_IMAGE, 2)
        check_invariants(learner, bystanders)
        packed = method_named(learner.config.algorithm).packed
        stores = [layer.store for _, layer in binary_layers(learner.model)]
        assert all(isinstance(store, PackedWeight) == packed for store in stores)

    def test_its_bits_of_state_are_those_that_the_method_declares(self) -> None:
        """Rows that are filled up to whole bytes, a number or two a layer and a few a channel come on top."""
        learner = self.learner()
        train(learner, *MLP_IMAGE, 1)
        declared = method_named(learner.config.algorithm).state_bits(learner.config)
        layers, beside = dict(binary_layers(learner.model)), 0
        for name, rule in learner.rule.layer_rules().items():
            own = (tensor for key, tensor in rule.tensors().items() if key not in rule.packed_numbers())
            beside += sum(tensor.nbytes for tensor in own if is_of_channels(tensor, layers[name].store.shape))
        found = state_bits_per_weight(learner) - 8 * beside / learner.rule.binary_weights
        assert declared <= found + 1e-9 and found <= 1.02 * declared + 0.05

    def test_updating_block_by_block_flips_what_one_block_flips(self) -> None:
        results = []
        for weights in (1 << 30, 1 << 9):
            with _blocks_of(weights):
                learner = self.learner()
                train(learner, *MLP_IMAGE, 3)
                results.append(signs(learner.model))
        assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])

    def test_a_run_goes_on_from_its_saved_state_to_the_same_bits(self) -> None:
        whole, resumed = self.learner(), self.learner()
        train(whole, *MLP_IMAGE, 2)
        resumed.model.load_state_dict(whole.model.state_dict())
        for name, rule in resumed.rule.layer_rules().items():
            kept = whole.rule.layer_rules()[name]
            for own, tensor in rule.tensors().items():
                tensor.copy_(kept.tensors()[own])
            rule.load_scalars(dict(kept.scalars()))
        if whole.rule.optimizer is not None and resumed.rule.optimizer is not None:
            resumed.rule.optimizer.load_state_dict(copy.deepcopy(whole.rule.optimizer.state_dict()))
        assert train(whole, *MLP_IMAGE, 2, first=2) == train(resumed, *MLP_IMAGE, 2, first=2)
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@contextmanager
def _blocks_of(weights: int) -> Iterator[None]:
    """Work flips out for so many weights at a time."""
    before = contract._UPDATE_WEIGHTS
    contract._UPDATE_WEIGHTS = weights
    try:
        yield
    finally:
        contract._UPDATE_WEIGHTS = before


class ModelContract:
    """What every network owes.

    Attributes:
        name: the model's.
        options: its settings, to build it small with.
        image: an image's channels and side in pixels.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    image: ClassVar[tuple[int, int]]

    def build(self, **options: Any) -> nn.Module:
        """The network with latent weights, the same each time."""
        torch.manual_seed(1)
        return build_model(
            self.name, CLASSES, **{**model_named(self.name).image_options(*self.image), **self.options, **options}
        )

    def images(self) -> Tensor:
        channels, side = self.image
        return torch.randn(BATCH, channels, side, side, generator=torch.Generator().manual_seed(2))

    def backward(self, model: nn.Module, images: Tensor) -> Tensor:
        """Logits of one training step's forward pass, after its backward pass."""
        logits: Tensor = model(images)
        nn.functional.cross_entropy(logits, torch.arange(len(images)) % CLASSES).backward()
        return logits.detach()

    def test_an_image_gives_one_logit_a_class(self) -> None:
        assert self.build()(self.images()).shape == (BATCH, CLASSES)
        assert model_named(self.name).takes(self.image[1])

    def test_latent_weights_start_with_standard_deviation_001(self) -> None:
        for name, layer in binary_layers(self.build()):
            weight = layer.get_parameter("weight").detach()
            # Four standard errors of the deviation of n normal values.
            assert abs(float(weight.std()) / 0.01 - 1) <= 4 / (2 * weight.numel()) ** 0.5, name

    def test_it_has_real_parameters_where_it_says_so(self) -> None:
        model = self.build()
        binary = {f"{name}.weight" for name, _ in binary_layers(model)}
        real = {name for name, _ in model.named_parameters()} - binary
        assert binary and bool(real) == model_named(self.name).real_parameters

    def test_every_parameter_takes_a_gradient(self) -> None:
        model = self.build()
        self.backward(model, self.images())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        for name, layer in binary_layers(model):
            gradient = layer.get_parameter("weight").grad
            assert gradient is not None and float(gradient.abs().sum()) > 0, name

    def test_evaluation_does_not_depend_on_the_other_images(self) -> None:
        model = self.build().double()
        model(self.images().double())  # moves the running statistics off their start
        model.eval()
        images = self.images().double()
        with torch.no_grad():
            together = model(images)
            alone = torch.cat([model(image) for image in images.split(1)])
        torch.testing.assert_close(alone, together, rtol=0, atol=1e-10)

    def test_packed_and_latent_weights_agree(self) -> None:
        for weight_scale in ("none", "layer", "channel"):
            latent = self.build(weight_scale=weight_scale).double()
            packed = copy.deepcopy(latent)
            received = {name: _Receiver() for name, _ in binary_layers(packed)}
            for name, layer in binary_layers(packed):
                layer.pack().consumer = received[name]
            images = self.images().double()
            # float64; a large packed layer sums over blocks of channels
            close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)
            close(self.backward(packed, images), self.backward(latent, images))
            for name, layer in binary_layers(latent):  # every latent lies within ±1: straight-through passes all
                close(received[name].grad, layer.get_parameter("weight").grad)
            expected = dict(latent.named_parameters())
            for name, parameter in packed.named_parameters():
                close(parameter.grad, expected[name].grad)

    def test_packed_activations_change_no_logit_and_no_gradient_beyond_rounding(self) -> None:
        stock = self.build().double()
        packed = copy.deepcopy(stock)
        set_activation_memory(packed, "packed")
        images = self.images().double()
        close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)  # float64; sums in another order
        close(self.backward(packed, images), self.backward(stock, images))
        expected = dict(stock.named_parameters())
        for name, parameter in packed.named_parameters():
            close(parameter.grad, expected[name].grad)

    def test_every_method_trains_it_with_stock_and_packed_activations(self) -> None:
        settings = {setting.name for setting in model_named(self.name).settings}
        options = {name: value for name, value in self.options.items() if name in settings}
        for method in METHODS.all().values():
            for memory in ("stock", "packed"):
                chosen = {"algorithm": method.name, "activation_memory": memory, "model": self.name, "lr": 0.01}
                learner = learner_of(*self.image, {**options, **chosen})
                before = signs(learner.model)
                flips = train(learner, *self.image, 2)
                assert all(torch.isfinite(tensor).all() for tensor in learner.model.state_dict().values()), method.name
                if not method.flips:
                    assert flips == [0, 0] and all(torch.equal(before[k], v) for k, v in signs(learner.model).items())


class _Receiver:
    """Keeps the whole gradient that a packed layer hands on block by block."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []

    @property
    def grad(self) -> Tensor:
        return torch.cat(self.blocks)

    def start(self) -> bool:
        self.blocks = []
        return False

    def look(self, rows: slice, grad: Tensor) -> None:
        """Not asked for."""

    def take(self, rows: slice, grad: Tensor) -> None:
        self.blocks.append(grad.clone())

    def finish(self) -> None:
        """All blocks have come."""
