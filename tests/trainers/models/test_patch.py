"""A patch and its pretrained file are the whole export, to the bit; with another file they are a message."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainers.binary.layers import binary_layers
from trainers.errors import UserError
from trainers.models.described import ModelDescription
from trainers.models.packed import load_packed, save_packed
from trainers.models.patch import save_patch
from trainers.models.pretrained_file import save_pretrained

NAMES = ("a", "b", "c")


def description(model: str = "RealHeadMLP", scale: str = "none", hid_dim: int = 64, **changes: Any) -> ModelDescription:
    options = {"hid_dim": hid_dim, "depth": 3, "weight_scale": scale}
    return ModelDescription(model, options, 12, 1, (0.5,), (0.5,), NAMES, "invented", {"trial_id": "x"}, **changes)


def packed(about: ModelDescription, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = about.build()
    model(torch.randn(20, 1, 12, 12))
    for _, layer in binary_layers(model):
        layer.pack()
    return model.eval()


def fine_tuned(model: nn.Module, share: float = 0.01) -> nn.Module:
    """Some bits flip, statistics and head move."""
    generator = torch.Generator().manual_seed(8)
    for _, layer in binary_layers(model):
        positive = layer.store.positive(slice(None))
        layer.store.write(slice(None), positive ^ (torch.rand(positive.shape, generator=generator) < share))
    for name, value in model.state_dict().items():
        if name.startswith("fc.") or name.endswith("running_mean"):
            value.add_(torch.randn(value.shape, generator=generator))
    return model


def base_of(folder: Path, about: ModelDescription, seed: int = 0, heads: tuple[str, ...] = ("fc.",)) -> Path:
    model = packed(about, seed)
    return save_pretrained(folder, "base", model, about.model, dict(about.options), heads, {"dataset": "invented"})


@pytest.mark.parametrize("scale", ["none", "layer", "channel"])
@pytest.mark.parametrize(("name", "heads"), [("RealHeadMLP", ("fc.",)), ("MLP", ("classifier.0.", "classifier.1."))])
def test_file_and_patch_are_the_whole_export_to_the_bit(
    name: str, heads: tuple[str, ...], scale: str, tmp_path: Path
) -> None:
    about = description(name, scale)
    base = base_of(tmp_path, about, heads=heads)
    model = fine_tuned(packed(about, 0))
    save_packed(tmp_path / "whole", model, about)
    patch, _ = save_patch(tmp_path / "patch", model, about, base)
    (whole, told), (patched, told_of_patch) = load_packed(tmp_path / "whole"), load_packed(base, patch)
    assert told == told_of_patch == about
    assert whole.state_dict().keys() == patched.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert value.dtype == patched.state_dict()[key].dtype and value.equal(patched.state_dict()[key]), key
    images = torch.randn(4, 1, 12, 12)
    assert whole(images).equal(patched(images))


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    about = description()
    base, other = base_of(tmp_path, about), base_of(tmp_path / "other", about, seed=1)
    patch, _ = save_patch(tmp_path / "patch", fine_tuned(packed(about, 0)), about, base)
    with pytest.raises(UserError, match=f"is a patch of {base.name} .* and {other} is another file"):
        load_packed(other, patch)
    with pytest.raises(UserError, match="does not exist"):
        load_packed(tmp_path / "nothing.safetensors", patch)
    with pytest.raises(UserError, match="it is a patch, and needs the pretrained file"):
        load_packed(patch)


def test_a_patch_counts_flips_and_leaves_out_what_did_not_move(tmp_path: Path) -> None:
    about = description(hid_dim=512)
    base = base_of(tmp_path, about)
    start = packed(about, 0)
    _, none = save_patch(tmp_path / "same", start, about, base)
    head = sum(value.numel() * 4 for name, value in start.state_dict().items() if name.startswith("fc."))
    assert (none.flips, none.flip_bytes, none.other_bytes) == (0, 0, head)
    patch, size = save_patch(tmp_path / "patch", fine_tuned(start), about, base)
    assert size.weights == 512 * (144 + 2 * 512) and size.flips == pytest.approx(0.01 * size.weights, rel=0.1)
    assert 8 * size.flip_bytes / size.weights == pytest.approx(0.081, abs=0.004)
    written = (patch / "weights.safetensors").stat().st_size
    assert written < size.flip_bytes + size.other_bytes + 2000 < size.weights / 8 / 3


def test_a_patch_that_says_too_little_or_too_much_is_refused(tmp_path: Path) -> None:
    import hashlib
    import json

    from safetensors.torch import load_file, save_file

    about = description()
    base = base_of(tmp_path, about)
    patch, _ = save_patch(tmp_path / "patch", fine_tuned(packed(about, 0)), about, base)
    weights, told = patch / "weights.safetensors", json.loads((patch / "model.json").read_text())
    tensors = load_file(weights)

    def read(changed: dict[str, Any], flips: Any) -> None:
        save_file(changed, weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        (patch / "model.json").write_text(json.dumps({**told, "weights_sha256": digest, "flips": flips}))
        load_packed(base, patch)

    bits = packed(about, 0).state_dict()["feature.0.weight_bits"]
    for changed, flips, message in (
        ({name: value for name, value in tensors.items() if name != "fc.bias"}, told["flips"], "fc.bias"),
        ({name: value for name, value in tensors.items() if name != "flips"}, told["flips"], "holds no flips"),
        ({**tensors, "feature.0.weight_bits": bits}, told["flips"], "feature.0.weight_bits"),
        ({**tensors, "extra": bits}, told["flips"], "extra unexpected"),
        (tensors, told["flips"][1:], "is no patch"),
        (tensors, [*told["flips"], told["flips"][0]], "is no patch"),
        (tensors, [{**told["flips"][0], "layer": "fc"}, *told["flips"][1:]], "of no layer of the pretrained file"),
    ):
        with pytest.raises(UserError, match=message):
            read(changed, flips)
