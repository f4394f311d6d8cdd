"""The example's network is trained by every method, with stock and with packed activations, to the same losses."""

from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainers.memory.small import METHODS
from tests.trainers.registered import registered
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.host import run_local
from trainers.model import Model

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_model.py"


@pytest.fixture(scope="module")
def own_model() -> Iterator[Model]:
    """The example's model, known."""
    with registered(run_path(str(EXAMPLE))["MODEL"]) as model:
        yield model


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data root that holds scikit-learn's digits, prepared."""
    root = str(tmp_path_factory.mktemp("data"))
    prepare("Digits", root)
    return root


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_it_with_stock_and_with_packed_activations(
    own_model: Model, method: str, data_root: str, tmp_path: Path
) -> None:
    lr = {"bop": 1e-3, "real-Adam": 1e-2}.get(method, 1.0)
    settings = {**METHODS[method], "lr": lr, "epochs": 1, "batch_size": 256, "device": "cpu", "data_root": data_root}
    results, states = [], []
    for kind in ("stock", "packed"):
        config = TrialConfig("Digits", own_model.name, activation_memory=kind, check=True, **settings)
        results.append(run_local(config, tmp_path / kind))
        states.append(load_file(last_checkpoint(tmp_path / kind)))
    stock, packed = results
    assert packed["peak_memory_bytes"] < stock["peak_memory_bytes"]
    assert (packed["train_loss"], packed["val_accuracy"]) == (stock["train_loss"], stock["val_accuracy"])
    assert packed["flip_rate"] == stock["flip_rate"]
    assert (stock["flip_rate"] > 0) == (method != "frozen")
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_it_fits_on_a_page() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
