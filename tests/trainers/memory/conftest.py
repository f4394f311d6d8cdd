"""Training steps without a data set: a step's memory depends on shapes alone."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.step import TrainingStep, make_step
from tests.trainers.memory.small import make

MakeStep = Callable[..., TrainingStep]


@pytest.fixture
def training_step() -> MakeStep:
    """Makes a `TrainingStep` of a model, a method and settings."""

    def make_one(model: str, method: str = "binary", **settings: Any) -> TrainingStep:
        return make_step(make(model, method, **settings))

    return make_one
