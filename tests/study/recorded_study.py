"""A study's folder with runs that were recorded, not trained: what the tests of the records and the comparison read.

Two groups: `Digits` with the MLP is searched and confirmed; `MNIST` with the MLP is only searched. Every value is made
up from the trial's number, so a test can say what must come out.
"""

import json
from pathlib import Path

from study.mlflow_export.exporter import Tracker, default_tracking_uri
from trainers.config import TrialConfig

ORIGIN = {
    "git_commit": "0" * 40,
    "versions": "python 3.11",
    "hardware": "2 x test",
    "command": "python -m study run test",
}
MIB = 2**20
MEMORY = {"binary": 10 * MIB, "bop": 10 * MIB, "frozen": 10 * MIB, "real-SGD": 32 * MIB, "real-Adam": 40 * MIB}
ACCURACY = {"binary": 0.90, "bop": 0.92, "frozen": 0.80, "real-SGD": 0.95, "real-Adam": 0.96}
SETTINGS = {
    "binary": {"algorithm": "binary", "mask_type": "EWM", "temperature": 120.0},
    "bop": {"algorithm": "bop", "bop_threshold": 1e-6},
    "frozen": {"algorithm": "frozen"},
    "real-SGD": {"algorithm": "real", "optimizer": "SGD"},
    "real-Adam": {"algorithm": "real", "optimizer": "Adam"},
}
SEARCHED = ("completed", "completed", "pruned", "diverged", "failed")
CONFIRMATION_SEEDS = (11, 12, 13)


def write_study_file(folder: Path, name: str, tracking_uri: str | None = None) -> None:
    """The part of `study.json` that the records need."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": 1, "name": name, "tracking_uri": tracking_uri, "cells": {}}
    (folder / "study.json").write_text(json.dumps(content))


def record_study(folder: Path, name: str = "recorded") -> Tracker:
    """Record the whole study into `folder` and return the tracker that did."""
    write_study_file(folder, name)
    tracker = Tracker(default_tracking_uri(folder), name)
    for method in SETTINGS:
        record_search(tracker, "Digits", method)
        record_confirmation(tracker, "Digits", method)
    for method in ("binary", "real-Adam"):
        record_search(tracker, "MNIST", method)
    return tracker


def record_search(tracker: Tracker, dataset: str, method: str) -> None:
    """Five search trials, ended as `SEARCHED` says; of the two completed ones the second is better by one point.

    The pruned trial's last value is the highest of all, which nothing may show.
    """
    parent = _sweep(tracker, dataset, method)
    for number, status in enumerate(SEARCHED):
        accuracy = 0.999 if status == "pruned" else ACCURACY[method] + number / 100
        trial_id = f"{dataset}-MLP-{method}-search-{number:04d}"
        epochs = 1 if status == "pruned" else 2
        record_run(
            tracker, parent, dataset, method, "search", trial_id, 1, status, accuracy, 0.1 * (number + 1), epochs
        )
    tracker.finish(parent, "completed")


def record_confirmation(tracker: Tracker, dataset: str, method: str) -> None:
    """Two configurations on three seeds each; the first (lr 0.2) is better on validation, the second on test."""
    parent = _sweep(tracker, dataset, method)
    for number, lr, better in ((1, 0.2, 0.0), (0, 0.1, -0.02)):
        for place, seed in enumerate(CONFIRMATION_SEEDS):
            accuracy = ACCURACY[method] + better + (place - 1) / 100
            trial_id = f"{dataset}-MLP-{method}-confirm-{number:04d}-s{seed}"
            record_run(
                tracker, parent, dataset, method, "confirm", trial_id, seed, "completed", accuracy, lr, 2,
                test_accuracy=accuracy - 0.01 - 2 * better,
            )  # fmt: skip
    tracker.finish(parent, "completed")


def record_run(
    tracker: Tracker,
    parent: str | None,
    dataset: str,
    method: str,
    phase: str,
    trial_id: str,
    seed: int,
    status: str,
    accuracy: float,
    lr: float,
    epochs: int,
    test_accuracy: float | None = None,
) -> str:
    """One run, epoch by epoch as a sweep would record it; `status` running leaves it open."""
    config = TrialConfig(
        dataset=dataset, model="MLP", lr=lr, epochs=2, seed=seed, batch_size=96, image_size=8, **SETTINGS[method]
    )
    tags = {"dataset": dataset, "model": "MLP", "algorithm": config.algorithm, "method": method, "phase": phase}
    run_id = tracker.trial_run(trial_id, parent, config.to_dict(), {**tags, "seed": str(seed), **ORIGIN})
    for epoch in range(1, epochs + 1):
        metrics = {
            "train_loss": 1.0 / epoch,
            "val_accuracy": accuracy - 0.1 * (epochs - epoch),
            "val_accuracy_top5": 0.99,
            "flip_rate": 0.01 / epoch,
            "lr": lr,
            "peak_memory_bytes": MEMORY[method],
            "train_seconds": 1.5 * epoch,
        }
        tracker.log_epoch(run_id, metrics, epoch)
    if status != "running":
        final = {} if test_accuracy is None else {"test_accuracy": test_accuracy, "test_accuracy_top5": 0.98}
        tracker.finish(run_id, status, final)
    return run_id


def _sweep(tracker: Tracker, dataset: str, method: str) -> str:
    tags = {"dataset": dataset, "model": "MLP", "method": method, "algorithm": SETTINGS[method]["algorithm"], **ORIGIN}
    return tracker.sweep_run(f"{dataset}-MLP-{method}", tags, {"trials": len(SEARCHED)})
