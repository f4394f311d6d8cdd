"""The reader of a run's own checkpoints, and of what an export takes from one, under any bytes."""

import json
import struct
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from study.cli.export import read_trained
from study.drive.simulate import run_simulated
from tests.fuzz.inputs import fuzz, mutated, only_user_errors
from trainers import checkpoint
from trainers.checkpoint import best_checkpoint, last_checkpoint, restore
from trainers.config import TrialConfig
from trainers.learner import InputShape, Learner
from trainers.progress import Progress
from trainers.replicas import Replicas

pytestmark = pytest.mark.slow

SETTINGS: tuple[dict[str, Any], ...] = (
    {"algorithm": "binary", "temperature": 1.0},
    {"algorithm": "bop"},
    {"algorithm": "real", "optimizer": "Adam"},
)
SHAPE = InputShape(3, 1, 3)


def config(number: int) -> TrialConfig:
    return TrialConfig("any", "MLP", hid_dim=8, depth=2, batch_size=4, epochs=3, image_size=3, **SETTINGS[number])


def learner(number: int) -> Learner:
    return Learner(config(number), SHAPE, Replicas(), torch.device("cpu"))


@lru_cache(maxsize=8)
def valid(number: int) -> bytes:
    """A run's checkpoint after two epochs of one step."""
    trained = learner(number)
    history = []
    for epoch in range(2):
        trained.start_epoch(epoch)
        trained.train_step(torch.zeros(4, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 1, 2, 0]), epoch, 4, epoch)
        history.append({"epoch": epoch + 1, "train_loss": 1.0, "val_accuracy": 0.5})
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), trained, Progress(2, 2, 1.0, {}, 0.5, history), best=True)
        return last_checkpoint(Path(folder)).read_bytes()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fuzz-") as folder:
        (Path(folder) / "checkpoints").mkdir()
        yield Path(folder)


@lru_cache(maxsize=8)
def fresh(number: int) -> Learner:
    return learner(number)


def read(scratch: Path, number: int, last: bytes, best: bytes | None) -> None:
    """Restore a run from these files; then read the last one as an export would."""
    last_checkpoint(scratch).write_bytes(last)
    if best is None:
        best_checkpoint(scratch).unlink(missing_ok=True)
    else:
        best_checkpoint(scratch).write_bytes(best)
    before = {path.name for path in scratch.rglob("*")}
    with only_user_errors():
        progress, note = restore(scratch, fresh(number))
        assert progress.epochs_done == len(progress.history)
        assert best is not None or not note
    with only_user_errors():
        read_trained(last_checkpoint(scratch))
    assert {path.name for path in scratch.rglob("*")} == before


def test_the_valid_checkpoints_are_taken(scratch: Path) -> None:
    for number in range(len(SETTINGS)):
        last_checkpoint(scratch).write_bytes(valid(number))
        assert restore(scratch, fresh(number))[0].epochs_done == 2


def test_of_a_damaged_last_checkpoint_the_best_one_takes_the_place(scratch: Path) -> None:
    last_checkpoint(scratch).write_bytes(valid(0)[:-8])
    best_checkpoint(scratch).write_bytes(valid(0))
    progress, note = restore(scratch, fresh(0))
    assert progress.epochs_done == 2
    assert "goes on from its best checkpoint" in note


@fuzz(800)
@given(data=st.data(), number=st.integers(0, 2), spare=st.booleans())
def test_a_damaged_checkpoint_is_restored_or_a_message(
    data: st.DataObject, number: int, spare: bool, scratch: Path
) -> None:
    changed = data.draw(mutated(valid(number)))
    read(scratch, number, changed, valid(number) if spare else None)


def opened(content: bytes, scratch: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    file = scratch / "opened.safetensors"
    file.write_bytes(content)
    with safe_open(file, framework="pt") as source:
        names = list(source.keys())
        found = {name: source.get_tensor(name) for name in names}, dict(source.metadata())
    file.unlink()
    return found


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from([10**30, 1e308])
    | st.floats()
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@fuzz(800)
@given(data=st.data(), number=st.integers(0, 2))
def test_a_checkpoint_of_other_texts_and_tensors_is_a_message(data: st.DataObject, number: int, scratch: Path) -> None:
    """The digest is put right, so that reading goes on to what the file says."""
    tensors, metadata = opened(valid(number), scratch)
    name = data.draw(st.sampled_from(sorted(metadata)))
    kind = data.draw(st.sampled_from(["text", "json", "entry", "remove", "tensor", "untensor", "retype"]))
    if kind == "text":
        metadata[name] = data.draw(st.text(max_size=10) | st.sampled_from(["[" * 5000, "NaN", "1e999", "null"]))
    elif kind == "json":
        metadata[name] = json.dumps(data.draw(values))
    elif kind == "entry":
        entries = json.loads(metadata[name]) if metadata[name].startswith("{") else {}
        entries[data.draw(st.sampled_from(sorted(entries) or ["x"]) | st.text(max_size=4))] = data.draw(values)
        metadata[name] = json.dumps(entries)
    elif kind == "remove":
        del metadata[name]
    else:
        chosen = data.draw(st.sampled_from(sorted(tensors)))
        if kind == "untensor":
            del tensors[chosen]
        elif kind == "tensor":
            tensors[data.draw(st.text(max_size=8) | st.sampled_from(["optimizer.99999999999/x", "rule./"]))] = (
                torch.ones(2)
            )
        else:
            tensors[chosen] = torch.zeros(data.draw(st.lists(st.integers(0, 3), max_size=3)), dtype=torch.float16)
    if kind != "text" or name != "sha256":
        metadata["sha256"] = checkpoint._digest(tensors, metadata)
    read(scratch, number, save(tensors, metadata), None)


@fuzz(400)
@given(data=st.data(), number=st.integers(0, 2))
def test_a_changed_header_is_restored_or_a_message(data: st.DataObject, number: int, scratch: Path) -> None:
    content = valid(number)
    (length,) = struct.unpack("<Q", content[:8])
    header = data.draw(mutated(content[8 : 8 + length]))
    read(scratch, number, struct.pack("<Q", len(header)) + header + content[8 + length :], None)


@fuzz(200)
@given(data=st.data())
def test_a_damaged_checkpoint_of_a_simulated_run_is_a_message(data: st.DataObject, scratch: Path) -> None:
    run = scratch / "simulated"
    whole: list[dict[str, Any]] = []
    run_simulated(config(1), run, whole.append, "synthetic")
    file = run / "checkpoints" / "simulated.json"
    file.write_bytes(data.draw(mutated(file.read_bytes())))
    with only_user_errors():
        run_simulated(config(1), run, lambda metrics: None, "synthetic")
    for path in (file, file.parent, run):
        path.rmdir() if path.is_dir() else path.unlink()
