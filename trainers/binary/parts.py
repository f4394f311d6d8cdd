"""How much is worked on at a time, by the device that works on it.

Each place that works part by part names a size that suits a CPU: temporaries that stay in its cache and out of the peak
of memory. A GPU has no use for parts so small: it takes microseconds to start on one, and its memory is larger.
"""

import torch

ON_GPU = 32
"""Times as much: 64 MiB of floats where a CPU takes 2, against gigabytes that a step of such a network takes there."""


def part_size(on_cpu: int, device: torch.device) -> int:
    """Elements to work on at a time, where a CPU takes `on_cpu`."""
    return on_cpu * ON_GPU if device.type == "cuda" else on_cpu
