"""What the examination is made of: each part by its name, in the order of what would be missed most."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Record = Callable[[str, Any], None]
"""Keeps one finding of a part under its name, at once."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        function: `module.function` in this package; called with whether this is a rehearsal, and a `Record`.
        seconds: the most that it may take; a rehearsal is given several times as many.
        title: on the page.
    """

    function: str
    seconds: int
    title: str

    def run(self, rehearsal: bool, record: Record) -> None:
        """Import what the part needs, torch among it, and go through it."""
        module, _, name = self.function.partition(".")
        getattr(import_module(f"benchmarks.gpu_exam.{module}"), name)(rehearsal, record)


PARTS = {
    "flips": Part("kernels.flips", 60, "The same flips on CPU and GPU"),
    "steps": Part("steps.ladder", 150, "Step and memory: AdamBNN, 256 pixels, batch 96"),
    "synchronisations": Part("steps.synchronisations", 45, "Device synchronisations inside a step"),
    "products": Part("kernels.products", 60, "Products of signs against torch's convolution"),
    "units": Part("units.units", 60, "Residual units, fused and not"),
    "training": Part("training.both_devices", 75, "A short training on CPU and GPU"),
    "memory": Part("sharing.out_of_memory", 30, "Out of memory as an outcome of its own"),
    "sharing": Part("sharing.side_by_side", 75, "Processes that share the GPU"),
    "more_steps": Part("steps.other_networks", 90, "Step and memory of the other networks"),
    "tests": Part("kernels.tests", 90, "The tests' CUDA lane"),
}
