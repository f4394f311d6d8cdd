"""A study's folder with runs that were recorded, not trained: what the tests of the records and the comparison read.

Two groups: `Digits` with the MLP is searched and confirmed; `MNIST` with the MLP is only searched. Every value is made
up from the trial's number, so a test can say what must come out.
"""

import json
from pathlib import Path

from study.record.study_log import StudyLog
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


def write_study_file(folder: Path, name: str, tracking_uri: str | None = None, study_id: str = "5" * 32) -> None:
    """The part of `study.json` that the records need."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": 1, "id": study_id, "name": name, "tracking_uri": tracking_uri, "cells": {}}
    (folder / "study.json").write_text(json.dumps(content))


def record_study(folder: Path, name: str = "recorded") -> StudyLog:
    """Record the whole study into `folder` and return its log."""
    log = begin_study(folder, name)
    for method in SETTINGS:
        record_search(log, "Digits", method)
        record_confirmation(log, "Digits", method)
    for method in ("binary", "real-Adam"):
        record_search(log, "MNIST", method)
    return log


def begin_study(folder: Path, name: str) -> StudyLog:
    """A study's folder with a log in which a command has begun; returns the log."""
    write_study_file(folder, name)
    log = StudyLog(folder / "log.jsonl")
    log.append("session", **ORIGIN)
    return log


def record_search(log: StudyLog, dataset: str, method: str) -> None:
    """Five search trials, ended as `SEARCHED` says; of the two completed ones the second is better by one point.

    The pruned trial's last value is the highest of all, which nothing may show.
    """
    cell = record_sweep(log, dataset, method)
    for number, status in enumerate(SEARCHED):
        accuracy = 0.999 if status == "pruned" else ACCURACY[method] + number / 100
        trial_id = f"{cell}-search-{number:04d}"
        epochs = 1 if status == "pruned" else 2
        record_run(log, cell, dataset, method, "search", trial_id, 1, status, accuracy, 0.1 * (number + 1), epochs)
    log.append("sweep_end", cell=cell, tags={})


def record_confirmation(log: StudyLog, dataset: str, method: str) -> None:
    """Two configurations on three seeds each; the first (lr 0.2) is better on validation, the second on test."""
    cell = record_sweep(log, dataset, method)
    for number, lr, better in ((1, 0.2, 0.0), (0, 0.1, -0.02)):
        for place, seed in enumerate(CONFIRMATION_SEEDS):
            accuracy = ACCURACY[method] + better + (place - 1) / 100
            trial_id = f"{cell}-confirm-{number:04d}-s{seed}"
            record_run(
                log, cell, dataset, method, "confirm", trial_id, seed, "completed", accuracy, lr, 2,
                test_accuracy=accuracy - 0.01 - 2 * better,
            )  # fmt: skip
    log.append("sweep_end", cell=cell, tags={})


def record_run(
    log: StudyLog,
    cell: str | None,
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
) -> None:
    """One run, epoch by epoch as a sweep would record it; `status` running leaves it open."""
    config = TrialConfig(
        dataset=dataset, model="MLP", lr=lr, epochs=2, seed=seed, batch_size=96, image_size=8, **SETTINGS[method]
    )
    origin = {"cell": cell, "phase": phase, "method": method, "config": config.to_dict()}
    log.append("start", trial_id=trial_id, tags={"simulated": ""}, attempt=1, **origin)
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
        log.append("epoch", trial_id=trial_id, epoch=epoch, metrics=metrics, device_seconds=2.0 * epoch)
    if status != "running":
        final = {} if test_accuracy is None else {"test_accuracy": test_accuracy, "test_accuracy_top5": 0.98}
        if final:
            log.append("test_opened", trial_id=trial_id, forced=False, accuracy=test_accuracy)
        rung = epochs if status == "pruned" else None
        log.append(
            "end", trial_id=trial_id, outcome=status, metrics=final, reason="", rung=rung, device_seconds=2.0 * epochs
        )


def record_sweep(log: StudyLog, dataset: str, method: str, **tags: str) -> str:
    """A sweep is opened; returns its cell."""
    cell = f"{dataset}-MLP-{method}"
    known = {"dataset": dataset, "model": "MLP", "method": method, "algorithm": SETTINGS[method]["algorithm"]}
    log.append("sweep", cell=cell, tags={**known, **tags}, params={"trials": len(SEARCHED)})
    return cell
