"""A pretrained file of one's own: the network it came from, whatever the model, or a message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainers.binary.layers import binary_layers
from trainers.content_names import content_digits
from trainers.errors import UserError
from trainers.models import build_model
from trainers.models.checkpoints import check_pretrained, load_pretrained
from trainers.models.pretrained_file import describe_own, save_pretrained

OPTIONS = {"in_features": 9, "hid_dim": 16, "depth": 3}
SETTINGS = {"hid_dim": 16, "depth": 3, "approx": "STE", "weight_scale": "none"}
ABOUT = {"dataset": "Digits", "classes": "..4", "val_accuracy": 0.75}


def build(name: str, classes: int = 4, **options: Any) -> nn.Module:
    return build_model(name, classes, **{**OPTIONS, **options})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., tuple[Path, nn.Module]]:
    def write(name: str = "RealHeadMLP", scale: str = "none") -> tuple[Path, nn.Module]:
        torch.manual_seed(3)
        model = build(name, weight_scale=scale)
        model(torch.randn(20, 9))  # moves the running statistics off their start
        for _, layer in binary_layers(model):
            layer.pack()
        heads = ("fc.",) if name == "RealHeadMLP" else ("classifier.0.", "classifier.1.")
        return save_pretrained(tmp_path, f"Digits-{name}", model, name, SETTINGS, heads, ABOUT), model.eval()

    return write


@pytest.mark.parametrize("name", ["RealHeadMLP", "MLP"])
def test_what_was_trained_comes_back_under_a_new_head(name: str, write: Callable[..., Any]) -> None:
    path, trained = write(name)
    model = build(name, classes=7)
    report = load_pretrained(model, path)
    assert report.origin == f"{name} pretrained on Digits (classes ..4), validation accuracy 75.0 %"
    assert report.signs_only and report.replaced_heads
    images = torch.randn(5, 9)
    features = [network.feature(images) for network in (trained, model.eval())]
    assert features[0].equal(features[1])
    magnitudes = {float(value) for value in model.feature[0].weight.detach().abs().unique()}
    assert magnitudes == {float(torch.tensor(0.01))}


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_a_weight_scale_comes_back_as_the_latents_magnitude(scale: str, write: Callable[..., Any]) -> None:
    path, trained = write(scale=scale)
    model = build("RealHeadMLP", weight_scale="channel")
    report = load_pretrained(model, path)
    assert not report.signs_only and not report.sign_layers
    images = torch.randn(5, 9)
    torch.testing.assert_close(model.eval().feature(images), trained.feature(images))


def test_the_files_name_says_what_is_in_it(write: Callable[..., Any]) -> None:
    path, _ = write()
    assert write()[0] == path and content_digits(path) is not None
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is not what it was when it was written .* get the file again"):
        check_pretrained(build("RealHeadMLP"), path)


def test_another_model_or_another_shape_is_refused_by_name(write: Callable[..., Any]) -> None:
    path, _ = write()
    with pytest.raises(UserError, match="is a pretrained RealHeadMLP, not a MLP"):
        check_pretrained(build("MLP"), path)
    with pytest.raises(UserError, match=r"(?s)it is a RealHeadMLP of hid_dim 16, depth 3.*missing .*feature.0.weight"):
        check_pretrained(build("RealHeadMLP", in_features=8), path)


def test_binary_weights_take_one_bit_each(write: Callable[..., Any]) -> None:
    path, model = write()
    described = describe_own(path)
    assert described is not None and described["about"] == ABOUT
    assert {value.dtype for name, value in model.state_dict().items() if name.endswith("weight_bits")} == {torch.uint8}
