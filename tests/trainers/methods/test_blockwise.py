"""Moments in 8 bits against a twin that goes through them one by one, and the two rules that keep them."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.binary.kernels.philox import ROUNDING, uniform, words_reference
from trainers.config import TrialConfig
from trainers.methods.blockwise import BLOCK, Moments
from trainers.methods.bop_channel import BopChannelLayer
from trainers.methods.real_adam8 import Adam8Layer
from trainers.testing import MLP_IMAGE, RuleContract, train

SHAPE = torch.Size((3, 2 * BLOCK + 5))


def reference(values: Tensor, draws: Tensor, root: bool) -> Tensor:
    """What is read after `values` were written: entry by entry, in floats of 64 bits."""
    kept = torch.empty(values.shape, dtype=torch.float64)
    for row in range(len(values)):
        for first in range(0, values.shape[1], BLOCK):
            block = values[row, first : first + BLOCK].double()
            scale = float(block.abs().max())
            for place, value in enumerate(block.tolist(), start=first):
                share, r = (value / scale if scale else 0.0), float(draws[row, place])
                if root:
                    code = min(255, math.floor(255 * share**0.25 + r))
                    kept[row, place] = scale * (max(code, 1 if share > 0 else 0) / 255) ** 4
                else:
                    kept[row, place] = scale * max(-127, min(127, math.floor(127 * share + r))) / 127
    return kept


@pytest.mark.parametrize("root", [False, True])
def test_what_is_read_is_what_a_plain_twin_keeps(root: bool) -> None:
    noise = torch.Generator().manual_seed(4)
    values = torch.randn(SHAPE, generator=noise) * 10 ** torch.randn(SHAPE, generator=noise)
    values[0, :BLOCK] = 0  # a block of nothing
    values = values.square() if root else values
    draws = torch.rand(SHAPE, generator=noise)
    moments = Moments(SHAPE, torch.device("cpu"), root=root)
    for rows in (slice(0, 1), slice(1, 3)):
        moments.write(rows, values[rows], draws[rows])
    read, expected = moments.read(slice(None)).double(), reference(values, draws, root)
    # Where float32 rounds a share to the other side of a whole number, a code is one off.
    steps = (read - expected).abs() > 1e-5 * expected.abs()
    assert float(steps.float().mean()) < 0.003
    assert not read[0, :BLOCK].any() and not (root and (read[values > 0] == 0).any())


def test_eight_bits_are_eight_bits_and_a_scale_a_block() -> None:
    moments = Moments(torch.Size((4, 512)), torch.device("cpu"))
    assert (moments.codes.nbytes, moments.scales.nbytes) == (4 * 512, 4 * 2 * 4)


def test_a_moving_average_that_moves_less_than_a_code_a_step_arrives_all_the_same() -> None:
    moments, draws = Moments(torch.Size((1, BLOCK)), torch.device("cpu")), torch.Generator().manual_seed(1)
    moments.write(slice(None), torch.ones(1, BLOCK), torch.zeros(1, BLOCK))
    for _ in range(500):
        m = moments.read(slice(None)).mul_(0.999)
        m[:, 0] = 1.0  # holds the scale
        moments.write(slice(None), m, torch.rand(1, BLOCK, generator=draws))
    # Rounded to nearest, none would have moved: a step is 0.001, half a code 0.004.
    assert float(moments.read(slice(None))[0, 1:].mean()) == pytest.approx(0.999**500, abs=0.03)


def gradients(shape: torch.Size, steps: int) -> Iterator[Tensor]:
    noise = torch.Generator().manual_seed(9)
    means = torch.randn(shape, generator=noise)
    for _ in range(steps):
        yield 0.01 * (means + torch.randn(shape, generator=noise))


def test_bop_by_the_channel_flips_as_its_formula_says() -> None:
    shape = torch.Size((5, 300))
    rule = BopChannelLayer(TrialConfig("Digits", "MLP", "bop_channel", bop_deviations=0.2), "layer", torch.zeros(shape))
    positive = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.5
    m, v, flips = torch.zeros(shape, dtype=torch.float64), torch.zeros(5, 1, dtype=torch.float64), 0
    for number, grad in enumerate(gradients(shape, 15)):
        rule.start(0.1, number)
        after = torch.cat([rule.update(slice(i, i + 1), positive[i : i + 1], grad[i : i + 1]) for i in range(5)])
        m = 0.9 * m + 0.1 * grad.double()
        v = 0.99 * v + 0.01 * grad.double().square().mean(dim=1, keepdim=True)
        limit = 0.2 * (v / (1 - 0.99 ** (number + 1))).sqrt()
        expected = positive ^ ((m.abs() > limit) & ((m >= 0) == positive))
        near = ((m.abs() - limit).abs() < 1e-6 * limit) | (m.abs() < 1e-12)
        assert torch.equal(after[~near], expected[~near])
        words = words_reference(rule.key, number, ROUNDING, slice(0, 5), 300, torch.device("cpu"))
        m = reference(m.float(), uniform(words), root=False)
        kept = rule.momentum.read(slice(None)).double()
        assert float(((kept - m).abs() > 1e-5 * m.abs().max()).float().mean()) < 0.01
        m, flips, positive = kept, flips + int((after ^ positive).sum()), after
    assert flips > 100


def test_bop_by_the_channel_does_not_mind_the_size_of_a_layers_gradient() -> None:
    shape, found = torch.Size((5, 300)), []
    for size in (1.0, 1e-4):
        rule = BopChannelLayer(TrialConfig("Digits", "MLP", "bop_channel"), "layer", torch.zeros(shape))
        positive = torch.ones(shape, dtype=torch.bool)
        for number, grad in enumerate(gradients(shape, 6)):
            rule.start(0.1, number)
            positive = rule.update(slice(0, 5), positive, size * grad)
        found.append(positive)
    assert float((found[0] ^ found[1]).float().mean()) < 0.01 and not found[0].all()


def test_adam_in_eight_bits_stays_near_torchs() -> None:
    shape = torch.Size((4, 2 * BLOCK))
    start = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(6))
    rule = Adam8Layer(TrialConfig("Digits", "MLP", "real_adam8", lr=0.01), "layer", start)
    exact = torch.nn.Parameter(start.clone())
    adam = torch.optim.Adam([exact], lr=0.01)
    positive = start >= 0
    for number, grad in enumerate(gradients(shape, 60)):
        rule.start(123.0, number)  # the layer's rate is not Adam's
        positive = rule.update(slice(0, 4), positive, grad.clone())
        exact.grad = grad
        adam.step()
        assert torch.equal(positive, rule.latent >= 0)
        if number == 0:
            torch.testing.assert_close(rule.latent, exact.detach(), rtol=1e-4, atol=1e-6)
    moved, expected = rule.latent - start, exact.detach() - start
    assert float(torch.corrcoef(torch.stack([moved.flatten(), expected.flatten()]))[0, 1]) > 0.99
    assert float((moved - expected).abs().mean()) < 0.05 * float(expected.abs().mean())


def test_adam_in_eight_bits_passes_no_gradient_beyond_one() -> None:
    rule = Adam8Layer(TrialConfig("Digits", "MLP", "real_adam8", lr=0.01), "layer", torch.tensor([[0.5, 1.5, -1.5]]))
    rule.start(0.0, 0)
    rule.update(slice(0, 1), torch.tensor([[True, True, False]]), torch.ones(1, 3))
    torch.testing.assert_close(rule.latent, torch.tensor([[0.49, 1.5, -1.5]]))


@pytest.mark.parametrize(
    "settings", [{"algorithm": "bop_channel", "lr": 0.1}, {"algorithm": "real_adam8", "lr": 0.01}], ids=str
)
class TestBlockwise(RuleContract):
    @pytest.fixture(autouse=True)
    def _with(self, settings: dict[str, Any]) -> None:
        self.settings = settings  # type: ignore[misc]

    def test_its_weights_flip(self) -> None:
        assert sum(train(self.learner(), *MLP_IMAGE, 3)) > 0
