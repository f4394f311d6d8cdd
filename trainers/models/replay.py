"""Computing a block a second time as it was computed the first: the same buffers, sums over workers and random numbers.

A forward pass may do more than return a value. It moves running statistics, gathers sums over workers and may draw
random numbers. `FirstPass` notes what was there, and computes again from it without doing any of it twice.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from trainers.batch_norm import SynchronizedBatchNorm
from trainers.binary.layers import BinaryLayer
from trainers.replicas import Replicas


class FirstPass:
    """What a block's first pass started from: `noted` is a context for that pass, `again` for the second one.

    Kept from one to the other: a copy of the buffers of modules in training mode (a few numbers a channel; a binary
    layer's bits are not among them, as they change in backward alone), what the workers gathered, and the state of the
    random generators only if the pass has drawn from them.

    Args:
        block: what is computed.
        parameters: those of the block that take a gradient.
        device: where.
    """

    def __init__(self, block: nn.Module, parameters: Sequence[Tensor], device: torch.device) -> None:
        self.block = block
        self.device = device
        # By place, not by identity: within another block's second pass these are stand-ins themselves.
        index = {id(parameter): number for number, parameter in enumerate(parameters)}
        self.places = [
            (module, name, index[id(parameter)])
            for module in block.modules()
            for name, parameter in module._parameters.items()
            if id(parameter) in index
        ]
        self.buffers = [
            (module, name, buffer.clone())
            for module in block.modules()
            if module.training and not isinstance(module, BinaryLayer)
            for name, buffer in module.named_buffers(recurse=False)
        ]
        self.gathered: list[list[Tensor]] = []
        self.random: list[Tensor] | None = None
        kind = device.type
        self.autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """A context in which to compute the first pass."""
        before = _random_states(self.device)
        with _with_replicas(self.block, lambda replicas: _Gathering(replicas, self.gathered)):
            yield
        if not all(map(_same_bytes, before, _random_states(self.device))):
            self.random = before

    @contextmanager
    def again(self, parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """A context in which to compute the second pass.

        Gives a stand-in for each of `parameters`, in the order of the first pass's: leaves of the second pass's graph
        that share the parameters' values, so that gradients come back as values and hooks on the parameters run once.
        """
        stand_ins = [nn.Parameter(parameter.detach()) for parameter in parameters]
        given = list(self.gathered)
        with ExitStack() as stack:
            stack.enter_context(self._substituted(stand_ins))
            stack.enter_context(_with_replicas(self.block, lambda replicas: _Gathered(replicas, given)))
            if self.random is not None:
                stack.enter_context(_drawing_from(self.random, self.device))
            enabled, dtype = self.autocast
            stack.enter_context(torch.autocast(self.device.type, dtype=dtype, enabled=enabled))
            yield list(stand_ins)

    @contextmanager
    def _substituted(self, stand_ins: list[nn.Parameter]) -> Iterator[None]:
        """The block with these in its parameters' places, and with its buffers as they were, in copies."""
        tables = [table for module in self.block.modules() for table in (module._parameters, module._buffers)]
        original = [dict(table) for table in tables]
        for module, name, number in self.places:
            module._parameters[name] = stand_ins[number]
        for module, name, before in self.buffers:
            module._buffers[name] = before.clone()
        try:
            yield
        finally:
            for table, tensors in zip(tables, original, strict=True):
                table.update(tensors)  # type: ignore[arg-type]


@contextmanager
def _with_replicas(block: nn.Module, of: Callable[[Replicas], Replicas]) -> Iterator[None]:
    """`block` with `of(replicas)` in place of its synchronized batch norms' replicas."""
    norms = [(module, module.replicas) for module in block.modules() if isinstance(module, SynchronizedBatchNorm)]
    for norm, replicas in norms:
        norm.replicas = of(replicas)
    try:
        yield
    finally:
        for norm, replicas in norms:
            norm.replicas = replicas


class _Gathering(Replicas):
    """The workers, with a note of all that they gather."""

    def __init__(self, replicas: Replicas, gathered: list[list[Tensor]]) -> None:
        super().__init__(replicas.rank, replicas.size)
        self._replicas, self._gathered = replicas, gathered

    def gather(self, tensor: Tensor) -> list[Tensor]:
        parts = self._replicas.gather(tensor)
        self._gathered.append(parts)
        return parts

    def sum(self, tensor: Tensor) -> Tensor:
        return self._replicas.sum(tensor)


class _Gathered(_Gathering):
    """The workers, who need not meet again for what they gathered before."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return self._gathered.pop(0)


def _random_states(device: torch.device) -> list[Tensor]:
    """Of the generators that a module may draw from without saying so."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    # Not torch.equal: the states are real tensors even where a step is only simulated, and simulation has no values.
    return ctypes.string_at(one.data_ptr(), one.nbytes) == ctypes.string_at(other.data_ptr(), other.nbytes)


@contextmanager
def _drawing_from(states: list[Tensor], device: torch.device) -> Iterator[None]:
    """The generators in the given states, and as they are now again afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], device)
        yield
