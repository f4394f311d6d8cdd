"""How far a run has come, and what it has measured: the part of a checkpoint that is no tensor."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

Metrics = dict[str, Any]
"""An epoch's: epoch (from 1), train_loss (mean over the epoch), val_accuracy and what stands beside it
(`trainers.evaluation`; absent without validation), flip_rate (share of binary weights flipped a step, mean over
steps), flips_per_weight (all flips so far by binary weights) and flipped_share (of binary weights that differ from
the run's start; absent where that cannot be read), lr, temperature (mean over layers and steps; absent where there is
none), peak_memory_bytes and memory_*_bytes (of the worker with the highest peak: the total and its categories, see
`trainers.memory.report`), state_bits_per_weight (see `trainers.memory.state`), train_seconds (so far, evaluation not
counted), device_seconds (of this attempt so far, over all workers). A `note` says where the run did not go on as it
should have.
"""


@dataclass
class EpochSums:
    """What an epoch that has begun has added up so far, in the order of its steps.

    Kept where a run stops in the middle of an epoch, so that the epoch's means come out to the same bits.
    """

    steps: int = 0
    loss: float | Tensor = 0.0  # these three are tensors () while a GPU adds up, see `settled`
    flip_rate: float | Tensor = 0.0
    temperature: float | Tensor = 0.0
    temperature_steps: int = 0  # steps that had a temperature

    def add(self, loss: float | Tensor, flip_rate: float | Tensor, temperature: float | Tensor | None) -> None:
        """Take one step's loss, flip rate and temperature; each may be a tensor () that stays on a GPU."""
        self.steps += 1
        self.loss += loss
        self.flip_rate += flip_rate
        if temperature is not None:
            self.temperature += temperature
            self.temperature_steps += 1

    def settled(self) -> "EpochSums":
        """The same with plain numbers: what a GPU has added up is read here, once an epoch."""
        return replace(
            self, loss=float(self.loss), flip_rate=float(self.flip_rate), temperature=float(self.temperature)
        )

    def means(self) -> Metrics:
        """The epoch's metrics of these steps: `train_loss`, `flip_rate` and, where there is one, `temperature`."""
        means = {"train_loss": self.loss / self.steps, "flip_rate": self.flip_rate / self.steps}
        if self.temperature_steps:
            means["temperature"] = self.temperature / self.temperature_steps
        return means


@dataclass
class Progress:
    """How far a run has come and what it has measured so far."""

    epochs_done: int = 0
    steps_done: int = 0
    train_seconds: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)  # of the measured step, by metric name
    best_accuracy: float | None = None
    history: list[Metrics] = field(default_factory=list)  # each ended epoch's metrics, in order
    sums: EpochSums | None = None  # of the epoch that was stopped in its middle
    fewest_workers: int | None = None  # that it went on with, where those were fewer than it began with

    @property
    def latest(self) -> Metrics:
        """The last ended epoch's metrics; empty before there is one."""
        return self.history[-1] if self.history else {}

    def go_on_with(self, workers: int, of: int) -> str:
        """Keep that so few of a run's workers are there; in words, empty where they were as few before, or are all."""
        if workers >= min(of, self.fewest_workers or of):
            return ""
        self.fewest_workers = workers
        return f"goes on with {workers} of its {of} workers from epoch {self.epochs_done + 1}"

    def workers(self) -> Metrics:
        """With how few workers the run went on, as a metric; empty where it lost none."""
        return {} if self.fewest_workers is None else {"fewest_workers": self.fewest_workers}

    def to_json(self) -> str:
        """As one line of JSON; floats keep their bits."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """The inverse of `to_json`, for text that may be anything.

        Raises:
            ValueError: it is not what `to_json` writes.
        """
        content = {"fewest_workers": None, **_object(json.loads(text), "progress")}  # which earlier files lack
        if set(content) != set(cls.__dataclass_fields__):
            raise ValueError(f"progress has the entries {sorted(content)}")
        for name in ("epochs_done", "steps_done"):
            _count(content[name], name)
        _number(content["train_seconds"], "train_seconds")
        for name, size in _object(content["memory"], "memory").items():
            _count(size, name)
        if content["fewest_workers"] is not None:
            _count(content["fewest_workers"], "fewest_workers")
        if content["best_accuracy"] is not None:
            _number(content["best_accuracy"], "best_accuracy")
        if not isinstance(content["history"], list) or len(content["history"]) != content["epochs_done"]:
            raise ValueError("history does not hold one entry an epoch")
        for epoch, metrics in enumerate(content["history"], start=1):
            for name, value in _object(metrics, f"epoch {epoch}").items():
                _number(value, name)
            if metrics.get("epoch") != epoch:
                raise ValueError(f"history has epoch {metrics.get('epoch')} in place {epoch}")
        if content["sums"] is not None:
            sums = _object(content["sums"], "sums")
            if set(sums) != set(EpochSums.__dataclass_fields__):
                raise ValueError(f"sums has the entries {sorted(sums)}")
            for name, value in sums.items():
                (_count if name.endswith("steps") else _number)(value, name)
            content["sums"] = EpochSums(**sums)
        return cls(**content)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value


def _number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is no number")


def _count(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is no count")
