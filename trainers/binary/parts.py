"""How much is worked on at a time, by the device that works on it, and what the host may ask of it meanwhile.

Each place that works part by part names a size that suits a CPU: temporaries that stay in its cache and out of the peak
of memory. A GPU has no use for parts so small: it takes microseconds to start on one, and its memory is larger.

A number that a GPU works out stays there: to read it, the host would wait for all that was asked of the GPU before, and
the GPU then for the host.
"""

from typing import Any

import torch
from torch import Tensor

ON_GPU = 32
"""Times as much: 64 MiB of floats where a CPU takes 2, against gigabytes that a step of such a network takes there."""


def part_size(on_cpu: int, device: torch.device) -> int:
    """Elements to work on at a time, where a CPU takes `on_cpu`."""
    return on_cpu * ON_GPU if device.type == "cuda" else on_cpu


def settled(value: Tensor) -> Any:
    """A tensor () as a number; on a GPU the tensor itself, which is read when an epoch ends."""
    return value if value.device.type == "cuda" else value.item()
