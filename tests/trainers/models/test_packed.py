"""A model saved with 1 bit a weight predicts what it predicted before, weighs what it should, and is read with care."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.binary.layers import binary_layers
from trainers.binary.weights import PackedWeight
from trainers.errors import UserError
from trainers.models.packed import (
    DESCRIPTION,
    WEIGHTS,
    ModelDescription,
    load_packed,
    restored_model,
    save_packed,
)

MODELS: dict[str, dict[str, Any]] = {
    "MLP": {"options": {"hid_dim": 50, "depth": 3}, "image_size": 9, "channels": 1},
    "AdamBNN": {"options": {"width": 0.25}, "image_size": 32, "channels": 3},
    "BCDNet": {"options": {"width": 0.25}, "image_size": 32, "channels": 1},
}


def description(model: str = "MLP", classes: int = 7, weight_scale: str = "none", **changes: Any) -> ModelDescription:
    settings = {**MODELS[model], **changes}
    return ModelDescription(
        model=model,
        mean=(0.4,) * settings["channels"],
        std=(0.3,) * settings["channels"],
        class_names=tuple(f"class {index}" for index in range(classes)),
        dataset="invented",
        origin={"trial_id": "none"},
        **{**settings, "options": {**settings["options"], "weight_scale": weight_scale}},
    )


def images(about: ModelDescription, count: int = 6) -> Tensor:
    shape = (count, about.channels, about.image_size, about.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def trained(about: ModelDescription) -> nn.Module:
    """A latent model whose running statistics and real parameters are no longer those it was built with."""
    torch.manual_seed(0)
    model = about.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        model.train()(images(about))
    return model.eval()


def packed(about: ModelDescription) -> nn.Module:
    return restored_model(about, trained(about).state_dict(), "memory")


def saved(folder: Path, about: ModelDescription | None = None) -> Path:
    about = about or description()
    return save_packed(folder / "model", packed(about), about)


def edit(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("weight_scale", ["none", "layer", "channel"])
@pytest.mark.parametrize("model", MODELS)
def test_loaded_logits_are_the_packed_models_bit_for_bit_and_the_latent_ones(
    model: str, weight_scale: str, tmp_path: Path
) -> None:
    """To the bit also the latent MLP's; convolutional units on bits, fused, round otherwise than stock modules."""
    about = description(model, weight_scale=weight_scale)
    latent = trained(about)
    in_memory = restored_model(about, latent.state_dict(), "memory").eval()
    with torch.no_grad():
        expected, stock = in_memory(images(about)), latent(images(about))
    save_packed(tmp_path / "model", in_memory, about)
    loaded, read = load_packed(tmp_path / "model")
    logits = loaded(images(about))
    assert torch.equal(logits, expected)
    if model == "MLP":
        assert torch.equal(logits, stock)
    torch.testing.assert_close(logits, stock, rtol=1e-5, atol=1e-5)
    assert read == about
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_packed_state_is_taken_over_as_it_is() -> None:
    about = description(weight_scale="channel")
    first = packed(about)
    second = restored_model(about, first.state_dict(), "memory")
    assert torch.equal(first(images(about)), second(images(about)))
    for name, tensor in second.state_dict().items():
        assert tensor.data_ptr() == first.state_dict()[name].data_ptr(), f"{name} was copied"


class LargestFloat(TorchDispatchMode):
    """Notes the elements of the largest float tensor that any operation makes in memory."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.device.type != "meta":
                self.elements = max(self.elements, tensor.numel())
        return made


def test_adambnn_with_101_classes_weighs_under_5_megabytes_and_is_never_floats_when_loaded(tmp_path: Path) -> None:
    about = description("AdamBNN", classes=101, options={"width": 1.0}, image_size=128)
    torch.manual_seed(0)
    with LargestFloat() as control:
        latent = about.build().state_dict()
    assert control.elements >= 9 * 1024 * 1024, "what is watched for would be seen"
    folder = save_packed(tmp_path / "model", restored_model(about, latent, "memory"), about)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    with LargestFloat() as largest:
        model, _ = load_packed(folder)
    held = [*model.parameters(), *model.buffers()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) < 5_000_000
    # The largest real tensor that there should be is the head's, 101 classes of 1024 features.
    assert largest.elements <= 101 * 1024
    assert sum(layer.store.shape.numel() for _, layer in binary_layers(model)) == 28_253_184


def test_nothing_that_only_training_needs_is_saved(tmp_path: Path) -> None:
    about = description("AdamBNN", weight_scale="channel")
    folder = saved(tmp_path, about)
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION, WEIGHTS]
    model, _ = load_packed(folder)
    for name, layer in binary_layers(model):
        assert isinstance(layer.store, PackedWeight)
        own = {key.removeprefix(f"{name}.") for key in model.state_dict() if key.startswith(f"{name}.")}
        assert own == {"weight_bits", "weight_scale"}


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b")
    for name in (WEIGHTS, DESCRIPTION):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_latent_layers_are_not_saved_as_packed(tmp_path: Path) -> None:
    about = description()
    with pytest.raises(RuntimeError, match=r"feature\.0 is not packed"):
        save_packed(tmp_path / "model", trained(about), about)


def test_what_is_there_is_replaced_only_if_asked_for_and_only_if_it_is_a_packed_model(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    other = description(weight_scale="channel")
    with pytest.raises(UserError, match="holds a packed model already"):
        save_packed(folder, packed(other), other)
    assert load_packed(folder)[1] == description()
    save_packed(folder, packed(other), other, replace=True)
    assert load_packed(folder)[1] == other
    (folder / "notes.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        save_packed(folder, packed(other), other, replace=True)
    with pytest.raises(UserError, match="is a file"):
        save_packed(folder / "notes.txt", packed(other), other, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "leftovers"


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    load_packed(saved(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "leftovers"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    other = description(weight_scale="channel")
    for place in (folder, tmp_path / "new"):
        with pytest.raises(UserError, match="cannot be written \\(No space left on device\\)"):
            save_packed(place, packed(other), other, replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "leftovers"


def truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def fill_with_noise(folder: Path) -> None:
    noise = bytes(range(256))
    (folder / WEIGHTS).write_bytes(noise)
    edit(folder, weights_sha256=hashlib.sha256(noise).hexdigest())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut short": (truncate, "is damaged or belongs to another model.json"),
    "one bit flipped": (flip_a_bit, "is damaged or belongs to another model.json"),
    "weights gone": (lambda folder: (folder / WEIGHTS).unlink(), r"weights.safetensors cannot be read \(No such file"),
    "no safetensors file": (fill_with_noise, "is no safetensors file"),
    "description gone": (lambda folder: (folder / DESCRIPTION).unlink(), r"model.json cannot be read \(No such file"),
    "no JSON": (lambda folder: (folder / DESCRIPTION).write_text("{"), "does not describe a packed model"),
    "a list": (lambda folder: (folder / DESCRIPTION).write_text("[]"), "does not describe a packed model"),
    "an unknown field": (lambda folder: edit(folder, colour="red"), "does not describe a packed model"),
    "a later format": (lambda folder: edit(folder, format="binsfo-model-2"), "this release reads binsfo-model-1"),
    "another width": (lambda folder: edit(folder, options={"hid_dim": 51, "depth": 3}), "of another shape or type"),
    "deeper": (lambda folder: edit(folder, options={"hid_dim": 50, "depth": 4}), r"feature.6.weight_bits.* missing"),
    "shallower": (lambda folder: edit(folder, options={"hid_dim": 50, "depth": 2}), r"feature.3.weight_bits.* unexpec"),
    "more classes": (
        lambda folder: edit(folder, class_names=["a"] * 8),
        r"classifier.0.weight_bits \(7, 7\) torch.uin",
    ),
    "an unknown option": (lambda folder: edit(folder, options={"hid": 50}), "MLP has no option hid"),
    "classes as option": (lambda folder: edit(folder, options={"num_classes": 3}), "class names decide it"),
    "options as a list": (lambda folder: edit(folder, options=[]), "options .* are no mapping"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_said_plainly(damage: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    do, message = DAMAGE[damage]
    do(folder)
    with pytest.raises(UserError, match=message):
        load_packed(folder)


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    about = description()
    state = trained(about).state_dict()
    state["classifier.1.running_var"][2] = torch.nan
    with pytest.raises(UserError, match=r"memory does not hold the described MLP: classifier\.1\.running_var not fin"):
        restored_model(about, state, "memory")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "MPL"}, "model 'MPL' is unknown"),
        ({"model": "AdamBNN", "image_size": 40}, "AdamBNN cannot take images of 40x40"),
        ({"channels": 2}, "channels 2 is not 1"),
        ({"mean": (0.1, 0.2)}, "is not 1 finite numbers"),
        ({"mean": (float("nan"),)}, "is not 1 finite numbers"),
        ({"std": (0.0,)}, "is not 1 finite positive numbers"),
        ({"class_names": ()}, "give at least one"),
        ({"class_names": "cat"}, "not one text a class"),
        ({"class_names": (1, 2)}, "not one text a class"),
    ],
)
def test_a_description_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    fields = {name: getattr(description(), name) for name in ModelDescription.__dataclass_fields__}
    with pytest.raises(UserError, match=message):
        ModelDescription(**{**fields, **changes})


def test_black_and_white_of_deep_greys_go_with_the_model(tmp_path: Path) -> None:
    about = description(grey_ranges={"integer": (0, 4095)})
    save_packed(tmp_path / "model", restored_model(about, about.build().state_dict(), "memory"), about)
    _, read = load_packed(tmp_path / "model")
    low, high = read.grey_ranges["integer"]
    assert (low, high) == (0, 4095)
    with pytest.raises(UserError, match=r"grey_ranges: integer .* is no range"):
        description(grey_ranges={"integer": (1, 0)})
