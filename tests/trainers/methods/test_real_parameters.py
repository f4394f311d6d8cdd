"""Real parameters learn by one optimizer under every method, unless a study asks for the published ones."""

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from study.record.columns import configuration
from trainers import checkpoint
from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.learner import Learner
from trainers.memory.state import state_bits_per_weight
from trainers.methods.real_parameters import cosine_rate, optimizer_of, own_rate
from trainers.progress import Progress
from trainers.registry import METHODS, declared
from trainers.testing import CNN_IMAGE, learner_of, train

METHODS_TO_HOLD: list[dict[str, Any]] = [
    *({"algorithm": name} for name, method in METHODS.all().items() if not method.variant),
    {"algorithm": "real", "optimizer": "SGD"},
    {"algorithm": "real", "optimizer": "Adam"},
]


def learner(**settings: Any) -> Learner:
    return learner_of(*CNN_IMAGE, {"model": "AdamBNN", "width": 0.125, **settings})


def gradients_and_steps(one: Learner) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The real parameters' gradients in the first step, and by how much that step moved each."""
    binary = {id(latent) for _, layer in binary_layers(one.model) for latent in layer.parameters(recurse=False)}
    named = {n: p for n, p in one.model.named_parameters() if id(p) not in binary and p.requires_grad}
    before, found = {name: parameter.detach().clone() for name, parameter in named.items()}, dict[str, Tensor]()
    for name, parameter in named.items():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: found.update({name: p.grad.clone()}))
    train(one, *CNN_IMAGE, 1)
    return found, {name: (named[name].detach() - before[name]) for name in found}


@pytest.mark.parametrize("settings", METHODS_TO_HOLD, ids=lambda s: "-".join(s.values()))
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_every_method_moves_them_by_the_optimizer_that_is_given_and_not_by_lr(
    settings: dict[str, Any], optimizer: str
) -> None:
    found, moved = gradients_and_steps(learner(lr=0.7, real_optimizer=optimizer, real_lr=0.01, **settings))
    assert found
    for name, grad in found.items():
        expected = -0.01 * (grad / (grad.abs() + 1e-8) if optimizer == "Adam" else grad)  # Adam's first step
        # float32 parameters of about 1, from which a step of 0.01 is read
        torch.testing.assert_close(moved[name], expected, rtol=1e-3, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_published_lets_lr_train_them_by_each_methods_own_optimizer() -> None:
    rate = 0.1 * math.sqrt(4 / 96)
    for settings, by_adam in (
        ({"algorithm": "binary"}, False),
        ({"algorithm": "real", "optimizer": "SGD"}, False),
        ({"algorithm": "real", "optimizer": "Adam"}, True),
    ):
        found, moved = gradients_and_steps(learner(lr=0.1, real_optimizer="published", **settings))
        for name, grad in found.items():
            expected = -0.1 * grad / (grad.abs() + 1e-8) if by_adam else -rate * grad
            torch.testing.assert_close(moved[name], expected, rtol=1e-3, atol=1e-6)


def test_latents_keep_their_methods_own_optimizer_and_rate() -> None:
    for optimizer, bits in (("SGD", 32), ("Adam", 96)):
        for real in ("SGD", "Adam"):
            one = learner(algorithm="real", optimizer=optimizer, lr=0.5, real_optimizer=real, real_lr=1e-30)
            before = {name: layer.get_parameter("weight").detach().clone() for name, layer in binary_layers(one.model)}
            train(one, *CNN_IMAGE, 1)
            assert state_bits_per_weight(one) == pytest.approx(bits, abs=0.1)  # and a count of steps a layer
            after = {name: layer.get_parameter("weight") for name, layer in binary_layers(one.model)}
            assert all(not torch.equal(before[name], after[name]) for name in before)
            if optimizer == "Adam":
                largest = max(float((after[name].detach() - before[name]).abs().max()) for name in before)
                assert largest == pytest.approx(0.5, rel=1e-3)


def test_their_rate_falls_by_a_cosine_an_epoch_or_stays() -> None:
    config = TrialConfig("Digits", "AdamBNN", "frozen", epochs=4, real_lr=0.2)
    decayed = [0.2, 0.170711, 0.1, 0.029289]
    assert [cosine_rate(0.2, epoch, 4) for epoch in range(4)] == pytest.approx(decayed, rel=1e-4)
    assert [own_rate(config, epoch) for epoch in range(4)] == [cosine_rate(0.2, epoch, 4) for epoch in range(4)]
    assert [own_rate(config.replace(real_schedule="const"), epoch) for epoch in range(4)] == [0.2] * 4
    default = config.replace(real_lr=None)
    assert own_rate(default, 0) == 1e-3 and own_rate(default.replace(real_optimizer="SGD"), 0) == 0.1
    assert own_rate(default.replace(real_optimizer="published"), 0) is None
    assert own_rate(TrialConfig("Digits", "MLP", "frozen"), 0) is None


def test_published_takes_no_rate_and_no_course_of_their_own() -> None:
    for own in ({"real_lr": 0.1}, {"real_schedule": "cosine"}):
        with pytest.raises(UserError, match="beside real_optimizer published, under which lr trains"):
            TrialConfig("Digits", "AdamBNN", "binary", real_optimizer="published", **own)


def test_a_model_without_real_parameters_has_no_such_setting() -> None:
    assert not {name for name in TrialConfig("Digits", "MLP", "binary").to_dict() if name.startswith("real_")}
    with pytest.raises(UserError, match=r"real_lr is a setting of AdamBNN.*, which binary with MLP does not have"):
        TrialConfig("Digits", "MLP", "binary", real_lr=0.1)


def test_a_configuration_that_was_written_down_before_means_the_published_optimizers() -> None:
    now = TrialConfig("Digits", "AdamBNN", "binary", real_optimizer="published")
    then = {name: value for name, value in now.to_dict().items() if not name.startswith("real_")}
    assert TrialConfig.recorded(then) == now != TrialConfig.from_dict(then)
    assert TrialConfig.recorded(now.to_dict()) == now
    row = configuration(then)
    assert (row["real_optimizer"], row["real_lr"], row["real_schedule"]) == ("published", None, None)
    assert all(declared()[name].scope == "workload" for name in ("real_optimizer", "real_lr", "real_schedule"))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("real", ["SGD", "Adam"])
def test_a_checkpoint_holds_both_optimizers_states(optimizer: str, real: str, tmp_path: Path) -> None:
    settings = {"algorithm": "real", "optimizer": optimizer, "lr": 0.01, "real_optimizer": real}
    whole, resumed = learner(**settings), learner(**settings)
    train(whole, *CNN_IMAGE, 1)
    checkpoint.save(tmp_path, whole, Progress(steps_done=1), best=False)
    checkpoint.restore(tmp_path, resumed)
    assert train(whole, *CNN_IMAGE, 2, first=1) == train(resumed, *CNN_IMAGE, 2, first=1)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_checkpoint_of_before_is_refused_by_the_setting_that_has_come(tmp_path: Path) -> None:
    settings = {"algorithm": "frozen", "width": 0.125}
    earlier = learner(real_optimizer="published", **settings)
    checkpoint.save(tmp_path, earlier, Progress(), best=False)
    assert json.loads(checkpoint.read_checkpoint(checkpoint.last_checkpoint(tmp_path))[1]["config"])
    with pytest.raises(UserError, match="real_optimizer was 'published', is 'Adam'"):
        checkpoint.restore(tmp_path, learner(**settings))


@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_the_optimizer_is_torchs_own_bit_by_bit_and_reads_its_state(kind: str) -> None:
    """It differs in nothing but that it leaves torch's compiler alone."""
    start = torch.randn(7, 5, generator=torch.Generator().manual_seed(3))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    own, other = optimizer_of(kind, [ours], 0.01), getattr(torch.optim, kind)([theirs], lr=0.01)
    assert isinstance(own, type(other))
    for _ in range(4):
        for parameter, optimizer in ((ours, own), (theirs, other)):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
        assert torch.equal(ours, theirs)
        own.load_state_dict(deepcopy(other.state_dict()))  # tensors are taken as they are
        other.load_state_dict(deepcopy(own.state_dict()))
