"""The GPU's flips are the CPU's, bit for bit; without a GPU the kernels run through Triton's interpreter."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, and where a kernel is defined
pytest.importorskip("triton", reason="Triton comes with torch's CUDA build, or with the test extra on Linux")

from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.counters import pack_counters
from trainers.binary.kernels import flips, gpu_flips
from trainers.binary.kernels.philox import key_of
from trainers.methods.inertia import threshold

pytestmark = [pytest.mark.integration, pytest.mark.cuda]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KEY = key_of(2**62 + 2**31 + 77)  # words of the upper half, which a signed number does not hold
TEMPERATURE = 0.7


@pytest.mark.parametrize("counter_bits", [0, 2, 3, 4, 8])
@pytest.mark.parametrize("mask_type", ["EWM", "WPM", "RAND"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 64, 3, 3), (3, 2100)])
def test_flips_counters_and_moments_are_the_cpus(shape: tuple[int, ...], mask_type: str, counter_bits: int) -> None:
    draws = torch.Generator().manual_seed(3)
    positive = torch.rand(shape, generator=draws) < 0.5
    here, counters = pack_bits(positive), None
    if counter_bits:
        limit = threshold(counter_bits)
        values = torch.randint(-limit, limit, shape, generator=draws, dtype=torch.int8)
        counters = pack_counters(values, counter_bits).clone()
    there, counters_there = here.to(DEVICE, copy=True), counters if counters is None else counters.to(DEVICE, copy=True)
    for step in (0, 1, 2**32 + 5):
        grad = torch.randn(shape, generator=draws)
        grad[torch.rand(shape, generator=draws) < 0.1] = 0.0
        event = flips.Event(mask_type, TEMPERATURE, KEY, step)
        count, moments = flips.flip_channels(here, grad, 4, event, counters, counter_bits)
        counts, moments_there = gpu_flips.flip_channels(
            there, grad.to(DEVICE), 4, flips.KINDS[mask_type], torch.tensor(TEMPERATURE, device=DEVICE), KEY, step,
            counters_there, counter_bits,
        )  # fmt: skip
        assert torch.equal(here, there.cpu())
        assert count == int(counts.sum())
        assert torch.allclose(moments, moments_there.cpu(), rtol=1e-12, atol=1e-12)
        if counters is not None and counters_there is not None:
            assert torch.equal(counters, counters_there.cpu())


def test_a_draw_of_zero_is_as_large_as_on_the_cpu() -> None:
    grad = torch.full((1, 64), 1e-9)
    there = pack_bits(grad > 0).to(DEVICE)
    # The draw of column 56 is zero: see the CPU's tests.
    where = (grad.to(DEVICE), 4913, flips.KINDS["EWM"], torch.tensor(1.0, device=DEVICE), key_of(77), 33)
    counts, _ = gpu_flips.flip_channels(there, *where, None, 0)
    assert int(counts.sum()) == 0


def test_kernels_are_tried_out_against_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flips.agrees(gpu_flips, DEVICE)
    right = gpu_flips.flip_channels
    monkeypatch.setattr(gpu_flips, "flip_channels", lambda bits, *others: right(bits.clone(), *others))
    assert not flips.agrees(gpu_flips, DEVICE)


def test_kernels_that_are_wrong_or_missing_are_not_used_and_that_is_said() -> None:
    assert kernels.tried("gpu_flips", lambda module: True, "it is slow") is gpu_flips
    with pytest.warns(UserWarning, match=r"it is slow on this GPU.*other results than the CPU"):
        assert kernels.tried("gpu_flips", lambda module: False, "it is slow") is None
    with pytest.warns(UserWarning, match="No module named"):
        assert kernels.tried("no_such", lambda module: True, "it is slow") is None
