"""A small real data set, prepared once for all tests of the training loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.config import TrialConfig
from trainers.data.prepare import prepare

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two threads that wait for each other on a busy machine cost seconds a step."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that holds scikit-learn's digits, prepared."""
    root = tmp_path_factory.mktemp("data")
    prepare("Digits", str(root))
    return root


@pytest.fixture
def digits(digits_root: Path) -> MakeConfig:
    """Makes configurations of a small MLP on the digits."""

    def make(algorithm: str = "binary", **settings: Any) -> TrialConfig:
        defaults: dict[str, Any] = {
            "hid_dim": 64,
            "depth": 3,
            "batch_size": 96,
            "epochs": 2,
            "lr": 1.0,
            "scheduler_type": "gaussian",
            "image_size": 8,
            "device": "cpu",
            "data_root": str(digits_root),
        }
        return TrialConfig(dataset="Digits", model="MLP", algorithm=algorithm, **{**defaults, **settings})

    return make
