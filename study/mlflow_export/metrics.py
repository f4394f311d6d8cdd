"""The metrics as MLflow shows them: those that decide first and alone, the rest in folders, memory in MiB.

MLflow orders metrics by name and makes a section of its charts of each folder (what stands before a `/`), and its pages
get slow with many keys. So each metric of the log has its place here, and one that has none is not shown: whoever adds
one to `study.record.metrics` decides where people find it.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from study.record.study_log import TrialRecord
from trainers.memory.report import CATEGORIES

MIB = 2**20
MOST_KEYS = 24
"""How many metrics a run may show."""
DIGITS = 5
"""More than tests of ten thousand images tell apart; the log has every digit."""

TEST_ACCURACY, VALIDATION_ACCURACY = "test_accuracy", "val_accuracy"
PEAK_MEMORY, STATE_BITS, DEVICE_SECONDS = "peak_memory_MiB", "state_bits_per_weight", "device_seconds"
TRAIN_LOSS, FLIP_RATE, TEMPERATURE, LEARNING_RATE = "train_loss", "flip_rate", "temperature", "learning_rate"


class ShownAs(NamedTuple):
    """What MLflow shows of a metric of the log: its name there, and what the value is divided by."""

    name: str
    unit: float = 1.0


_DETAILS = ("accuracy_top5", "accuracy_balanced")
SHOWN: Mapping[str, ShownAs] = {
    "test_accuracy": ShownAs(TEST_ACCURACY),
    "val_accuracy": ShownAs(VALIDATION_ACCURACY),
    "peak_memory_bytes": ShownAs(PEAK_MEMORY, MIB),
    "state_bits_per_weight": ShownAs(STATE_BITS),
    "train_loss": ShownAs(TRAIN_LOSS),
    "flip_rate": ShownAs(FLIP_RATE),
    "temperature": ShownAs(TEMPERATURE),
    "lr": ShownAs(LEARNING_RATE),
    **{f"memory_{category}_bytes": ShownAs(f"memory/{category}_MiB", MIB) for category in CATEGORIES},
    **{f"{split}_{name}": ShownAs(f"details/{split}_{name}") for split in ("val", "test") for name in _DETAILS},
    **{
        name: ShownAs(f"details/{name}")
        for name in ("flips_per_weight", "flipped_share", "train_seconds", "fewest_workers")
    },
}
"""By its name in the log."""
LEFT_OUT = ("epoch", "val_majority_share", "test_majority_share")
"""What the log has beside these: the step of all others, and what is the data's, the same for every run."""


def shown(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Metrics of the log by MLflow's names, in its units; values that are not finite are left as they are.

    In the order of `SHOWN`: the page that compares runs opens with the metric that came first.
    """
    for name, entry in SHOWN.items():
        if name in metrics:
            yield entry.name, readable(float(metrics[name]) / entry.unit)


def readable(value: float) -> float:
    """A number to `DIGITS` figures: MLflow's tables print all that it has, and columns are cut off where they end.

    >>> readable(6.750495910644531)
    6.7505
    """
    return float(f"{value:.{DIGITS}g}")


def of_whole_run(trial: TrialRecord) -> dict[str, float]:
    """What a run shows beside its epochs' metrics, or instead of them: its last values, and what it took."""
    took = {DEVICE_SECONDS: readable(trial.device_seconds)} if trial.ended else {}
    return {**dict(shown(trial.metrics)), **took}
