"""The readers of model files under any bytes: pretrained checkpoints of anyone's, and folders of packed weights."""

import hashlib
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fuzz.inputs import fuzz, mutated, only_user_errors
from tests.trainers.registered import registered
from trainers.binary.layers import BinaryConv2d, binary_layers
from trainers.errors import UserError
from trainers.model import Model, Pretrained
from trainers.models.checkpoints import check_pretrained
from trainers.models.packed import DESCRIPTION, WEIGHTS, ModelDescription, load_packed, save_packed
from trainers.models.patch import save_patch
from trainers.models.pretrained_file import save_pretrained
from trainers.models.safe_read import read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*TorchScript", "ignore:.*torch.jit", "ignore:.*storage"),
]
COMPANY = {"epoch": 3, "best_acc1": 70.5, "arch": "x", "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fuzz-") as folder:
        yield Path(folder)


KINDS = {"zip": "file.pth", "legacy": "file.pth", "safetensors": "file.safetensors", "own": "own.safetensors"}


class TinyNetwork(nn.Module):
    """Stands for the networks that authors' files exist for: the same kinds of layers, a few hundred weights."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.feature = nn.Sequential(BinaryConv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, num_classes)


@lru_cache(maxsize=1)
def network() -> nn.Module:
    return TinyNetwork()


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with registered(Model("TinyNetwork", "for damaged files", TinyNetwork, pretrained=Pretrained(heads=("fc.",)))):
        yield


@lru_cache(maxsize=8)
def valid_checkpoint(kind: str) -> bytes:
    """The authors' layout around the tensors of a very narrow network."""
    state = OrderedDict((f"module.{name}", value) for name, value in network().state_dict().items())
    if kind == "safetensors":
        return bytes(safetensors.torch.save(dict(state)))
    if kind == "own":
        with tempfile.TemporaryDirectory() as folder:
            model = TinyNetwork()
            model.feature[0].set_weight_scale("channel")
            model.feature[0].pack()
            return save_pretrained(Path(folder), "x", model, "TinyNetwork", {}, ("fc.",), {}).read_bytes()
    stream = io.BytesIO()
    content = {"state_dict": state, **COMPANY}
    torch.save(content, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


def read_pretrained(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with only_user_errors():
        check_pretrained(network(), file)
    assert {path.name for path in file.parent.iterdir()} == {file.name}
    file.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_the_valid_files_are_taken(kind: str, scratch: Path) -> None:
    file = scratch / KINDS[kind]
    file.write_bytes(valid_checkpoint(kind))
    check_pretrained(network(), file)
    file.unlink()


@fuzz(500)
@given(data=st.data(), kind=st.sampled_from(list(KINDS)))
def test_a_damaged_pretrained_file_is_loaded_or_a_message(data: st.DataObject, kind: str, scratch: Path) -> None:
    changed = data.draw(mutated(valid_checkpoint(kind)))
    read_pretrained(scratch / KINDS[kind], changed)


@st.composite
def repickled(draw: st.DrawFn) -> bytes:
    """A zip checkpoint whose pickle, rather than the archive around it, is changed."""
    original = valid_checkpoint("zip")
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as source, zipfile.ZipFile(stream, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = draw(mutated(content))
            target.writestr(entry.filename, content)
    return stream.getvalue()


@fuzz(250)
@given(data=repickled())
def test_a_changed_pickle_is_loaded_or_a_message(data: bytes, scratch: Path) -> None:
    read_pretrained(scratch / "file.pth", data)


dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
    + [getattr(torch, name) for name in ("float8_e4m3fn", "uint16", "uint64") if hasattr(torch, name)]
)
tensors = st.builds(lambda shape, dtype: torch.zeros(shape).to(dtype), st.lists(st.integers(0, 3), max_size=3), dtypes)
strange = st.sampled_from(
    [
        torch.zeros(1).expand(10**9),
        torch.full((2,), float("nan")),
        torch.zeros(2, device="meta"),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(0),
        3,
        "text",
        None,
        [1, 2],
        {"a": torch.zeros(1)},
    ]
)


@st.composite
def states(draw: st.DrawFn) -> Any:
    """The tensors of a valid file, some of them replaced, renamed or removed, perhaps with other things around them."""
    state: dict[Any, Any] = dict(network().state_dict())
    names = sorted(state)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["replace", "remove", "rename", "double"]))
        value = state.pop(name, None)
        if kind == "replace":
            state[name] = draw(tensors | strange)
        elif kind == "rename":
            state[draw(st.text(max_size=5) | st.integers() | st.sampled_from(["module.", "module." + name]))] = value
        elif kind == "double":
            state |= {name: value, f"module.{name}": value}
    nested = {"state_dict": {"model": {"state_dict": {}}}, 3: 4, None: None}
    around = [state, {"state_dict": state}, {"model": state}, {"state_dict": 3, "model": state}, {"model": {}}, [state]]
    return draw(st.sampled_from([*around, nested]))


@fuzz(400)
@given(content=states(), legacy=st.booleans())
def test_a_state_dict_of_anything_is_loaded_or_a_message(content: Any, legacy: bool, scratch: Path) -> None:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    read_pretrained(scratch / "file.pth", stream.getvalue())


def test_a_compressed_archive_is_refused_before_it_is_unpacked(scratch: Path) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": {"weight": torch.zeros(2**26)}}, stream)
    bomb = io.BytesIO()
    with zipfile.ZipFile(stream) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    (scratch / "file.pth").write_bytes(bomb.getvalue())
    with pytest.raises(UserError, match="is compressed"):
        read_checkpoint(scratch / "file.pth")
    (scratch / "file.pth").unlink()


class Opened:
    """A pickle of it opens a file for writing where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_no_pickle_runs(scratch: Path) -> None:
    trace, file = scratch / "executed", scratch / "file.pth"
    file.write_bytes(pickle.dumps({"state_dict": Opened(trace)}, protocol=2))
    with pytest.raises(UserError):
        read_checkpoint(file)
    assert not trace.exists()
    file.unlink()


@lru_cache(maxsize=1)
def valid_export() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a packed model."""
    about = ModelDescription(
        "MLP", {"hid_dim": 9, "depth": 2}, 4, 1, (0.5,), (0.5,), ("a", "b", "c"), "invented", {"trial_id": "none"}
    )
    model = about.build()
    for _, layer in binary_layers(model):
        layer.pack()
    with tempfile.TemporaryDirectory() as folder:
        save_packed(Path(folder) / "x", model, about)
        description = json.loads((Path(folder) / "x" / DESCRIPTION).read_text())
        return description, safetensors.torch.load_file(Path(folder) / "x" / WEIGHTS)


def read_export(folder: Path, description: bytes, weights: bytes) -> None:
    folder.mkdir()
    (folder / DESCRIPTION).write_bytes(description)
    (folder / WEIGHTS).write_bytes(weights)
    try:
        with only_user_errors():
            model, about = load_packed(folder)
            model(torch.zeros(2, about.channels, about.image_size, about.image_size))
        assert {path.name for path in folder.iterdir()} == {DESCRIPTION, WEIGHTS}
    finally:
        shutil.rmtree(folder)


def signed(description: dict[str, Any], weights: bytes) -> bytes:
    """The description with the digest of these weights, so that reading goes on to what they are."""
    return json.dumps({**description, "weights_sha256": hashlib.sha256(weights).hexdigest()}).encode()


def header_changed(draw: st.DrawFn, weights: bytes) -> bytes:
    """A safetensors file whose header, JSON behind its length, is changed and has its length put right."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = draw(mutated(weights[8 : 8 + length]))
    return struct.pack("<Q", len(header)) + header + weights[8 + length :]


@fuzz(300)
@given(data=st.data(), resigned=st.booleans(), header=st.booleans())
def test_damaged_packed_weights_are_read_or_a_message(
    data: st.DataObject, resigned: bool, header: bool, scratch: Path
) -> None:
    description, state = valid_export()
    weights = bytes(safetensors.torch.save(state))
    changed = header_changed(data.draw, weights) if header else data.draw(mutated(weights))
    told = signed(description, changed) if resigned else json.dumps(description).encode()
    read_export(scratch / "export", told, changed)


@fuzz(200)
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(valid_export()[1])) | st.text(max_size=4), tensors | st.none(), min_size=1, max_size=3
    )
)
def test_packed_weights_of_other_tensors_are_a_message(changes: dict[str, Tensor | None], scratch: Path) -> None:
    description, state = valid_export()
    changed = {name: value for name, value in {**state, **changes}.items() if value is not None}
    weights = bytes(safetensors.torch.save(changed))
    read_export(scratch / "export", signed(description, weights), weights)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 10**9, 10**30, 10**400, 1e308])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["MLP", "AdamBNN", "BCDNet", "STE", "layer", "hid_dim", "depth", "width", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["hid_dim", "depth", "width", "approx", "weight_scale", "in_features", "num_classes", "self"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)


@fuzz(350)
@given(data=st.data())
def test_a_changed_description_is_read_or_a_message(data: st.DataObject, scratch: Path) -> None:
    description, state = valid_export()
    weights = bytes(safetensors.torch.save(state))
    if data.draw(st.booleans()):
        told = data.draw(mutated(signed(description, weights)))
    else:
        changes = data.draw(st.dictionaries(st.sampled_from(sorted(description)), json_values, min_size=1, max_size=3))
        numbers = {"depth": json_values, "hid_dim": json_values}
        options = data.draw(st.none() | st.fixed_dictionaries({}, optional=numbers))
        changed = {**description, **({} if options is None else {"options": {**description["options"], **options}})}
        told = signed({**changed, **changes} if options is None else changed, weights)
    read_export(scratch / "export", told, weights)


@lru_cache(maxsize=1)
def valid_patch() -> tuple[bytes, dict[str, Any], dict[str, Tensor]]:
    """A pretrained file, and the description and the tensors of a patch of it."""
    about = ModelDescription(
        "RealHeadMLP", {"hid_dim": 24, "depth": 2}, 4, 1, (0.5,), (0.5,), ("a", "b", "c"), "invented", {"trial_id": "x"}
    )
    model = about.build()
    for _, layer in binary_layers(model):
        layer.pack()
    with tempfile.TemporaryDirectory() as folder:
        file = save_pretrained(Path(folder), "base", model, "RealHeadMLP", dict(about.options), ("fc.",), {})
        model.feature[0].weight_bits[0, 0] ^= 5
        patch, _ = save_patch(Path(folder) / "x", model, about, file)
        description = json.loads((patch / DESCRIPTION).read_text())
        return file.read_bytes(), description, safetensors.torch.load_file(patch / WEIGHTS)


def read_patch(folder: Path, description: bytes, weights: bytes) -> None:
    folder.mkdir()
    (folder / "base.safetensors").write_bytes(valid_patch()[0])
    (folder / DESCRIPTION).write_bytes(description)
    (folder / WEIGHTS).write_bytes(weights)
    try:
        with only_user_errors():
            model, about = load_packed(folder / "base.safetensors", folder)
            model(torch.zeros(2, about.channels, about.image_size, about.image_size))
    finally:
        shutil.rmtree(folder)


def test_the_valid_patch_is_taken(scratch: Path) -> None:
    base, description, state = valid_patch()
    (scratch / "p").mkdir()
    (scratch / "base.safetensors").write_bytes(base)
    weights = bytes(safetensors.torch.save(state))
    (scratch / "p" / WEIGHTS).write_bytes(weights)
    (scratch / "p" / DESCRIPTION).write_bytes(signed(description, weights))
    load_packed(scratch / "base.safetensors", scratch / "p")
    shutil.rmtree(scratch / "p")
    (scratch / "base.safetensors").unlink()


@fuzz(300)
@given(data=st.data(), kind=st.sampled_from(["weights", "header", "flips", "codes", "description"]))
def test_a_damaged_patch_is_read_or_a_message(data: st.DataObject, kind: str, scratch: Path) -> None:
    _, description, state = valid_patch()
    if kind == "flips":
        changed = data.draw(mutated(state["flips"].numpy().tobytes()))
        state = {**state, "flips": torch.tensor(list(changed), dtype=torch.uint8)}
    weights = bytes(safetensors.torch.save(state))
    if kind in ("weights", "header"):
        weights = data.draw(mutated(weights)) if kind == "weights" else header_changed(data.draw, weights)
    if kind == "codes":
        numbers = st.sampled_from([0, 1, 2, 7, 40, 63, 2**31, 2**63, -1, 0.5, None, "feature.0"])
        changes = st.dictionaries(st.sampled_from(["layer", "count", "low_bits", "unary_bytes"]), numbers, min_size=1)
        description = {**description, "flips": [{**code, **data.draw(changes)} for code in description["flips"]]}
    if kind == "description":
        changes = st.dictionaries(st.sampled_from(sorted(description)), json_values, min_size=1, max_size=3)
        description = {**description, **data.draw(changes)}
    read_patch(scratch / "patch", signed(description, weights), weights)
