"""The update rules against numbers that the published experiment code computed, to 1e-12."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.binary.functional import sign_activation
from trainers.binary.products import Convolution
from trainers.methods.bop import bop_update
from trainers.methods.masks import flip_probability, masked_update
from trainers.methods.temperature import TemperatureScheduler

RELATIVE = 1e-12  # float64 throughout: only the order of a few operations may differ


class Case:
    """One case of rules.json with its arrays as tensors."""

    def __init__(self, folder: Path, index: int) -> None:
        self.fields: dict[str, Any] = json.loads((folder / "rules.json").read_text())[index]
        with np.load(folder / "rules.npz") as arrays:
            prefix = f"{index}."
            self.arrays = {
                key[len(prefix) :]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith(prefix)
            }

    def __getattr__(self, name: str) -> torch.Tensor:
        return self.arrays[name]


@pytest.fixture
def cases(shared_dir: Path) -> Any:
    folder = shared_dir / "reference"
    kinds = [case["kind"] for case in json.loads((folder / "rules.json").read_text())]

    def of_kind(kind: str) -> list[Case]:
        found = [Case(folder, index) for index, name in enumerate(kinds) if name == kind]
        assert found
        return found

    return of_kind


def test_temperature_and_accumulator_follow_the_published_schedules(cases: Any) -> None:
    for case in cases("temperature"):
        scheduler = TemperatureScheduler(case.fields["scheduler"], accumulator=case.fields["initial_accumulator"])
        for std, temperature, after in zip(case.grad_std, case.temperature, case.accumulator_after, strict=True):
            assert scheduler.step(case.fields["lr"], float(std)) == pytest.approx(float(temperature), rel=RELATIVE)
            assert scheduler.accumulator == pytest.approx(float(after), rel=RELATIVE)


def test_flip_probability_is_the_published_one(cases: Any) -> None:
    for case in cases("probability"):
        p = flip_probability(case.fields["mask"], case.grad, case.weight, case.fields["temperature"])
        torch.testing.assert_close(p, case.probability, rtol=RELATIVE, atol=RELATIVE)


def test_masked_weight_takes_minus_sign_of_gradient(cases: Any) -> None:
    for case in cases("update"):
        p = flip_probability(case.fields["mask"], case.grad, case.weight, case.fields["temperature"])
        after = masked_update(case.weight > 0, case.grad, case.uniform < p)
        assert torch.equal(after, case.weight_after > 0)


def test_bop_flips_where_the_momentum_agrees_and_exceeds_the_threshold(cases: Any) -> None:
    for case in cases("bop"):
        positive, momentum = case.weight > 0, case.momentum.clone()
        for grad, after in zip(case.grads, case.weight_after, strict=True):
            positive = bop_update(positive, momentum, grad, case.fields["adaptivity_rate"], case.fields["threshold"])
            assert torch.equal(positive, after > 0)


def test_sign_activation_and_its_straight_through_gradient_are_exact(cases: Any) -> None:
    for case in cases("activation"):
        x = case.x.requires_grad_()
        y = sign_activation(x, case.fields["approx"])
        (grad_x,) = torch.autograd.grad(y, x, case.grad_out)
        assert torch.equal(y, case.y)
        assert torch.equal(grad_x, case.grad_x)


def test_convolution_and_its_adjoints_are_the_published_ones(cases: Any) -> None:
    for case in cases("conv"):
        operator = Convolution(case.fields["stride"], case.fields["padding"])
        tolerance = {"rtol": RELATIVE, "atol": 1e-11}  # sums of up to a few thousand terms of order 1
        torch.testing.assert_close(operator.forward(case.x, case.weight), case.y, **tolerance)
        torch.testing.assert_close(
            operator.input_gradient(case.grad_out, case.x, case.weight), case.grad_x, **tolerance
        )
        torch.testing.assert_close(
            operator.weight_gradient(case.grad_out, case.x, case.weight.shape), case.grad_weight, **tolerance
        )
