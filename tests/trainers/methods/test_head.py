"""The lower control: the head learns, and nothing else."""

from typing import Any

import pytest
import torch
from torch import nn

from trainers.errors import UserError
from trainers.learner import Learner
from trainers.method import Method
from trainers.methods.head import head_of
from trainers.models import build_model
from trainers.registry import MODELS
from trainers.testing import CLASSES, CNN_IMAGE, MLP_IMAGE, learner_of, signs, train


def learner(**settings: Any) -> Learner:
    return learner_of(*CNN_IMAGE, {"model": "AdamBNN", "width": 0.125, "algorithm": "head", **settings})


@pytest.mark.parametrize("model", [model for model in MODELS.all().values() if model.real_parameters])
def test_the_head_is_what_gives_the_logits(model: Any) -> None:
    options = {**model.image_options(*CNN_IMAGE), **({"width": 0.25} if "width" in model.options else {})}
    found = head_of(build_model(model.name, 7, **options))
    assert found and all(len(parameter) == 7 for parameter in found)


@pytest.mark.parametrize("memory", ["stock", "packed"])
def test_nothing_moves_but_the_head_and_running_statistics(memory: str) -> None:
    one = learner(activation_memory=memory)
    head = {id(parameter) for parameter in head_of(one.model)}
    before, binary = {n: t.clone() for n, t in one.model.state_dict(keep_vars=True).items()}, signs(one.model)
    assert train(one, *CNN_IMAGE, 3) == [0, 0, 0]
    after = one.model.state_dict(keep_vars=True)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {id(after[name]) for name in moved} >= head
    others = {name for name in moved if id(after[name]) not in head}
    assert others and all("running_" in name or "num_batches" in name for name in others)
    assert all(torch.equal(binary[name], now) for name, now in signs(one.model).items())


def test_it_takes_less_memory_than_the_control_that_trains_all_that_is_real() -> None:
    from trainers.memory.predict import predict_step

    lower, upper = (
        predict_step(learner(algorithm=algorithm, batch_size=16).config, CLASSES, *CNN_IMAGE).total
        for algorithm in ("head", "frozen")
    )
    assert lower < 0.5 * upper


def test_where_nothing_is_real_nothing_learns() -> None:
    one = learner_of(*MLP_IMAGE, {"model": "MLP", "hid_dim": 16, "algorithm": "head"})
    before = signs(one.model)
    assert head_of(one.model) == [] and train(one, *MLP_IMAGE, 2) == [0, 0]
    assert all(torch.equal(before[name], now) for name, now in signs(one.model).items())


def test_a_rule_that_owns_all_parameters_leaves_none_to_choose_from() -> None:
    with pytest.raises(UserError, match="trains_real and an update_rule"):
        Method("both", "", update_rule=lambda *given: nn.Identity(), trains_real=head_of)
