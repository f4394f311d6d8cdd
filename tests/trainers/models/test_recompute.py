"""A block that is computed twice does everything else once: statistics, sums over workers, draws, hooks, hand-overs.

That its gradients and bits are those of stock autograd, `test_packed_activations` holds for whole networks.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainers.models.networks import CLOSE, Residual, gradients, images, network, use
from trainers.batch_norm import SynchronizedBatchNorm
from trainers.binary.layers import BinaryLinear, SignActivation, binary_layers
from trainers.models import set_activation_memory
from trainers.models.recompute import PackedBlock, PackedSequential
from trainers.replicas import Replicas


class Wrapped(PackedBlock):
    """A block of one module, or of any function of the block and its input."""

    def __init__(self, module: nn.Module, function: Callable[[nn.Module, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def compute(self, x: Tensor) -> Tensor:
        return self.module(x) if self.function is None else self.function(self.module, x)


def packed(module: nn.Module) -> nn.Module:
    """A copy of a module, with packed activations."""
    other = copy.deepcopy(module)
    set_activation_memory(other, "packed")
    return other


def features(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)).double()


def agree(stock: nn.Module, x: Tensor) -> nn.Module:
    """Assert that a step of `stock` and of its packed copy have one output, the same gradients and state; the copy."""
    other = packed(stock)
    outputs, inputs = [], []
    for module in (stock, other):
        torch.manual_seed(5)
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        (y**2).sum().backward()
        outputs.append(y.detach())
        inputs.append(leaf.grad)
    torch.testing.assert_close(outputs[1], outputs[0], **CLOSE)
    torch.testing.assert_close(inputs[1], inputs[0], **CLOSE)
    for (name, parameter), twin in zip(stock.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(twin.grad, parameter.grad, **CLOSE, msg=name)
    for name, tensor in stock.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, **CLOSE)
    return other


def kept(module: nn.Module, x: Tensor) -> list[Tensor]:
    """What autograd saves of a forward pass, beyond the module's own tensors, each storage once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    found: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(x)
    return list(found.values())


class Counting(Replicas):
    """One worker that counts how often all would have met."""

    def __init__(self) -> None:
        super().__init__()
        self.gathers = self.sums = 0

    def gather(self, tensor: Tensor) -> list[Tensor]:
        self.gathers += 1
        return super().gather(tensor)

    def sum(self, tensor: Tensor) -> Tensor:
        self.sums += 1
        return super().sum(tensor)


def test_a_block_keeps_its_input_alone() -> None:
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    (only,) = kept(packed(Residual(8, 16)), x)
    assert only.data_ptr() == x.data_ptr()


def test_a_block_keeps_the_bits_of_an_input_that_is_a_signs_output() -> None:
    block = packed(PackedSequential(BinaryLinear(64, 16), nn.BatchNorm1d(16)))
    sign = packed(SignActivation())
    (bits,) = kept(block, sign(torch.randn(4, 64, requires_grad=True)))
    assert (bits.dtype, bits.nbytes) == (torch.uint8, 4 * 64 // 8)


def test_a_block_that_ends_with_a_sign_hands_its_mark_on() -> None:
    dense = [PackedSequential(BinaryLinear(64, 64), nn.BatchNorm1d(64), SignActivation()) for _ in range(3)]
    x = torch.randn(4, 64, requires_grad=True)
    sizes = [tensor.nbytes for tensor in kept(packed(nn.Sequential(*dense)), x)]
    assert sorted(sizes) == [4 * 64 // 8, 4 * 64 // 8, x.nbytes]


def test_stock_activations_take_stock_autograds_path() -> None:
    block = Residual(8, 8)
    assert len(kept(block, torch.randn(4, 8, 6, 6, requires_grad=True))) > 3


def test_running_statistics_move_once_a_step() -> None:
    block = packed(Residual(8, 8).double())
    for step in (1, 2):
        block(features(4, 8, 6, 6)).sum().backward()
        assert int(block.norm.num_batches_tracked) == step
    agree(nn.Sequential(Residual(8, 8), Residual(8, 16)).double(), features(4, 8, 6, 6))


def test_a_buffer_that_the_output_depends_on_is_read_as_the_first_pass_read_it() -> None:
    class Average(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("level", torch.ones(1).double())

        def forward(self, x: Tensor) -> Tensor:
            y = x * self.level.clone()
            with torch.no_grad():
                self.level.add_(x.abs().mean())
            return y.sin() * self.level.clone()

    agree(Wrapped(Average()), features(4, 8))


def test_workers_meet_as_often_as_in_stock_training() -> None:
    counts = []
    for path in ("stock", "packed"):
        replicas = Counting()
        model = nn.Sequential(Residual(8, 8), Residual(8, 16)).double()
        for block in model:
            block.norm = SynchronizedBatchNorm(block.norm, replicas)
        use(path, model)(features(4, 8, 6, 6)).sum().backward()
        counts.append((replicas.gathers, replicas.sums))
        assert all(block.norm.replicas is replicas for block in model)
    assert counts[0] == counts[1] == (2, 2)


def test_synchronized_batch_norm_gives_the_stock_gradients() -> None:
    model = nn.Sequential(Residual(8, 8), Residual(8, 16)).double()
    for block in model:
        block.norm = SynchronizedBatchNorm(block.norm, Replicas())
    agree(model, features(4, 8, 6, 6))


def test_a_block_draws_no_random_numbers_and_leaves_the_generator_alone() -> None:
    block = packed(Residual(8, 8).double())
    before = torch.get_rng_state()
    block(features(4, 8, 6, 6)).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_inside_a_block_is_drawn_once() -> None:
    agree(PackedSequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8)).double(), features(16, 8))
    states = []
    for path in ("stock", "packed"):
        torch.manual_seed(1)
        use(path, PackedSequential(nn.Dropout(0.5), nn.Linear(8, 8)).double())(features(16, 8)).sum().backward()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_the_second_pass_runs_in_the_first_ones_precision() -> None:
    block = PackedSequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    other, x = packed(block), torch.randn(4, 8)
    for module in (block, other):
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        y.float().square().sum().backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(block.parameters(), other.parameters(), strict=True))


def test_frozen_modules_take_no_gradient_and_keep_their_statistics() -> None:
    def freeze(model: nn.Module) -> nn.Module:
        frozen = model.get_submodule("blocks.0")
        frozen.requires_grad_(False)
        frozen.eval()
        model.get_submodule("blocks.1.conv").requires_grad_(False)
        return model

    stock = freeze(network("own"))
    other = packed(stock)
    (_, grads), (_, got) = gradients(stock, images("own"), False), gradients(other, images("own"), False)
    assert got.keys() == grads.keys()
    assert not any(name.startswith(("blocks.0", "blocks.1.conv")) for name in got)
    for name, grad in grads.items():
        torch.testing.assert_close(got[name], grad, **CLOSE)
    assert int(other.get_buffer("blocks.0.norm.num_batches_tracked")) == 0


def test_a_frozen_block_of_an_input_without_gradient_keeps_nothing() -> None:
    block = packed(Residual(8, 8)).requires_grad_(False)
    assert kept(block, torch.randn(4, 8, 6, 6)) == []


def test_evaluation_is_the_stock_path_with_and_without_gradients() -> None:
    model = network("own")
    model(images("own", seed=1))
    model.eval()
    expected = model(images("own"))
    other = packed(model)
    with torch.no_grad():
        assert torch.equal(other(images("own")), expected)
    with torch.inference_mode():
        assert torch.equal(other(images("own")), expected)
    agree(model.get_submodule("blocks"), features(4, 8, 6, 6))


class Recording:
    """A consumer that notes the calls it gets, and flips what its layer holds."""

    def __init__(self, layer: Any, calls: list[tuple[Any, ...]], name: str) -> None:
        self.layer, self.calls, self.name = layer, calls, name

    def start(self) -> bool:
        self.calls.append((self.name, "start"))
        return True

    def look(self, rows: slice, grad: Tensor) -> None:
        self.calls.append((self.name, "look", rows.start, rows.stop))

    def take(self, rows: slice, grad: Tensor) -> None:
        self.calls.append((self.name, "take", rows.start, rows.stop))
        self.layer.store.write(rows, grad < 0)

    def finish(self) -> None:
        self.calls.append((self.name, "finish"))


def test_packed_layers_hand_over_once_a_step_block_by_block_in_the_stock_paths_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainers.binary.weights.BLOCK_WEIGHTS", 600)
    found = []
    for path in ("stock", "packed"):
        model, calls = use(path, network("own")), []
        for name, layer in binary_layers(model):
            layer.pack().consumer = Recording(layer, calls, name)
        model(images("own")).square().sum().backward()
        found.append((calls, {name: layer.store.bits for name, layer in binary_layers(model)}))
    assert found[0][0] == found[1][0]
    assert sum(call[1:2] == ("start",) for call in found[1][0]) == 5
    assert sum(call[1:2] == ("take",) for call in found[1][0]) > 10
    # Each layer changed before the one in front of it took its gradient: the weights were those of the forward pass.
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_a_block_without_parameters_and_gradients_of_its_input_is_reached() -> None:
    block, calls = packed(PackedSequential(BinaryLinear(8, 4), nn.BatchNorm1d(4, affine=False))), []
    block[0].pack().consumer = Recording(block[0], calls, "first")
    block(torch.randn(5, 8)).square().sum().backward()
    assert [call[1] for call in calls] == ["start", "look", "take", "finish"]


def test_blocks_within_blocks_give_the_stock_gradients() -> None:
    agree(
        PackedSequential(Residual(8, 8), PackedSequential(Residual(8, 16), nn.Dropout(0.3))).double(),
        features(4, 8, 6, 6),
    )


def test_a_block_that_passes_its_input_on_passes_the_gradient_on() -> None:
    agree(PackedSequential(nn.Linear(8, 8), Wrapped(nn.Identity())).double(), features(4, 8))


def test_an_output_that_does_not_depend_on_the_input_gives_it_no_gradient() -> None:
    block = packed(Wrapped(nn.Linear(8, 8), lambda module, x: module(x.detach())))
    x = torch.randn(4, 8, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is None or not x.grad.any()
    assert block.module.weight.grad.any()


def test_a_parameter_that_two_modules_share_gets_the_sum() -> None:
    first, second = nn.Linear(8, 8).double(), nn.Linear(8, 8).double()
    second.weight = first.weight
    agree(PackedSequential(first, nn.Tanh(), second), features(4, 8))


def test_a_block_may_be_used_twice_in_a_step() -> None:
    block = Wrapped(nn.Linear(8, 8).double())
    agree(nn.Sequential(block, nn.Tanh(), block), features(4, 8))


def test_gradients_can_be_asked_for_by_name_and_hooks_on_parameters_run_once() -> None:
    block = packed(Residual(8, 8).double())
    x = features(4, 8, 6, 6)
    (plain,) = torch.autograd.grad(block(x).square().sum(), [block.act.weight])
    block.act.weight.register_hook(lambda grad: 2 * grad)
    block(x).square().sum().backward()
    torch.testing.assert_close(block.act.weight.grad, 2 * plain, **CLOSE)


def test_backward_twice_through_one_graph_gives_twice_the_gradient() -> None:
    block = packed(Residual(8, 8).double())
    loss = block(features(4, 8, 6, 6)).square().sum()
    loss.backward(retain_graph=True)
    once = block.conv.weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(block.conv.weight.grad, 2 * once, **CLOSE)


def test_what_the_second_pass_puts_in_place_of_parameters_is_gone_afterwards() -> None:
    block = packed(Residual(8, 8))
    before = {name: id(tensor) for name, tensor in [*block.named_parameters(), *block.named_buffers()]}
    block(torch.randn(4, 8, 6, 6)).sum().backward()
    assert {name: id(tensor) for name, tensor in [*block.named_parameters(), *block.named_buffers()]} == before
    calls = []

    def fails_the_second_time(module: nn.Module, x: Tensor) -> Tensor:
        calls.append(x)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return module(x)

    stopped = packed(Wrapped(nn.BatchNorm1d(8), fails_the_second_time))
    weight, mean = stopped.module.weight, stopped.module.running_mean
    with pytest.raises(KeyboardInterrupt):
        stopped(torch.randn(4, 8)).sum().backward()
    assert stopped.module.weight is weight
    assert stopped.module.running_mean is mean


def test_a_block_that_changes_its_input_in_place_is_refused() -> None:
    block = packed(PackedSequential(nn.ReLU(inplace=True), nn.Linear(8, 8)))
    with pytest.raises(RuntimeError, match=r"PackedSequential changes its input in place.*inplace=False"):
        block(torch.randn(4, 8, requires_grad=True) * 2)


def test_a_parameter_of_another_module_is_refused_by_its_shape() -> None:
    other = nn.Linear(8, 5)
    block = packed(Wrapped(nn.Linear(8, 8), lambda module, x: other(module(x))))
    with pytest.raises(RuntimeError, match=r"Wrapped uses a tensor \((5, 8|5,)\) that takes a gradient.*register it"):
        block(torch.randn(4, 8)).sum().backward()


def test_parameters_that_changed_before_backward_are_noticed() -> None:
    block = packed(Residual(8, 8))
    y = block(torch.randn(4, 8, 6, 6))
    with torch.no_grad():
        block.act.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivatives_are_refused() -> None:
    block = packed(Wrapped(nn.Linear(8, 8), lambda module, x: module(x).tanh()))
    x = torch.randn(4, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(block(x).square().sum(), [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
