"""Where a step reads a number of the device's, the host waits for a GPU: it must not, whatever the method and network.

Seen without a GPU: what a step asks for is watched on the CPU, with `settled` handing tensors on as it does on a GPU.
Places that ask on a CPU alone are known.
"""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.step import TrainingStep
from tests.trainers.memory.small import make
from trainers.learner import InputShape

REPOSITORY = Path(__file__).parents[2]

# A number is read; or a tensor is made of numbers, which on a GPU is a copy that is waited for.
WAITS = {"aten._local_scalar_dense", "aten.lift_fresh", "aten.nonzero", "aten.equal", "aten.masked_select"}

ON_A_CPU_ALONE = {
    ("trainers/learner.py", "train_step"): "the loss, so that a step that diverges changes nothing",
    ("trainers/binary/kernels/flips.py", "flip_channels"): "the compiled kernel's own count",
    ("trainers/methods/temperature.py", "take"): "sigma, which stays on a GPU",
    ("trainers/binary/kernels/__init__.py", "pack_signs"): "whether all are signs, which a GPU's products ask once",
}


class Watch(TorchDispatchMode):
    """Collects (file, function) of `trainers` that ask for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[tuple[str, str]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func.overloadpacket) in WAITS:
            for frame in reversed(traceback.extract_stack()):
                file = Path(frame.filename)
                if "torch/optim" in frame.filename:
                    break  # an optimizer keeps its count of steps on the CPU
                if file.is_relative_to(REPOSITORY / "trainers"):  # an environment may lie in the checkout
                    self.places.add((str(file.relative_to(REPOSITORY)), frame.name))
                    break
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("contract", "bold", "real"):
        monkeypatch.setattr(f"trainers.methods.{module}.settled", lambda value: value)
    yield


COUNTED = {"algorithm": "binary", "inertia_bits": 4, "scheduler_type": "relative", "anneal": "cosine"}
METHODS: dict[str, dict[str, Any]] = {
    "binary": {"algorithm": "binary"},
    "binary, 4 bits": COUNTED,
    "bop": {"algorithm": "bop", "bop_momentum_bits": 16},
    "bop_channel": {"algorithm": "bop_channel"},
    "bold": {"algorithm": "bold", "bold_bits": 4},
    "bold, 32 bits": {"algorithm": "bold", "bold_bits": 32},
    "latent": {"algorithm": "latent"},
    "real_adam8": {"algorithm": "real_adam8"},
    "frozen": {"algorithm": "frozen"},
    "head": {"algorithm": "head"},
    "real-Adam": {"algorithm": "real", "optimizer": "Adam", "activation_memory": "stock"},
    "real-SGD": {"algorithm": "real", "optimizer": "SGD", "activation_memory": "stock"},
}
CASES = [
    *(("MLP", method) for method in METHODS if method != "head"),
    *(("ResNet18", method) for method in ("binary, 4 bits", "bop", "frozen", "head", "real-Adam")),
    ("AdamBNN", "binary"),
]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(("model", "method"), CASES)
def test_no_step_waits_for_its_device(model: str, method: str) -> None:
    config = make(model, **{"activation_memory": "packed", **METHODS[method]})
    assert config.image_size is not None
    step = TrainingStep(config, InputShape(10, 1 if model == "MLP" else 3, config.image_size))
    step()  # what is looked at once
    with Watch() as watch:
        step()
    assert watch.places <= ON_A_CPU_ALONE.keys()


def test_what_waits_is_seen() -> None:
    step = TrainingStep(make("MLP", "bop"), InputShape(10, 1, 32))
    with Watch() as watch:
        step()
    assert ("trainers/binary/parts.py", "settled") in watch.places
