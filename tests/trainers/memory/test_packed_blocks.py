"""A network of one's own takes less memory with packed activations, as measured and as predicted."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.step import input_shape, make_step
from tests.trainers.memory.small import METHODS, make
from tests.trainers.models.networks import OwnNetwork
from tests.trainers.registered import registered
from trainers.config import TrialConfig
from trainers.memory.invariants import Bystanders, check_invariants
from trainers.memory.predict import predict_step
from trainers.model import Model

CLOSE_HERE = 0.03  # as for the published networks, in test_predict


def own(num_classes: int, in_channels: int = 3, approx: str = "STE") -> OwnNetwork:
    return OwnNetwork(num_classes, in_channels, approx, width=16, depth=6)


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    """`OwnNetwork` is known as a model."""
    with registered(Model(name="Own", help="residual blocks", build=own)):
        yield


def config(method: str, kind: str, **settings: Any) -> TrialConfig:
    return make("Own", method, batch_size=16, activation_memory=kind, **settings)


@pytest.mark.parametrize("method", METHODS)
def test_packed_takes_less_than_stock_and_keeps_less(method: str) -> None:
    stock, packed = (make_step(config(method, kind)).memory() for kind in ("stock", "packed"))
    assert packed.total < 0.7 * stock.total
    assert packed.real_parameters_and_buffers == stock.real_parameters_and_buffers
    assert (packed.weights, packed.latent, packed.optimizer_state) == (
        stock.weights,
        stock.latent,
        stock.optimizer_state,
    )


@pytest.mark.parametrize("kind", ["stock", "packed"])
@pytest.mark.parametrize("settings", [{}, {"approx": "ReSTE"}])
@pytest.mark.parametrize("method", ["binary", "real-Adam"])
def test_it_is_predicted(method: str, settings: dict[str, Any], kind: str) -> None:
    wanted = config(method, kind, **settings)
    torch.set_num_threads(wanted.threads)
    shape = input_shape(wanted)
    found = predict_step(wanted, shape.num_classes, shape.channels, shape.image_size)
    assert abs(found.total / make_step(wanted).memory().total - 1) <= CLOSE_HERE


@pytest.mark.parametrize("method", METHODS)
def test_nothing_outlives_a_step(method: str) -> None:
    bystanders = Bystanders()
    trained = make_step(config(method, "packed"))
    for _ in range(2):
        trained()
        check_invariants(trained.learner, bystanders)
