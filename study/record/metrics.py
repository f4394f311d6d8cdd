"""What a run records, by name: the metrics of an epoch and of a test. Log, results table and MLflow hold these."""

from collections.abc import Mapping
from typing import Any

from trainers.memory.report import CATEGORIES

# MLflow's compare page gets slow with many keys, so a new one is a decision made here.
EPOCH_METRICS = (
    "epoch",
    "train_loss",
    "val_accuracy",
    "val_accuracy_top5",
    "val_accuracy_balanced",
    "val_majority_share",
    "flip_rate",
    "flips_per_weight",
    "flipped_share",
    "lr",
    "temperature",
    "peak_memory_bytes",
    *(f"memory_{category}_bytes" for category in CATEGORIES),
    "state_bits_per_weight",
    "train_seconds",
    "fewest_workers",
)
TEST_METRICS = ("test_accuracy", "test_accuracy_top5", "test_accuracy_balanced", "test_majority_share")
METRIC_KEYS = EPOCH_METRICS + TEST_METRICS


def recordable(report: Mapping[str, Any]) -> dict[str, float]:
    """The part of a training report that is recorded: its entries named in `METRIC_KEYS`, without the Nones."""
    return {key: report[key] for key in METRIC_KEYS if report.get(key) is not None}
