"""A stand-in for an update rule: keeps the gradient that a packed layer hands out."""

import torch
from torch import Tensor


class GradientReceiver:
    """A consumer that changes no weight."""

    def __init__(self) -> None:
        self.blocks: list[tuple[slice, Tensor]] = []
        self.finished = False

    def start(self) -> None:
        self.blocks = []

    def take(self, rows: slice, grad: Tensor) -> None:
        self.blocks.append((rows, grad.clone()))

    def finish(self) -> None:
        self.finished = True

    @property
    def grad(self) -> Tensor:
        """The whole layer's gradient."""
        return torch.cat([block for _, block in self.blocks])
