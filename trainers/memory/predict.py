"""Peak memory of a training step, predicted: the very step that would run, on tensors that have shapes and no values.

torch's fake tensors carry shape, type and storage size through the same code, autograd included; a mode above them
keeps the ledger of the storages that come and go. Where the code asks for a number (`.item()`), a harmless constant
answers. No image is read, no weight is drawn. What kernels take for themselves within one call, which fake tensors
cannot show, `trainers.memory.kernels` adds.
"""

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from trainers.binary.bits import unpack_signs
from trainers.config import TrialConfig
from trainers.learner import InputShape, Learner
from trainers.memory.kernels import kernel_scratch
from trainers.memory.report import Ledger, MemoryReport
from trainers.memory.watch import held, watched
from trainers.memory.workload import what_takes_memory
from trainers.methods.contract import UpdateRule
from trainers.replicas import Replicas


def predict_step(config: TrialConfig, num_classes: int, channels: int, image_size: int) -> MemoryReport:
    """The memory at the peak of one worker's training step, as `measured_step` would report it.

    Args:
        config: the run. Several workers: the report is that of the one with the largest share of the batch, with one
            worker's batch norm.
        num_classes, channels, image_size: of the data set.

    Raises:
        UserError: a model that the configuration cannot build.
    """
    return _predicted(what_takes_memory(config), InputShape(num_classes, channels, image_size))


@lru_cache(maxsize=256)
def _predicted(config: TrialConfig, shapes: InputShape) -> MemoryReport:
    size = shapes.image_size
    allocator = _Allocator(config.threads)
    with (
        _threads(config.threads),
        _caches_kept(),
        _modules_stay(),
        FakeTensorMode(allow_non_fake_inputs=True),
        allocator,
    ):
        learner = Learner(config, shapes, Replicas(), torch.device("cpu"))
        learner.start_epoch(0)
        images = torch.empty(config.batch_size, shapes.channels, size, size, dtype=torch.uint8)
        labels = torch.empty(config.batch_size, dtype=torch.int64)

        def step(number: int) -> MemoryReport:
            allocator.ledger = ledger = Ledger()
            for category, _, tensor in held(learner):
                ledger.hold(_key(tensor), tensor.untyped_storage().nbytes(), category)
            with watched(learner.model, lambda tensor, category: ledger.tag(_key(tensor), category)):
                learner.train_step(images, labels, number, config.batch_size, 0)
            return ledger.report()

        _make_what_stays(learner.rule)
        before = {_key(tensor) for _, _, tensor in held(learner)}
        report = step(0)
        # A rule's own first step may make state that later ones find: then the second one counts.
        if {_key(tensor) for _, _, tensor in held(learner)} != before:
            report = step(1)
    return report


def _make_what_stays(rule: UpdateRule) -> None:
    """Make what a run's first step makes and every later one finds: an optimizer's state (Adam's moments), and this
    process's table of signs."""
    unpack_signs(torch.empty(1, 1, dtype=torch.uint8), (1, 8), torch.get_default_dtype())
    if rule.optimizer is None:
        return
    for group in rule.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    rule.optimizer.step()
    rule.optimizer.zero_grad(set_to_none=True)


def _key(tensor: Tensor) -> int:
    """Names a tensor's storage as long as that is alive."""
    return int(tensor.untyped_storage()._cdata)


class _Allocator(TorchDispatchMode):
    """Enters into the ledger every storage that an operator makes, and when it goes."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads
        self.ledger: Ledger | None = None
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return func(*args)
        if func is torch.ops.aten._local_scalar_dense.default:
            return _harmless(args[0].dtype)
        outcome = func(*args, **(kwargs or {}))
        scratch = kernel_scratch(func, args, outcome, self.threads)
        self._passing(scratch.before)
        made = sum(self._enter(value) for value in tree_iter(outcome) if isinstance(value, Tensor))
        self._passing(scratch.beside - made)
        return outcome

    def _passing(self, size: int) -> None:
        if self.ledger is not None:
            self.ledger.passing(size)

    def _enter(self, tensor: Tensor) -> int:
        """The bytes that are new."""
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._alive:
            return 0
        self._alive.add(key)
        weakref.finalize(storage, self._leave, key)
        if self.ledger is not None:
            self.ledger.allocate(key, storage.nbytes())
        return int(storage.nbytes())

    def _leave(self, key: int) -> None:
        self._alive.discard(key)
        if self.ledger is not None:
            self.ledger.free(key)


def _harmless(dtype: torch.dtype) -> bool | int | float:
    """A number that no step minds: finite, positive, and a count of one."""
    if dtype is torch.bool:
        return False
    return 0.5 if dtype.is_floating_point else 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch have as many threads as the run will: compiled kernels make room for each."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _modules_stay() -> Iterator[None]:
    """Make `Module.to` do nothing: fake tensors are on the CPU already, and torch refuses to swap them in place."""
    original = nn.Module.to
    nn.Module.to = lambda module, *args, **kwargs: module  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.to = original  # type: ignore[method-assign]


@contextmanager
def _caches_kept() -> Iterator[None]:
    """Put back what this package's modules keep in tables of their own, so that no fake tensor is found there later."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("trainers.")]
    tables = [value for module in modules for value in vars(module).values() if type(value) is dict]
    kept = [(table, dict(table)) for table in tables]
    try:
        yield
    finally:
        for table, content in kept:
            table.clear()
            table.update(content)
        for module in modules:
            for value in list(vars(module).values()):
                if value is not _predicted and hasattr(value, "cache_clear"):
                    value.cache_clear()
