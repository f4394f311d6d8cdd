"""Rows of a results table and tags of sweeps, made up without a database: what tests of the comparison's rules read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from study.define.offer import Offered
from study.record.columns import schema
from trainers.predictions import Predictions

MIB = 2**20
SEEDS = (11, 12, 13)
OFFER = Offered(5, 4, (1, 3), 1, SEEDS)

Row = dict[str, Any]


def run(method: str, phase: str, number: int, seed: int, validation: float | None, **changes: Any) -> Row:
    """One completed run of four epochs and two seconds; `changes` replace or add columns."""
    dataset = changes.get("dataset", "Digits")
    trial_id = f"{dataset}-MLP-{method}-{phase}-{number:04d}" + (f"-s{seed}" if phase == "confirm" else "")
    row = dict.fromkeys(schema().names) | {
        "dataset": dataset, "model": "MLP", "algorithm": method.partition("-")[0], "method": method, "phase": phase,
        "trial_id": trial_id, "seed": seed, "status": "completed", "val_accuracy": validation, "lr": 0.1,
        "peak_memory_bytes": 10 * MIB, "train_seconds": 1.5, "epochs": 4,
        "epochs_used": 4, "device_seconds": 2.0, "test_opened": 1 if phase == "confirm" else 0, "test_forced": 0,
        "hardware": "2 x test",
    }  # fmt: skip
    return row | changes


def confirmed(method: str, accuracies: Sequence[float], mib: float | Sequence[float] = 10.0, number: int = 0,
              seeds: Sequence[int] = (), **changes: Any) -> list[Row]:  # fmt: skip
    """One configuration's confirmation, a run a seed; the validation accuracy is that of the test plus one point."""
    seeds = seeds or range(11, 11 + len(accuracies))
    memory = [mib] * len(accuracies) if isinstance(mib, int | float) else mib
    return [
        run(method, "confirm", number, seed, accuracy + 0.01, test_accuracy=accuracy,
            peak_memory_bytes=round(one * MIB), **changes)
        for seed, accuracy, one in zip(seeds, accuracies, memory, strict=True)
    ]  # fmt: skip


def answered_study(
    accuracies: Mapping[str, Mapping[str, float]], images: int = 600, unanswered: Sequence[str] = (), apart: float = 0.0
) -> tuple[list[Row], dict[str, Predictions]]:
    """By data set and method, runs of five seeds with their answers; those of data sets that are named are not kept.

    An image is as difficult for all methods, or for each by so much more or less.
    """
    rows: list[Row] = []
    kept: dict[str, Predictions] = {}
    for number, (dataset, methods) in enumerate(accuracies.items()):
        generator = np.random.default_rng(number)
        easy = generator.random(images)
        for method, accuracy in methods.items():
            own, found = generator.normal(scale=apart, size=images), []
            for seed in range(11, 16):
                correct = easy + own + generator.normal(scale=0.02, size=images) < accuracy
                found.append(float(correct.mean()))
                if dataset not in unanswered:
                    name = f"{dataset}-MLP-{method}-confirm-0000-s{seed}"
                    kept[name] = Predictions(dataset, "", correct.astype(int), correct)
            mib = {"real-Adam": 40.0, "binary": 4.0, "bop": 10.0}.get(method, 5.0)
            rows += confirmed(method, found, mib, dataset=dataset)
    return rows, kept


def searched(method: str, count: int = 5, **changes: Any) -> list[Row]:
    """A search of completed trials."""
    return [run(method, "search", number, 1, 0.5 + number / 100, **changes) for number in range(count)]


def table(*rows: Row | Sequence[Row]) -> pa.Table:
    """Rows, and lists of rows, as one table."""
    return pa.Table.from_pylist([row for one in rows for row in ([one] if isinstance(one, dict) else one)])


def sweep_tags(*methods: str, dataset: str = "Digits", **changes: str) -> dict[str, dict[str, str]]:
    """The tags of a sweep's run for each method; all offered `OFFER`."""
    tags = {"dataset": dataset, "model": "MLP", "offered": OFFER.tag(), "trials": "5", "side_by_side": "1"}
    return {f"{dataset}-MLP-{method}": {**tags, "method": method, **changes} for method in methods}
