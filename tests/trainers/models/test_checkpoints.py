"""Pretrained files in the authors' layout: every tensor finds its place, or nothing is loaded and the message says why.

The files are synthetic: names, key, prefix, heads and company as the authors publish them, values random, width 0.25.
"""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.errors import UserError
from trainers.models import build_model
from trainers.models.checkpoints import check_pretrained, load_pretrained

WIDTH = 0.25
CHANNELS = 256  # before the head, at this width
KEYS = {"AdamBNN": "state_dict", "BCDNet": "model"}


def build(name: str, **options: Any) -> nn.Module:
    return build_model(name, num_classes=7, **{"width": WIDTH, "weight_scale": "channel", **options})


def authors_state(name: str, *, prefix: str = "", signs: bool = False) -> "OrderedDict[str, Tensor]":
    """Random values under the authors' names, with their heads for 1000 classes."""
    generator = torch.Generator().manual_seed(5)
    model = build(name)
    binary = {f"{layer}.weight" for layer, _ in binary_layers(model)}
    state = OrderedDict()
    for key, value in model.state_dict().items():
        if key.startswith("fc."):
            continue
        random = torch.randn(value.shape, generator=generator)
        if value.dtype == torch.int64:
            state[prefix + key] = torch.tensor(5004)
        elif signs and key in binary:
            state[prefix + key] = random.sign()
        else:
            state[prefix + key] = random.abs() + 0.5 if key.endswith("running_var") else random
    for head in ("fc", "fc_dist") if name == "BCDNet" else ("fc",):
        state[f"{prefix}{head}.weight"] = torch.randn(1000, CHANNELS)
        state[f"{prefix}{head}.bias"] = torch.randn(1000)
    return state


def authors_file(name: str, state: "OrderedDict[str, Tensor]", **company: Any) -> dict[str, Any]:
    """The state dict under its key, beside what a training script saves with it."""
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    return {"epoch": 256, KEYS[name]: state, "optimizer": optimizer.state_dict(), "best_top1_acc": 70.5, **company}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_unchanged(model: nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.fixture(params=["AdamBNN", "BCDNet"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_tensor_of_the_authors_file_finds_its_place(name: str, prefix: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "pretrained.pth.tar"
    state = authors_state(name, prefix=prefix)
    torch.save(authors_file(name, state), path, _use_new_zipfile_serialization=zipped)
    model = build(name)
    head = {key: value for key, value in snapshot(model).items() if key.startswith("fc.")}
    report = load_pretrained(model, path)
    for key, value in model.state_dict().items():
        assert torch.equal(value, head[key] if key in head else state[prefix + key]), key
    assert set(report.loaded) == set(model.state_dict()) - set(head)
    heads = {"fc.weight", "fc.bias"} | ({"fc_dist.weight", "fc_dist.bias"} if name == "BCDNet" else set())
    assert set(report.replaced_heads) == heads
    assert report.ignored == ("epoch", "optimizer", "best_top1_acc")
    assert not report.signs_only
    assert not report.sign_layers
    assert str(len(report.loaded)) in report.summary()
    assert "fc.weight" in report.summary()
    assert "optimizer" in report.summary()


def test_latent_spread_and_weight_scale_come_from_the_real_weights(name: str, tmp_path: Path) -> None:
    state = authors_state(name)
    torch.save(authors_file(name, state), tmp_path / "file.pth")
    model = build(name)
    load_pretrained(model, tmp_path / "file.pth")
    for layer_name, layer in binary_layers(model):
        real = state[f"{layer_name}.weight"]
        torch.testing.assert_close(layer.store.scale(), real.abs().mean(dim=(1, 2, 3)))
        torch.testing.assert_close(layer.get_parameter("weight").std(), real.std())


def test_a_file_of_signs_gives_latents_of_one_hundredth(name: str, tmp_path: Path) -> None:
    state = authors_state(name, signs=True)
    torch.save(authors_file(name, state), tmp_path / "signs.pth")
    model = build(name)
    report = load_pretrained(model, tmp_path / "signs.pth")
    assert report.signs_only
    assert "signs only" in report.summary()
    for layer_name, layer in binary_layers(model):
        torch.testing.assert_close(layer.get_parameter("weight").detach(), 0.01 * state[f"{layer_name}.weight"])


def test_one_layer_of_signs_does_not_make_a_file_of_signs(tmp_path: Path) -> None:
    state = authors_state("AdamBNN")
    state["feature.3.binary_pw.weight"] = state["feature.3.binary_pw.weight"].sign()
    torch.save(authors_file("AdamBNN", state), tmp_path / "file.pth")
    report = load_pretrained(build("AdamBNN"), tmp_path / "file.pth")
    assert not report.signs_only
    assert report.sign_layers == ("feature.3.binary_pw",)
    assert "feature.3.binary_pw" in report.summary()


def test_safetensors_with_the_same_names_load(name: str, tmp_path: Path) -> None:
    state = authors_state(name, prefix="module.")
    save_file(dict(state), tmp_path / "pretrained.safetensors")
    model = build(name)
    load_pretrained(model, tmp_path / "pretrained.safetensors")
    assert torch.equal(model.state_dict()["feature.0.conv1.weight"], state["module.feature.0.conv1.weight"])


def test_a_bare_state_dict_loads(tmp_path: Path) -> None:
    torch.save(authors_state("AdamBNN"), tmp_path / "bare.pth")
    assert load_pretrained(build("AdamBNN"), tmp_path / "bare.pth").ignored == ()


def test_a_file_older_than_the_batch_count_loads(tmp_path: Path) -> None:
    state = authors_state("AdamBNN")
    for key in [key for key in state if key.endswith("num_batches_tracked")]:
        del state[key]
    torch.save(authors_file("AdamBNN", state), tmp_path / "old.pth")
    assert load_pretrained(build("AdamBNN"), tmp_path / "old.pth").loaded


def test_half_precision_values_load_into_a_float_model(tmp_path: Path) -> None:
    state = OrderedDict((key, value.half()) for key, value in authors_state("AdamBNN").items())
    torch.save(authors_file("AdamBNN", state), tmp_path / "half.pth")
    model = build("AdamBNN")
    load_pretrained(model, tmp_path / "half.pth")
    assert model.state_dict()["feature.0.conv1.weight"].dtype == torch.float32


@pytest.mark.parametrize("prefix", ["module.module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_wrappers_around_wrappers_are_taken_off_and_said(prefix: str, tmp_path: Path) -> None:
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN", prefix=prefix)), tmp_path / "file.pth")
    report = load_pretrained(build("AdamBNN"), tmp_path / "file.pth")
    assert f"assumed: {prefix} before " in report.summary()


def test_brain_floats_load_and_are_said(tmp_path: Path) -> None:
    state = OrderedDict((key, value.bfloat16()) for key, value in authors_state("AdamBNN").items())
    torch.save(authors_file("AdamBNN", state), tmp_path / "file.pth")
    model = build("AdamBNN")
    report = load_pretrained(model, tmp_path / "file.pth")
    stem = "feature.0.conv1.weight"
    assert torch.equal(model.state_dict()[stem], state[stem].float())
    assert "tensors of bfloat16 are meant as float32" in report.summary()
    assert "tensors of bfloat16 are meant as int64" in report.summary()


def test_of_two_sets_of_weights_the_one_that_is_taken_is_said(tmp_path: Path) -> None:
    state = authors_state("AdamBNN")
    torch.save({"model": {key: value + 1 for key, value in state.items()}, "state_dict": state}, tmp_path / "file.pth")
    model = build("AdamBNN")
    report = load_pretrained(model, tmp_path / "file.pth")
    assert torch.equal(model.state_dict()["feature.0.conv1.weight"], state["feature.0.conv1.weight"])
    assert "assumed: the weights are those under state_dict, not under model" in report.summary()
    assert report.ignored == ("model",)


def test_the_report_is_the_same_before_and_after_loading_and_names_the_files_hash(tmp_path: Path) -> None:
    path = tmp_path / "signs.pth"
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN", signs=True)), path)
    with torch.device("meta"):
        before = check_pretrained(build("AdamBNN"), path)
    assert before == load_pretrained(build("AdamBNN"), path)
    assert before.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert before.summary().splitlines()[-1] == (
        "assumed: signs only, so latent weights of ±0.01 and no weight scale: every binary layer"
    )


def change(**changes: Tensor | None) -> Callable[["OrderedDict[str, Tensor]"], None]:
    def apply(state: "OrderedDict[str, Tensor]") -> None:
        for key, value in changes.items():
            if value is None:
                del state[key]
            else:
                state[key] = value

    return apply


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature.5.bn2.weight": None}, r"missing \(1\): feature.5.bn2.weight"),
        ({"feature.5.bn2.running_var": None}, r"missing \(1\): feature.5.bn2.running_var"),
        ({"feature.5.bn9.weight": torch.ones(3)}, r"unexpected \(1\): feature.5.bn9.weight"),
        ({"fc_dist.weight": torch.ones(3)}, r"unexpected \(1\): fc_dist.weight"),
        (
            {"feature.5.bn2.weight": torch.ones(3)},
            r"wrong shape \(1\): feature.5.bn2.weight \(3,\) instead of \(64,\)",
        ),
        ({"feature.5.bn2.bias": torch.full((64,), float("nan"))}, r"not finite, in feature.5.bn2.bias"),
        ({"feature.5.bn2.bias": torch.ones(64).to_sparse()}, r"else than plain tensors in feature.5.bn2.bias"),
        ({"feature.5.bn2.bias": torch.ones(64, dtype=torch.complex64)}, r"plain tensors in feature.5.bn2.bias"),
        ({"feature.5.bn2.bias": 3.0}, r"plain tensors in feature.5.bn2.bias"),
        ({"module.feature.5.bn2.bias": torch.ones(64)}, r"twice, with and without the prefix"),
    ],
)
def test_whatever_does_not_fit_is_listed_and_nothing_changes(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    state = authors_state("AdamBNN")
    change(**changes)(state)
    torch.save(authors_file("AdamBNN", state), tmp_path / "file.pth")
    model = build("AdamBNN")
    before = snapshot(model)
    with pytest.raises(UserError, match=message):
        load_pretrained(model, tmp_path / "file.pth")
    assert_unchanged(model, before)


@pytest.mark.parametrize(("wanted", "given"), [("AdamBNN", "BCDNet"), ("BCDNet", "AdamBNN")])
def test_a_file_of_another_model_is_named_as_such(wanted: str, given: str, tmp_path: Path) -> None:
    torch.save(authors_file(given, authors_state(given)), tmp_path / "file.pth")
    with pytest.raises(UserError, match=rf"does not fit this {wanted}; it looks like a file of {given}"):
        load_pretrained(build(wanted), tmp_path / "file.pth")


@pytest.mark.parametrize("options", [{"width": 0.5}, {"in_channels": 1}])
def test_another_width_or_colour_depth_is_a_list_of_shapes(options: dict[str, Any], tmp_path: Path) -> None:
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN")), tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"(?s)width 1 and with 3 input channels.*wrong shape .*feature.0.conv1.weight"):
        load_pretrained(build("AdamBNN", **options), tmp_path / "file.pth")


def test_a_published_file_is_for_models_that_read_one(tmp_path: Path) -> None:
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN")), tmp_path / "file.pth")
    with pytest.raises(UserError, match="no file of MLP that `python -m study pretrain` wrote, and published files"):
        load_pretrained(build_model("MLP", num_classes=2, in_features=4), tmp_path / "file.pth")


def test_a_file_can_be_checked_without_building_the_weights(tmp_path: Path) -> None:
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN")), tmp_path / "file.pth")
    with torch.device("meta"):
        adambnn, bcdnet = build("AdamBNN"), build("BCDNet")
    check_pretrained(adambnn, tmp_path / "file.pth")
    with pytest.raises(UserError, match="looks like a file of AdamBNN"):
        check_pretrained(bcdnet, tmp_path / "file.pth")


def test_checking_a_file_changes_nothing(tmp_path: Path) -> None:
    torch.save(authors_file("AdamBNN", authors_state("AdamBNN")), tmp_path / "file.pth")
    model = build("AdamBNN")
    before = copy.deepcopy(snapshot(model))
    check_pretrained(model, tmp_path / "file.pth")
    assert_unchanged(model, before)


def test_a_refused_file_changes_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": authors_state("AdamBNN"), "hook": print}, tmp_path / "file.pth")
    model = build("AdamBNN")
    before = snapshot(model)
    with pytest.raises(UserError, match="more than tensors"):
        load_pretrained(model, tmp_path / "file.pth")
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3, "state": {}}, "no state dict, only epoch, state"),
        ({}, "no state dict, only nothing"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match=message):
        load_pretrained(build("AdamBNN"), tmp_path / "file.pth")
