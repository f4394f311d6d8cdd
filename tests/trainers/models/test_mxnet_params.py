"""Networks that MXNet saved: every bit and number finds its place, or a message says what is wrong with the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainers.models.mxnet_files import graph, params, run_graph, words, write
from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.data.loader import normalise
from trainers.errors import UserError
from trainers.models import build_model
from trainers.models.checkpoints import check_pretrained, load_pretrained
from trainers.models.mxnet_params import graph_file, read_arrays, read_network
from trainers.registry import model_named

EPS = 2e-5
PUBLISHED = {
    "binarized_cifar10-resnet18-64bit-0000": {"num_classes": 10, "stem": "cifar"},
    "binarized_imagenet-resnet18-64bit-0040": {"num_classes": 1000},
    "binarized_imagenet-resnet18-64bit-1st-stage-fullprecision-0038": {"num_classes": 1000, "first_stage": "real"},
}

SIGNS = torch.where(torch.rand(3, 64, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
LAYERS: dict[str, tuple[str, dict[str, str]]] = {
    "norm0": ("BatchNorm", {"eps": "2e-05", "fix_gamma": "True"}),
    "conv0": ("Convolution", {"kernel": "(1, 1)", "num_filter": "2"}),
    "norm1": ("BatchNorm", {"eps": "2e-05", "fix_gamma": "False"}),
    "conv1": ("QConvolution", {"kernel": "(3, 3)", "num_filter": "3", "act_bit": "1"}),
}


def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(3)

    def numbers(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    return {
        "arg:norm0_gamma": numbers(2),
        "arg:norm0_beta": numbers(2),
        "arg:conv0_weight": numbers(2, 3, 1, 1),
        "arg:norm1_gamma": numbers(2),
        "aux:norm1_moving_var": numbers(2),
        "arg:conv1_weight": words(SIGNS),
    }


def named(layer: str, binary: bool) -> str:
    return f"own.{layer}{'.binary' if binary else ''}"


@pytest.mark.parametrize("wide", [False, True], ids=["0.9", "1.0"])
def test_every_array_is_read_under_our_name(wide: bool, tmp_path: Path) -> None:
    given = arrays()
    found, assumed = read_network(write(tmp_path, "net", given, LAYERS, wide), named, EPS)
    expected = {
        "own.norm0_beta.bias": given["arg:norm0_beta"].reshape(1, -1, 1, 1),
        "own.conv0.weight": given["arg:conv0_weight"],
        "own.norm1.weight": given["arg:norm1_gamma"],
        "own.norm1.running_var": given["aux:norm1_moving_var"],
        "own.conv1.binary.weight": SIGNS.numpy(),
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert torch.equal(found[name], torch.from_numpy(values)), name
    assert any("net-symbol.json" in clause for clause in assumed)
    assert any("own.norm0 is 1" in clause for clause in assumed)


def test_the_graph_lies_beside_the_arrays(tmp_path: Path) -> None:
    assert graph_file(tmp_path / "net-0040.params") == tmp_path / "net-symbol.json"
    file = write(tmp_path, "net", arrays(), LAYERS)
    graph_file(file).unlink()
    with pytest.raises(UserError, match=r"net-symbol.json does not exist; fetch it too"):
        read_network(file, named, EPS)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_arrays(tmp_path / "none-0000.params")
    with pytest.raises(UserError, match="is a folder"):
        read_arrays(tmp_path)


def _with(place: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + data + content[place + len(data) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with(0, b"\x13"), "is no list of MXNet arrays"),
        (_with(16, b"\xff" * 8), "18446744073709551615 arrays, above"),
        (_with(24, b"\xff\xff\xff\x7f"), "array of 2147483647 dimensions"),
        (_with(24, b"\xc9\xfa\x93\xf9"), "of a later MXNet"),
        (_with(28, b"\xff\xff\xff\xff"), "ends within an array: 17179869180 bytes are wanted"),
        (_with(28, b"\x00" * 4), "which cannot be"),
        (_with(40, b"\x02"), "of type 2"),
        (lambda content: content[:-1], "ends within a name"),
        (lambda content: content[:34], "ends within an array's type"),
        (lambda content: content + b"\x00", "1 bytes after its end"),
        (lambda content: content.replace(b"norm1_gamma", b"norm0_gamma"), "5 different names for 6 arrays"),
    ],
)
def test_a_damaged_file_is_said_before_anything_of_its_size_is_made(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "net-0001.params"
    file.write_bytes(change(params(arrays())))
    with pytest.raises(UserError, match=message):
        read_arrays(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv1": None}, "'arg:conv1_weight', and .* has no such layer"),
        ({"norm1": ("BatchNorm", {"eps": "0.001", "fix_gamma": "False"})}, "eps of norm1 is 0.001, ours is 2e-05"),
        ({"norm1": ("BatchNorm", {"fix_gamma": "False"})}, "eps of norm1 is None"),
        ({"conv1": ("QConvolution", {"kernel": "(3, 3)", "num_filter": "3", "act_bit": "2"})}, "act_bit of conv1 is 2"),
        ({"conv1": ("QConvolution", {"kernel": "(3)", "num_filter": "3", "act_bit": "1"})}, "window and the outputs"),
        ({"conv1": ("QConvolution", {"kernel": "(3, 3)", "act_bit": "1"})}, "window and the outputs"),
        ({"conv1": ("QConvolution", {"kernel": "(5, 5)", "num_filter": "3", "act_bit": "1"})}, "no 3 rows of bits"),
        (
            {"conv0": ("QConvolution", {"kernel": "(1, 1)", "num_filter": "2", "act_bit": "1"})},
            "float32 .*rows of bits",
        ),
    ],
)
def test_a_graph_of_another_network_is_said(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    layers = {name: layer for name, layer in {**LAYERS, **changes}.items() if layer is not None}
    with pytest.raises(UserError, match=message):
        read_network(write(tmp_path, "net", arrays(), layers), named, EPS)


@pytest.mark.parametrize("text", ["", "[]", '{"nodes": 3}', '{"nodes": [{}]}', '{"nodes": [3]}', "[" * 100_000])
def test_what_is_no_graph_is_said(text: str, tmp_path: Path) -> None:
    file = write(tmp_path, "net", arrays(), LAYERS)
    graph_file(file).write_text(text)
    with pytest.raises(UserError, match="is no graph of MXNet"):
        read_network(file, named, EPS)


def test_a_node_without_attributes_is_one_that_says_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, "net", arrays(), LAYERS)
    content = json.loads(graph(LAYERS))
    del content["nodes"][-1]["attrs"]
    graph_file(file).write_text(json.dumps(content))
    with pytest.raises(UserError, match="act_bit of conv1 is None"):
        read_network(file, named, EPS)


# ---- the published files


@pytest.fixture(params=PUBLISHED)
def published(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[Path, dict[str, Any]]:
    file = shared_dir / "weights" / f"{request.param}.params"
    if not file.is_file():
        pytest.skip(f"the published file {file.name} is not here")
    return file, PUBLISHED[request.param]


def pictures(side: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


@pytest.mark.parametrize("pack", [False, True], ids=["latent", "packed"])
def test_a_published_network_computes_what_its_graph_says(published: tuple[Path, dict[str, Any]], pack: bool) -> None:
    file, options = published
    model = build_model("ResNet18", **options)
    report = load_pretrained(model, file)
    assert report.signs_only and report.kept_heads and not report.replaced_heads
    for _, layer in binary_layers(model):
        assert set(layer.get_parameter("weight").abs().unique().tolist()) == {torch.tensor(0.01).item()}
        if pack:
            layer.pack()
    images, own = pictures(32), model_named("ResNet18").normalisation
    assert own is not None
    with torch.no_grad():
        found = model.double().eval()(normalise(images, own.mean, own.std, torch.float64))
    mean = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64).view(1, 3, 1, 1)
    expected = run_graph(graph_file(file), read_arrays(file), images.double() - mean)
    # Float64. A sum that falls on the other side of 0 would change a sign, and logits by tenths.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_its_head_makes_room_for_one_of_another_size(published: tuple[Path, dict[str, Any]]) -> None:
    file, options = published
    with torch.device("meta"):
        model = build_model("ResNet18", **{**options, "num_classes": 7})
    report = check_pretrained(model, file)
    assert set(report.replaced_heads) == {"fc.weight", "fc.bias"} and not report.kept_heads
    assert "the head, which a new one replaces" in report.summary()
    assert "latent weights of ±0.01" in report.summary()


def test_another_variant_is_refused_and_both_are_named(shared_dir: Path) -> None:
    folder = shared_dir / "weights"
    for name, options in PUBLISHED.items():
        file = folder / f"{name}.params"
        if not file.is_file():
            pytest.skip(f"the published file {file.name} is not here")
        for other in PUBLISHED.values():
            with torch.device("meta"):
                model = build_model("ResNet18", **other)
            if other is options:
                check_pretrained(model, file)
                continue
            with pytest.raises(UserError, match="does not fit this ResNet18: the file is of stem") as error:
                check_pretrained(model, file)
            for variant in (options, other):
                stem, first = variant.get("stem", "imagenet"), variant.get("first_stage", "binary")
                assert f"of stem {stem} and first_stage {first}" in str(error.value)
            for setting in ("stem", "first_stage"):
                given = f"--{setting} {options.get(setting, {'stem': 'imagenet'}.get(setting, 'binary'))}"
                assert (given in str(error.value)) == (options.get(setting) != other.get(setting))


def test_params_for_a_model_without_them_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "net", arrays(), LAYERS)
    model: nn.Module = build_model("AdamBNN", 3, width=0.25)
    with pytest.raises(UserError, match=r".params files are of ResNet18; choose that model"):
        check_pretrained(model, file)


def test_the_model_takes_its_own_normalisation_for_colour_and_the_data_sets_for_grey() -> None:
    class Data:
        channels, mean, std = 3, (0.5, 0.5, 0.5), (0.1, 0.1, 0.1)

    class Grey:
        channels, mean, std = 1, (0.5,), (0.1,)

    model = model_named("ResNet18")
    assert model.normalised_by(Data).mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    assert model.normalised_by(Grey).mean == (0.5,)
    assert model_named("AdamBNN").normalised_by(Data).mean == (0.5, 0.5, 0.5)


@pytest.mark.slow
def test_the_cifar10_network_scores_what_it_should_as_it_is(shared_dir: Path, tmp_path: Path) -> None:
    """85 ± 2 % of the 2,000 test images, through a run of no epochs, as a user evaluates it."""
    from trainers.data.prepare import prepare
    from trainers.host import run_local

    file = shared_dir / "weights" / "binarized_cifar10-resnet18-64bit-0000.params"
    if not file.is_file():
        pytest.skip(f"the published file {file.name} is not here")
    data = {"data_root": str(shared_dir / "data"), "prepared_root": str(tmp_path / "prepared")}
    prepare("CIFAR10", data["data_root"], prepared_root=data["prepared_root"], image_size=32)
    config = TrialConfig(
        "CIFAR10", "ResNet18", "binary", stem="cifar", pretrained=str(file), image_size=32, epochs=0, test=True, **data
    )
    found = run_local(config.replace(val_fraction=0.0, device="cpu"), tmp_path / "run")
    assert found["test_images"] == 2000
    assert 0.83 <= found["test_accuracy"] <= 0.87
