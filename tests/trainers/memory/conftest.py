"""Learners without a data set: a step's memory depends on shapes alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.config import TrialConfig
from trainers.learner import Learner
from trainers.memory.measure import measured_step
from trainers.memory.report import MemoryReport
from trainers.replicas import Replicas

CLASSES = 10
METHODS = {
    "binary": {"algorithm": "binary"},
    "bop": {"algorithm": "bop"},
    "frozen": {"algorithm": "frozen"},
    "real-SGD": {"algorithm": "real", "optimizer": "SGD"},
    "real-Adam": {"algorithm": "real", "optimizer": "Adam"},
}


class Bench:
    """A learner, and steps of it on one random batch."""

    def __init__(self, config: TrialConfig) -> None:
        assert config.image_size is not None
        self.config = config
        self.channels = 1 if config.model == "MLP" else 3
        shapes: Any = _Shapes(self.channels, config.image_size)
        self.learner = Learner(config, shapes, Replicas(), torch.device("cpu"))
        self.learner.start_epoch(0)
        generator = torch.Generator().manual_seed(1)
        size = (config.batch_size, self.channels, config.image_size, config.image_size)
        self.images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        self.labels = torch.arange(config.batch_size) % CLASSES
        self.steps = 0

    def step(self) -> float:
        self.steps += 1
        return self.learner.train_step(self.images, self.labels, self.steps - 1, self.config.batch_size, 0)

    def measure(self) -> MemoryReport:
        """The memory of the next step but one: the first makes the optimizer's state."""
        self.step()
        return measured_step(self.step, self.learner)[1]


class _Shapes:
    num_classes = CLASSES

    def __init__(self, channels: int, image_size: int) -> None:
        self.channels, self.image_size = channels, image_size
        self.mean = self.std = (0.5,) * channels


def make(model: str, method: str = "binary", **settings: Any) -> TrialConfig:
    """A small configuration of a model under a method."""
    small: dict[str, Any] = {"hid_dim": 64, "depth": 3} if model == "MLP" else {"width": 0.25}
    common = {"dataset": "any", "model": model, "batch_size": 4, "image_size": 32, "lr": 1e-2, "device": "cpu"}
    return TrialConfig(**{**common, **small, **METHODS[method], **settings})


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Makes a `Bench` of a model, a method and settings."""
    return lambda model, method="binary", **settings: Bench(make(model, method, **settings))
