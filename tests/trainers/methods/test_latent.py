"""A latent weight of few bits against its twin on a grid of floats, and against the counters that it is akin to."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.binary.counters import unpack_counters
from trainers.binary.kernels.philox import ROUNDING, uniform, words_reference
from trainers.config import TrialConfig
from trainers.methods.inertia import counted_update
from trainers.methods.latent import LatentLayer, latent_update
from trainers.testing import MLP_IMAGE, RuleContract, train

SHAPE = torch.Size((7, 11))
BITS = [2, 4, 8]


def layer(bits: int, latent: Tensor, **settings: Any) -> LatentLayer:
    return LatentLayer(TrialConfig("Digits", "MLP", "latent", latent_bits=bits, **settings), "layer", latent)


def heights(rule: LatentLayer, positive: Tensor) -> Tensor:
    """h in units of Delta."""
    distance = unpack_counters(rule.distances, rule.shape, rule.bits) & rule.furthest
    return torch.where(positive, 1.0, -1.0) * (distance + 0.5)


@pytest.mark.parametrize("bits", BITS)
def test_it_is_sgd_on_a_grid_without_a_zero_rounded_stochastically(bits: int) -> None:
    noise = torch.Generator().manual_seed(3)
    latent = torch.randn(SHAPE, generator=noise)
    rule, positive, top = layer(bits, latent), latent >= 0, 2 ** (bits - 1) - 0.5
    assert rule.width == pytest.approx(2 * float(latent.abs().mean()) / 2 ** (bits - 1))
    height = heights(rule, positive)
    expected = latent.sign() * ((latent.abs() / rule.width).floor() + 0.5).clamp(max=top)
    assert torch.equal(height, expected)
    flips = 0
    for number in range(12):
        grad = torch.randn(SHAPE, generator=noise)
        words = words_reference(rule.key, number, ROUNDING, slice(0, SHAPE[0]), SHAPE[1], torch.device("cpu"))
        step = grad * (0.7 / rule.width)
        moved = grad.sign() * torch.ceil(step.abs() - uniform(words))
        height = (height - moved).clamp(-top, top)
        rule.start(0.7, number)
        before = positive
        positive = torch.cat([rule.update(slice(i, i + 1), before[i : i + 1], grad[i : i + 1]) for i in range(7)])
        assert torch.equal(positive, height > 0)
        assert torch.equal(heights(rule, positive), height)
        flips += int((positive ^ before).sum())
    assert flips > 10


@pytest.mark.parametrize("size", [0.01, 0.4, 2.3])
def test_a_step_is_its_size_on_average(size: float) -> None:
    draws = torch.rand(200_000, generator=torch.Generator().manual_seed(1))
    middle = torch.full(draws.shape, 60, dtype=torch.int8)
    for sign in (1, -1):
        step = torch.full(draws.shape, sign * size)
        _, distance = latent_update(torch.ones(draws.shape, dtype=torch.bool), middle, step, draws, 127)
        # five standard errors of a mean of numbers that are one apart
        assert float((60 - distance).float().mean()) == pytest.approx(sign * size, abs=5 * 0.5 / 200_000**0.5)


def test_two_bits_in_all_are_counters_of_two_bits_draw_for_draw() -> None:
    noise = torch.Generator().manual_seed(5)
    positive = torch.rand(SHAPE, generator=noise) < 0.5
    counters = torch.zeros(SHAPE, dtype=torch.int8)
    ours, theirs, distance = positive, positive, torch.zeros(SHAPE, dtype=torch.int8)
    flips = 0
    for _ in range(200):
        step, draws = 0.5 * torch.randn(SHAPE, generator=noise).clamp(-2, 2), torch.rand(SHAPE, generator=noise)
        before = ours
        ours, counters = counted_update(ours, counters, step, draws < step.abs(), limit=1)
        theirs, distance = latent_update(theirs, distance, step, draws, furthest=1)
        assert torch.equal(ours, theirs) and torch.equal(distance, -counters)
        flips += int((before ^ ours).sum())
    assert flips > 100


def test_more_bits_are_no_counters_for_a_flipped_weight_may_flip_back_at_once() -> None:
    positive, zero = torch.tensor([True]), torch.zeros(1, dtype=torch.int8)
    draws, up, down = torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([-1.0])
    after, distance = latent_update(positive, zero, up, draws, furthest=7)
    assert not after and latent_update(after, distance, down, draws, furthest=7)[0]
    flipped, counter = counted_update(positive, torch.full((1,), 6, dtype=torch.int8), up, positive, limit=7)
    assert not flipped and counter == 0
    for _ in range(6):
        flipped, counter = counted_update(flipped, counter, down, positive, limit=7)
        assert not flipped


@pytest.mark.parametrize("bits", BITS)
def test_a_file_of_signs_begins_in_the_middle_of_the_places(bits: int) -> None:
    latent = 0.01 * torch.where(torch.rand(64, 64, generator=torch.Generator().manual_seed(2)) < 0.5, 1.0, -1.0)
    rule = layer(bits, latent)
    assert (heights(rule, latent >= 0).abs() == 2 ** (bits - 2) + 0.5).all()


def test_weights_of_zero_are_plus_one_at_the_least_distance() -> None:
    rule = layer(4, torch.zeros(SHAPE))
    assert (heights(rule, torch.ones(SHAPE, dtype=torch.bool)) == 0.5).all() and rule.width == 1.0


def test_annealing_shortens_the_steps() -> None:
    rule = layer(4, torch.ones(SHAPE))
    rule.start(0.8, 3, annealing=0.25)
    assert rule.rate == pytest.approx(0.2)


@pytest.mark.parametrize("bits", BITS)
class TestLatent(RuleContract):
    @pytest.fixture(autouse=True)
    def _with(self, bits: int) -> None:
        self.settings: dict[str, Any] = {"algorithm": "latent", "latent_bits": bits, "lr": 10.0}  # type: ignore[misc]

    def test_its_weights_flip(self) -> None:
        assert sum(train(self.learner(), *MLP_IMAGE, 3)) > 0
