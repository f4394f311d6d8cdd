"""ResNet18's units on packed bits, and its stem in chunks, compute what their plain twins do."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainers.models.twins import backward, moved
from trainers.binary import kernels
from trainers.binary.layers import binary_layers
from trainers.models.branch import INT16_LIMIT
from trainers.models.fused_preactivation import FusedPreactivation
from trainers.models.resnet18 import PreactivationUnit, Stem

CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64; sums over images run chunk by chunk

UNITS: list[dict[str, Any]] = [
    {"in_channels": 16, "out_channels": 16, "stride": 1, "projects": False},
    {"in_channels": 16, "out_channels": 16, "stride": 1, "projects": True},
    {"in_channels": 16, "out_channels": 32, "stride": 2, "projects": True},
    {"in_channels": 72, "out_channels": 40, "stride": 2, "projects": True},
]


@pytest.fixture(autouse=True)
def compiled() -> None:
    if kernels.compiled() is None:
        pytest.skip("numba does not compile here")


def assert_twins(module: nn.Module, x: Tensor) -> None:
    found, expected = backward(copy.deepcopy(module), x, packed=True), backward(module, x, packed=False)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


@pytest.mark.parametrize("chunk", [1, 1 << 18], ids=["one image", "many"])
@pytest.mark.parametrize("approx", ["STE", "ReSTE"])
@pytest.mark.parametrize("options", UNITS, ids=lambda o: "-".join(str(value) for value in o.values()))
def test_a_unit_on_bits_is_the_plain_one(
    options: dict[str, Any], approx: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    unit = moved(PreactivationUnit(**options, approx=approx))
    x = 2 * torch.randn(5, options["in_channels"], 7, 6).double()
    if chunk == 1:
        monkeypatch.setattr(
            FusedPreactivation, "chunks", lambda self, x: [slice(first, first + 1) for first in range(x.images)]
        )
    assert_twins(unit, x)


@pytest.mark.parametrize("kind", ["layer", "channel"])
def test_a_weight_scale_is_part_of_the_product(kind: str) -> None:
    torch.manual_seed(4)
    unit = moved(PreactivationUnit(**UNITS[2], approx="STE"))
    for _, layer in binary_layers(unit):
        layer.set_weight_scale(kind)
    assert_twins(unit, torch.randn(3, 16, 6, 6).double())


def test_norms_in_evaluation_mode_take_their_running_statistics() -> None:
    torch.manual_seed(5)
    unit = moved(PreactivationUnit(**UNITS[1], approx="STE")).eval()
    assert_twins(unit, torch.randn(3, 16, 6, 6).double())


def test_evaluation_runs_on_bits_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    unit = moved(PreactivationUnit(**UNITS[2], approx="STE")).eval()
    x = torch.randn(3, 16, 6, 6).double()
    with torch.no_grad():
        expected = unit(x)
        for _, layer in binary_layers(unit):
            layer.pack()
        monkeypatch.setattr(unit, "compute", None)
        torch.testing.assert_close(unit(x), expected, **CLOSE)


def test_products_too_large_for_sixteen_bits_are_not_for_kernels() -> None:
    with torch.device("meta"):
        unit = PreactivationUnit(INT16_LIMIT // 9 + 1, 8, 1, True, "STE")
    assert not unit.fused().fits(torch.zeros(1))


@pytest.mark.parametrize("side", [9, 16])
@pytest.mark.parametrize("training", [True, False])
def test_a_stem_in_chunks_is_the_plain_one(side: int, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(9)
    monkeypatch.setattr("trainers.models.chunked_stem.CHUNK_ELEMENTS", 1)
    stem = moved(Stem(3, 8, "imagenet")).train(training)
    assert_twins(stem, torch.randn(5, 3, side, side + 1).double())


def test_a_stem_that_evaluates_works_on_few_images_at_a_time_and_answers_the_same_bits() -> None:
    stem = moved(Stem(3, 64, "imagenet")).float().eval()
    images, together = torch.rand(9, 3, 64, 64) * 255, []
    stem.conv0.register_forward_hook(lambda _module, inputs, _z: together.append(len(inputs[0])))
    with torch.inference_mode():
        answers, whole = stem(images), stem.compute(images)
    assert torch.equal(answers, whole)
    assert together == [4, 4, 1, 9]
