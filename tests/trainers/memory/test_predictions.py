"""A peak is predicted once: later it is looked up, by code that is the same, and never where that cannot be known."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.trainers.memory.small import make
from trainers.config import TrialConfig
from trainers.memory import predictions
from trainers.memory.predict import predict_step
from trainers.memory.predictions import predicted_step, predictions_folder
from trainers.memory.report import MemoryReport
from trainers.registry import Origin

SHAPE = (10, 1, 8)

LOOK_UP = """
import sys
from tests.conftest import REPOSITORY
from tests.trainers.memory.small import make
from trainers.memory.predictions import predicted_step
predicted_step(make("MLP", "real-Adam"), 10, 1, 8)
print("torch._dynamo" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where predictions lie, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = predictions_folder()
    assert found is not None and found.is_relative_to(tmp_path)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TrialConfig]:
    """The configurations that a prediction is made for, in order."""
    made: list[TrialConfig] = []

    def predict(config: TrialConfig, *shape: int) -> MemoryReport:
        made.append(config)
        return predict_step(config, *shape)

    monkeypatch.setattr(predictions, "_predict", predict)
    return made


def test_what_was_predicted_is_looked_up_and_says_the_same(folder: Path, asked: list[TrialConfig]) -> None:
    configs = [make("MLP", "binary"), make("MLP", "real-Adam"), make("MLP", "binary", batch_size=16)]
    for _ in range(2):
        for config in configs:
            assert predicted_step(config, *SHAPE) == predict_step(config, *SHAPE)
    assert predicted_step(configs[0].replace(seed=17, lr=0.3), *SHAPE) == predict_step(configs[0], *SHAPE)
    assert predicted_step(configs[0], 12, 1, 8).total > predict_step(configs[0], *SHAPE).total
    assert len(asked) == 4 == len(list(folder.iterdir()))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"weights": 1}', None])
def test_a_kept_prediction_that_is_damaged_is_made_again(
    folder: Path, asked: list[TrialConfig], content: str | None
) -> None:
    config = make("MLP", "binary")
    right = predicted_step(config, *SHAPE)
    (file,) = folder.iterdir()
    file.write_text(json.dumps(dict.fromkeys(right.by_category(), "1")) if content is None else content)
    assert predicted_step(config, *SHAPE) == right and len(asked) == 2
    assert json.loads(file.read_text()) == right.by_category()


def test_without_a_folder_to_write_each_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[TrialConfig]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    right = predict_step(make("MLP", "binary"), *SHAPE)
    assert predicted_step(make("MLP", "binary"), *SHAPE) == right
    monkeypatch.setattr(predictions, "user_cache", lambda: None)  # a user without a home
    assert predicted_step(make("MLP", "binary"), *SHAPE) == right
    assert len(asked) == 2


def test_other_code_has_a_folder_of_its_own_and_few_of_them_stay(
    folder: Path, asked: list[TrialConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        monkeypatch.setattr(predictions, "_code", lambda number=number: f"code-{number}")
        predicted_step(make("MLP", "binary"), *SHAPE)
        os.utime(folder.parent / f"code-{number}", (number, number))
    assert len(asked) == 8
    assert sorted(path.name for path in folder.parent.iterdir()) == [f"code-{number}" for number in range(3, 8)]


def test_a_plug_ins_prediction_is_not_kept(
    folder: Path, asked: list[TrialConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its code reads is not known."""
    for table in (predictions.METHODS, predictions.MODELS):
        with monkeypatch.context() as patch:
            patch.setattr(table, "origin", lambda name: Origin("own.py", "0" * 64))
            predicted_step(make("MLP", "binary"), *SHAPE)
    assert len(asked) == 2 and not folder.exists()


@pytest.mark.integration
def test_looking_up_does_without_torchs_compiler(folder: Path) -> None:
    """Four seconds of every command that runs a study, and 70 MiB."""
    command = [sys.executable, "-c", LOOK_UP]
    said = [subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [one.stdout for one in said] == ["True\n", "False\n"]
