"""BOLD's accumulator against a twin in plain floats, in each of its precisions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.binary.counters import unpack_counters
from trainers.binary.kernels.philox import ROUNDING, uniform, words_reference
from trainers.config import TrialConfig
from trainers.methods.bold import BoldLayer, largest
from trainers.testing import MLP_IMAGE, RuleContract, train

SHAPE = torch.Size((7, 11))


def layer(bits: int, eta: float = 1.0, shape: torch.Size = SHAPE) -> BoldLayer:
    config = TrialConfig("Digits", "MLP", "bold", bold_bits=bits, bold_eta=eta)
    return BoldLayer(config, "layer", torch.zeros(shape))


def step(rule: BoldLayer, number: int, positive: Tensor, grad: Tensor) -> Tensor:
    rule.start(0.1, number)
    after = torch.cat([rule.update(slice(i, i + 1), positive[i : i + 1], grad[i : i + 1]) for i in range(len(grad))])
    rule.finish()
    return after


def reference(
    weight: Tensor, m: Tensor, grad: Tensor, beta: float, eta: float, scale: float, draws: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    """One step in floats: w, m in units of 1/scale, and the next beta. `draws`: of stochastic rounding, if any."""
    m = beta * m + scale * eta * grad
    if draws is not None:
        m = torch.floor(m + draws).clamp(-scale, scale)
    flip = m * weight >= scale
    return torch.where(flip, -weight, weight), torch.where(flip, 0.0, m), 1 - float(flip.float().mean())


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_it_does_what_its_formula_says(bits: int) -> None:
    rule, noise = layer(bits, eta=2.0), torch.Generator().manual_seed(3)
    positive = torch.rand(SHAPE, generator=noise) < 0.5
    weight, m, beta = torch.where(positive, 1.0, -1.0), torch.zeros(SHAPE), 1.0
    scale = 1.0 if bits == 32 else float(largest(bits))
    flips = 0
    for number in range(12):
        grad = 0.3 * torch.randn(SHAPE, generator=noise)
        words = words_reference(rule.key, number, ROUNDING, slice(0, SHAPE[0]), SHAPE[1], torch.device("cpu"))
        draws = None if bits == 32 else uniform(words)
        before = weight
        weight, m, beta = reference(weight, m, grad, beta, 2.0, scale, draws)
        positive = step(rule, number, positive, grad)
        flips += int((weight != before).sum())
        assert torch.equal(positive, weight > 0)
        kept = rule.accumulator if bits == 32 else unpack_counters(rule.accumulator, SHAPE, bits).float()
        torch.testing.assert_close(kept, m, rtol=1e-6, atol=1e-6)
        assert rule.scalars()["beta"] == pytest.approx(beta)
    assert flips > 20


def test_four_bits_are_four_bits() -> None:
    shape = torch.Size((16, 64))
    assert [layer(bits, shape=shape).accumulator.nbytes for bits in (32, 8, 4)] == [4096, 1024, 512]


@pytest.mark.parametrize("bits", [8, 4])
def test_whole_numbers_saturate_and_small_steps_are_not_lost(bits: int) -> None:
    shape = torch.Size((100, 400))
    rule, positive = layer(bits, shape=shape), torch.ones(shape, dtype=torch.bool)
    small = -0.1 / largest(bits)  # a tenth of a unit, for the weights as they are
    step(rule, 0, positive, torch.full(shape, small))
    mean = float(unpack_counters(rule.accumulator, shape, bits).float().mean())
    assert mean == pytest.approx(-0.1, abs=5 * 0.3 / shape.numel() ** 0.5)  # five standard errors
    after = step(rule, 1, positive, torch.full(shape, -50.0))
    assert torch.equal(after, positive)
    assert set(unpack_counters(rule.accumulator, shape, bits).unique().tolist()) == {-largest(bits)}


def test_annealing_lets_variations_count_less() -> None:
    rule, positive = layer(32), torch.ones(SHAPE, dtype=torch.bool)
    rule.start(0.1, 0, annealing=0.25)
    assert torch.equal(rule.update(slice(0, 7), positive, torch.full(SHAPE, 0.8)), positive)
    assert float(rule.accumulator[0, 0]) == pytest.approx(0.2)


def test_beta_forgets_as_much_as_has_just_flipped() -> None:
    rule, positive = layer(32), torch.ones(SHAPE, dtype=torch.bool)
    grad = torch.full(SHAPE, 0.5)
    grad[:, 0] = 1.0
    after = step(rule, 0, positive, grad)
    assert torch.equal(after, grad < 1) and rule.beta == 1 - 1 / 11
    step(rule, 1, after, torch.zeros(SHAPE))
    assert float(rule.accumulator[0, 1]) == pytest.approx(0.5 * (1 - 1 / 11)) and float(rule.accumulator[0, 0]) == 0


@pytest.mark.parametrize("bits", [32, 8, 4])
class TestBold(RuleContract):
    @pytest.fixture(autouse=True)
    def _with(self, bits: int) -> None:
        self.settings: dict[str, Any] = {"algorithm": "bold", "bold_bits": bits, "bold_eta": 100.0}  # type: ignore[misc]

    def test_its_weights_flip(self) -> None:
        assert sum(train(self.learner(), *MLP_IMAGE, 3)) > 0
