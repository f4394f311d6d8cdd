"""The example predicts what the model predicts, needs nothing but the package and torch, and stays an example."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.data.loader import normalise
from trainers.models.packed import ModelDescription, restored_model, save_packed
from trainers.models.patch import save_patch
from trainers.models.pretrained_file import save_pretrained

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "predict.py"
ABOUT = ModelDescription(
    model="MLP",
    options={"hid_dim": 32, "depth": 2},
    image_size=12,
    channels=3,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.3),
    class_names=("ant", "bee", "cat", "dog", "eel", "fox"),
    dataset="animals",
)


def predict(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(EXAMPLE), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_it_prints_the_models_five_likeliest_classes_with_their_probabilities(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = restored_model(ABOUT, ABOUT.build().state_dict(), "memory")
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(100.0)  # logits of ordinary size, so that no probability is 0 or 1
    save_packed(tmp_path / "model", model, ABOUT)
    values = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    inputs = normalise(torch.tensor(values).permute(2, 0, 1).unsqueeze(0), ABOUT.mean, ABOUT.std, torch.float32)
    expected = sorted(zip(model(inputs).softmax(dim=1)[0].tolist(), ABOUT.class_names, strict=True), reverse=True)
    done = predict(tmp_path / "model", tmp_path / "picture.png")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{probability:.4f}  {name}" for probability, name in expected[:5]]
    assert 0.01 < expected[0][0] < 0.99


def test_with_a_patch_it_takes_the_pretrained_file_too(tmp_path: Path) -> None:
    model = restored_model(ABOUT, ABOUT.build().state_dict(), "memory")
    heads = ("classifier.0.", "classifier.1.")
    base = save_pretrained(tmp_path, "base", model, "MLP", dict(ABOUT.options), heads, {})
    patch, _ = save_patch(tmp_path / "patch", model, ABOUT, base)
    Image.fromarray(np.zeros((12, 12, 3), dtype=np.uint8)).save(tmp_path / "picture.png")
    done = predict(base, tmp_path / "picture.png", patch)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 5


def test_without_its_two_arguments_it_says_how_it_is_called() -> None:
    done = predict()
    assert done.returncode == 1
    assert "predict.py FOLDER PICTURE" in done.stderr


def test_it_imports_trainers_and_torch_alone_and_is_about_20_lines() -> None:
    tree = ast.parse(EXAMPLE.read_text())
    names = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - sys.stdlib_module_names == {"trainers", "torch"}
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 22
