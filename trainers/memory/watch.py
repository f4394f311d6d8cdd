"""Which tensors a step makes for what: the places where they can be seen, whether they are real or simulated."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.binary.weights import GradientConsumer, PackedWeight
from trainers.learner import Learner

Tag = Callable[[Tensor, str], None]


def held(learner: Learner) -> Iterator[tuple[str, str, Tensor]]:
    """`(category, name, tensor)` of everything alive between steps.

    A binary layer's own parameter is its latent tensor, its own buffers are its bits and their scale.
    """
    model = learner.model
    binary = {id(module) for _, module in binary_layers(model)}
    for prefix, module in model.named_modules():
        name = prefix + "." if prefix else ""
        parameters, buffers = ("latent", "weights") if id(module) in binary else (_REAL, _REAL)
        for own, parameter in module.named_parameters(recurse=False):
            yield parameters, name + own, parameter
        for own, buffer in module.named_buffers(recurse=False):
            yield buffers, name + own, buffer
    for layer, rule in learner.rule.layer_rules().items():
        for own, tensor in rule.tensors().items():
            yield "optimizer_state", f"{layer}/{own}", tensor
    if learner.rule.optimizer is not None:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for parameter, state in learner.rule.optimizer.state.items():
            for own, value in state.items():
                if isinstance(value, Tensor):
                    yield "optimizer_state", f"{names.get(id(parameter), 'parameter')}/{own}", value


_REAL = "real_parameters_and_buffers"


@contextmanager
def watched(model: nn.Module, tag: Tag) -> Iterator[None]:
    """Call `tag` with every tensor that autograd saves and every gradient, as they appear, while the context is open.

    Saved are the tensors that pass through autograd's hooks, those of `save_for_backward` among them; a gradient is a
    parameter's, when it has been accumulated, or a block that a packed layer's rule is given.
    """

    def pack(tensor: Tensor) -> Tensor:
        tag(tensor, "saved_activations")
        return tensor

    def accumulated(parameter: Tensor) -> None:
        if parameter.grad is not None:
            tag(parameter.grad, "gradients")

    with ExitStack() as stack:
        for parameter in model.parameters():
            if parameter.requires_grad:
                stack.callback(parameter.register_post_accumulate_grad_hook(accumulated).remove)
        for _, layer in binary_layers(model):
            store = layer.store
            if isinstance(store, PackedWeight) and store.consumer is not None:
                stack.callback(setattr, store, "consumer", store.consumer)
                store.consumer = _WatchedConsumer(store.consumer, tag)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        yield


class _WatchedConsumer:
    """A consumer that shows each block of gradient before passing it on."""

    def __init__(self, consumer: GradientConsumer, tag: Tag) -> None:
        self._consumer, self._tag = consumer, tag

    def look(self, rows: slice, grad: Tensor) -> None:
        self._tag(grad, "gradients")
        self._consumer.look(rows, grad)

    def take(self, rows: slice, grad: Tensor) -> None:
        self._tag(grad, "gradients")
        self._consumer.take(rows, grad)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def start(self) -> bool:
        return self._consumer.start()

    def finish(self) -> None:
        self._consumer.finish()
