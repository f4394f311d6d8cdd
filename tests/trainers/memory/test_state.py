"""What a rule keeps of a binary weight between steps: counted on the tensors that are there."""

import pytest

from tests.trainers.memory.conftest import MakeStep
from trainers.binary.layers import binary_layers
from trainers.memory.state import state_bits_per_weight, state_bytes


@pytest.mark.parametrize(
    ("method", "settings", "least"),
    [
        *(("binary", {"inertia_bits": bits}, 1 + bits) for bits in (0, 2, 3, 4, 8)),
        *(("frozen", {}, 1), ("bop", {}, 33), ("bop", {"bop_momentum_bits": 16}, 17)),
        *(("real-SGD", {}, 32), ("real-Adam", {}, 96)),
    ],
)
def test_bits_per_weight_are_those_of_the_method(
    training_step: MakeStep, method: str, settings: dict[str, int], least: int
) -> None:
    trained = training_step("MLP", method, **settings)
    trained()
    by_layer = state_bytes(trained.learner)
    for name, layer in binary_layers(trained.learner.model):
        # Adam counts its steps in one number a tensor.
        assert least <= 8 * by_layer[name] / layer.store.shape.numel() < least + 0.1
    assert least <= state_bits_per_weight(trained.learner) < least + 0.1
