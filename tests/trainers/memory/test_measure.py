"""What is measured is the allocator's own peak, the same every time, and its parts are what they are called."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.trainers.memory.conftest import MakeStep
from tests.trainers.memory.small import METHODS
from trainers.binary.layers import binary_layers
from trainers.memory.watch import held


@pytest.mark.parametrize("method", ["binary", pytest.param("real-Adam", marks=pytest.mark.slow)])
def test_equal_steps_have_equal_peaks_in_every_category(training_step: MakeStep, method: str) -> None:
    step = training_step("AdamBNN", method)
    assert step.memory() == step.memory() == training_step("AdamBNN", method).memory()


@pytest.mark.parametrize("method", ["binary", "real-Adam"])
def test_the_total_is_what_is_held_plus_the_allocators_highest_sum(training_step: MakeStep, method: str) -> None:
    step = training_step("AdamBNN", method)
    report = step.memory()
    tensors = {tensor.data_ptr(): tensor.untyped_storage().nbytes() for _, _, tensor in held(step.learner)}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()  # without the hooks by which categories are seen
    assert trace.profiler is not None and trace.profiler.kineto_results is not None
    current = highest = 0
    for event in trace.profiler.kineto_results.events():
        current += event.nbytes() if event.name() == "[memory]" else 0
        highest = max(highest, current)
    assert report.total == sum(tensors.values()) + highest


def test_state_is_of_the_size_that_each_method_has(training_step: MakeStep) -> None:
    reports = {method: training_step("MLP", method).memory() for method in METHODS}
    model = training_step("MLP").learner.model
    weights = sum(layer.store.shape.numel() for _, layer in binary_layers(model))
    for method in ("binary", "bop", "frozen"):
        assert reports[method].weights == weights // 8
        assert reports[method].latent == 0
    assert reports["bop"].optimizer_state == 4 * weights
    assert reports["binary"].optimizer_state == reports["frozen"].optimizer_state == 0
    for method in ("real-SGD", "real-Adam"):
        assert (reports[method].weights, reports[method].latent) == (0, 4 * weights)
    assert reports["real-SGD"].optimizer_state == 0
    assert reports["real-Adam"].optimizer_state == pytest.approx(8 * weights, rel=1e-3)
    # At Adam's peak, its step, every gradient is alive and no activation is.
    assert reports["real-Adam"].gradients == 4 * weights
    assert reports["real-Adam"].saved_activations == 0


def test_what_autograd_saves_grows_with_the_batch_and_nothing_else_does(training_step: MakeStep) -> None:
    small, large = (training_step("AdamBNN", batch_size=batch).memory() for batch in (16, 32))
    assert large.saved_activations == pytest.approx(2 * small.saved_activations, rel=0.01)
    assert (large.weights, large.real_parameters_and_buffers) == (small.weights, small.real_parameters_and_buffers)


def test_measuring_changes_nothing_that_is_trained(training_step: MakeStep) -> None:
    measured, plain = training_step("AdamBNN"), training_step("AdamBNN")
    measured.memory()
    plain(), plain()
    for name, tensor in plain.learner.model.state_dict().items():
        assert torch.equal(tensor, measured.learner.model.state_dict()[name]), name
    assert measured() == plain()


@pytest.mark.parametrize("bits", [4, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (2, 8))])
def test_counters_take_their_bits_and_no_unpacked_copy_of_a_layer_is_alive(training_step: MakeStep, bits: int) -> None:
    side = {"hid_dim": 1024, "depth": 3, "activation_memory": "packed", "scheduler_type": "relative"}
    without, counted = (training_step("MLP", inertia_bits=b, **side).memory() for b in (0, bits))
    weights = 32 * 32 * 1024 + 1024 * 1024 + 1024 * 10
    assert counted.optimizer_state == weights * bits // 8
    # At most a chunk of 2^15 counters, in a few copies of a byte each, where a layer's would be 2^20.
    assert counted.total - without.total - counted.optimizer_state < 6 * 2**15
