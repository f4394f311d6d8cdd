"""The networks compute what the published code computed: logits, loss and every gradient, in float64."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers.binary.bits import sgn
from trainers.binary.layers import binary_layers
from trainers.models import build_model

# Both sides work in float64, where sums of this length in another order differ by about 1e-10.
TOLERANCE = 1e-8

CASES = [
    pytest.param("AdamBNN", "adambnn_101", "adambnn_101", 101, (4, 3, 64, 64), id="adambnn_101"),
    pytest.param("BCDNet", "bcdnet_37", "bcdnet_37", 37, (4, 3, 64, 64), id="bcdnet_37"),
    # Slow for its memory: a gigabyte beside what the process holds already.
    pytest.param(
        "BCDNet", "bcdnet_37_128", "bcdnet_37", 37, (4, 3, 128, 128), marks=pytest.mark.slow, id="bcdnet_37_128"
    ),
    pytest.param("MLP", "mlp_256x4", "mlp_256x4", 10, (8, 3, 32, 32), id="mlp_256x4"),
]


def published(name: str, num_classes: int) -> nn.Module:
    options: dict[str, Any] = {"in_features": 3072, "hid_dim": 256, "depth": 4} if name == "MLP" else {}
    return build_model(name, num_classes=num_classes, **options)


def reference_value(name: str, shape: torch.Size, binary: bool) -> Tensor:
    """The fill that the vectors were computed with (see the folder's README)."""
    v = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if binary:
        return sgn(v)
    if "prelu" in name:
        return 0.25 + 0.05 * v
    if name.startswith("fc."):
        return 0.03 * v
    if "bn" in name and name.endswith("weight"):
        return 1 + 0.1 * v
    return 0.1 * v


@pytest.mark.parametrize(("name", "vectors", "layout", "num_classes", "shape"), CASES)
def test_logits_and_gradients_equal_the_published_codes(
    name: str, vectors: str, layout: str, num_classes: int, shape: tuple[int, ...], shared_dir: Path
) -> None:
    expected = np.load(shared_dir / "reference" / "models" / f"{vectors}.npz")
    model = published(name, num_classes)
    binary = {f"{layer}.weight" for layer, _ in binary_layers(model)}
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(reference_value(parameter_name, parameter.shape, parameter_name in binary))
    model.double().train()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7)).double()
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, torch.arange(shape[0]) % 7)
    loss.backward()

    def close(actual: Tensor, key: str) -> None:
        np.testing.assert_allclose(actual.detach().numpy(), expected[key], rtol=0, atol=TOLERANCE, err_msg=key)

    close(logits, "logits")
    close(loss, "loss")
    checked = 2
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        close(parameter.grad.norm(), f"grad_norm.{parameter_name}")
        close(parameter.grad.flatten()[:4], f"grad_head.{parameter_name}")
        checked += 2
    assert checked == len(expected.files)


@pytest.mark.parametrize(
    ("name", "layout", "num_classes"),
    [("AdamBNN", "adambnn_101", 101), ("BCDNet", "bcdnet_37", 37), ("MLP", "mlp_256x4", 10)],
)
def test_parameters_have_the_published_names_shapes_and_order(
    name: str, layout: str, num_classes: int, shared_dir: Path
) -> None:
    with torch.device("meta"):
        model = published(name, num_classes)
    binary = {f"{layer}.weight" for layer, _ in binary_layers(model)}
    ours = [
        {"name": parameter, "shape": list(tensor.shape), "binary": parameter in binary}
        for parameter, tensor in model.named_parameters()
    ]
    assert ours == json.loads((shared_dir / "reference" / "models" / f"{layout}.parameters.json").read_text())
