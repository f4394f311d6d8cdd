"""What is said of a run's inputs before it starts, and what its folder records of them."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.host import run_local
from trainers.models import build_model
from trainers.preflight import preflight

PICTURES = 38  # a class: of 76 pictures 12 become test and 6 validation, and 58 = 3*19 + 1 = 2*28 + 2 = 57 + 1 train


@pytest.fixture(scope="session")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes, brighter in one of two corners; one of them cut short and left out."""
    root = tmp_path_factory.mktemp("corners")
    rng = np.random.Generator(np.random.PCG64(0))
    for label, name in enumerate(("left", "right")):
        (root / "own" / name).mkdir(parents=True)
        for index in range(PICTURES):
            values = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8)
            values[:16, 16 * label : 16 * label + 16] += 120
            Image.fromarray(values).save(root / "own" / name / f"{index:03}.png")
    whole = (root / "own" / "left" / "000.png").read_bytes()
    (root / "own" / "right" / "cut.png").write_bytes(whole[: len(whole) // 2])
    prepare(root / "own", root, skip_damaged=True)
    return root


def config_of(corners: Path, **settings: object) -> TrialConfig:
    small = {"hid_dim": 64, "depth": 2} if settings.get("model", "MLP") == "MLP" else {"width": 0.25}
    given = {"model": "MLP", "algorithm": "binary", "epochs": 1, "lr": 1.0, "device": "cpu", "batch_size": 19}
    return TrialConfig(dataset=str(corners / "own"), data_root=str(corners), **{**given, **small, **settings})


def said_of(config: TrialConfig) -> str:
    lines: list[str] = []
    preflight(config, lines.append)
    return "\n".join(lines)


def test_notes_on_the_data_are_said_before_every_run(corners: Path) -> None:
    said = said_of(config_of(corners))
    assert "own: 2 classes; 58 pictures in train, 6 in validation, 12 in test; 32x32 pixels, colour" in said
    assert "own: left out: 1 picture, which is cut short: " in said


@pytest.mark.parametrize(("batch_size", "left_out"), [(19, 1), (28, 0), (57, 1), (58, 0)])
def test_a_last_picture_that_makes_no_batch_is_said_to_be_left_out(
    batch_size: int, left_out: int, corners: Path
) -> None:
    said = said_of(config_of(corners, batch_size=batch_size))
    assert (f"left out: {left_out} of 58 training pictures in each epoch" in said) == bool(left_out)


@pytest.mark.parametrize("batch_size", [19, 28, 57])
@pytest.mark.parametrize("algorithm", ["binary", "bop"])
def test_fifty_eight_pictures_train_in_any_batch(
    batch_size: int, algorithm: str, corners: Path, tmp_path: Path
) -> None:
    lr = {"binary": 1.0, "bop": 1e-2}[algorithm]
    final = run_local(config_of(corners, batch_size=batch_size, algorithm=algorithm, lr=lr, test=True), tmp_path)
    assert final["status"] == "completed" and np.isfinite(final["train_loss"])
    assert "val_accuracy_top5" not in final and "test_accuracy_top5" not in final
    assert final["val_majority_share"] == final["test_majority_share"] == 0.5


def test_a_run_records_its_data_with_every_note(corners: Path, tmp_path: Path) -> None:
    run_local(config_of(corners, val_fraction=0.2), tmp_path)
    recorded = json.loads((tmp_path / "inputs.json").read_text())
    assert recorded["pretrained"] is None
    data = recorded["data"]
    assert data["class_counts"] == {"train": [26, 26], "validation": [6, 6], "test": [6, 6]}
    (note,) = data["notes"]
    assert (note["kind"], note["count"]) == ("left out", 1) and note["examples"][0].endswith("right/cut.png")
    assert len(data["fingerprint"]) == 64 and data["class_names"] == ["left", "right"]


def test_what_was_assumed_of_a_pretrained_file_is_said_and_recorded(corners: Path, tmp_path: Path) -> None:
    model = build_model("AdamBNN", 5, approx="STE", weight_scale="none", width=0.25, freeze_num=0, in_channels=3)
    state = OrderedDict((f"module.{name}", value) for name, value in model.state_dict().items())
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "p.pth")
    config = config_of(corners, model="AdamBNN", pretrained=str(tmp_path / "p.pth"), lr=0.01, epochs=1, batch_size=28)
    said = said_of(config)
    assert "tensors, each of which has its place (sha256 " in said
    assert "left out: what lies beside the weights: epoch" in said
    assert "assumed: module. before " in said
    run_local(config, tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "inputs.json").read_text())["pretrained"]
    assert recorded["sha256"][:16] in said and recorded["ignored"] == ["epoch"]
