"""How real parameters learn (batch norm, biases, the first layer, the head), the same under every method.

A comparison of rules for binary weights is not to be one of the real parameters' optimizers: `real_optimizer`,
`real_lr` and `real_schedule` are settings of the workload, like the batch. With `published` each method trains them as
its source does, all by `lr`: plain SGD beside packed weights, its own optimizer in real space.
"""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainers.config import TrialConfig
from trainers.registry import model_named
from trainers.settings import REAL_LR

Group = dict[str, Any]


def cosine_rate(lr: float, epoch: int, epochs: int) -> float:
    """lr·(1 + cos(pi·e/epochs))/2 in epoch e = 0, 1, ...: lr at first, towards 0 after the last."""
    return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


def own_optimizer(config: TrialConfig) -> str | None:
    """`Adam` or `SGD`, where the run's real parameters have one of their own; None where `lr` trains them, or none."""
    if not model_named(config.model).real_parameters or config.lr_trains_real:
        return None
    return str(config.real_optimizer)


def own_rate(config: TrialConfig, epoch: int) -> float | None:
    """Their learning rate in epoch e = 0, 1, ...; None where they have no optimizer of their own."""
    optimizer = own_optimizer(config)
    if optimizer is None:
        return None
    lr = REAL_LR[optimizer] if config.real_lr is None else config.real_lr
    return lr if config.real_schedule == "const" else cosine_rate(lr, epoch, config.epochs)


def _uncompiled(kind: type[Optimizer]) -> type[Optimizer]:
    """One of torch's optimizers, the same but for this: it leaves torch's compiler alone.

    torch wraps methods of its optimizers for the compiler's sake, and imports that at their first call, though
    nothing is compiled here: 70 MiB and a second, more than fine-tuning by flips takes. Here what is wrapped is called.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    own = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**own, "step": torch.no_grad()(inspect.unwrap(kind.step))})


_Adam, _SGD = _uncompiled(torch.optim.Adam), _uncompiled(torch.optim.SGD)


def optimizer_of(kind: str, groups: Iterable[nn.Parameter] | list[Group], lr: float) -> Optimizer:
    """torch's plain SGD, or Adam with torch's defaults."""
    return (_Adam if kind == "Adam" else _SGD)(groups, lr=lr)  # type: ignore[call-arg]
