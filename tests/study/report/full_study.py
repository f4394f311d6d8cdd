"""The recorded study with all that a report can show: answers to each image, memory by category, a search's journal."""

import json
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from study.record.runs_table import collect
from study.record.study_log import StudyLog
from tests.study.recorded_study import record_study
from trainers.memory.report import CATEGORIES
from trainers.predictions import Predictions, write_predictions

IMAGES, CLASSES = 100, 10
TEST_SET = "0123456789abcdef"


def record_full_study(folder: Path, name: str = "recorded") -> StudyLog:
    """Record it into `folder`."""
    log = record_study(folder, name)
    _split_memory(folder / "log.jsonl")
    for row in collect(folder).to_pylist():
        if row["phase"] == "confirm":
            write_answers(folder / "runs" / row["trial_id"], row["test_accuracy"], row["seed"])
    write_journal(folder / "optuna.journal", "Digits-MLP-binary", trials=24)
    return log


def write_answers(run_dir: Path, accuracy: float, seed: int) -> None:
    """Answers of which this share is right: wrong are the last images, turned by the seed."""
    labels = np.arange(IMAGES) % CLASSES
    correct = np.roll(np.arange(IMAGES) < round(accuracy * IMAGES), seed % 3)
    run_dir.mkdir(parents=True, exist_ok=True)
    answers = Predictions(TEST_SET, "f" * 16, np.where(correct, labels, (labels + 1) % CLASSES), correct)
    write_predictions(run_dir, answers)


def write_journal(path: Path, cell: str, trials: int) -> None:
    """A search of two numbers and a choice, in which the first number decides nearly everything; some pruned."""
    study = optuna.create_study(
        study_name=cell, direction="maximize", storage=JournalStorage(JournalFileBackend(str(path)))
    )
    draws = np.random.default_rng(1)
    asked: dict[str, BaseDistribution] = {
        "temperature": FloatDistribution(1.0, 1e4, log=True),
        "lr": FloatDistribution(1e-5, 1.0, log=True),
        "mask_type": CategoricalDistribution(("EWM", "WPM")),
    }
    for number in range(trials):
        temperature, lr = 10 ** draws.uniform(0, 4), 10 ** draws.uniform(-5, 0)
        settings = {"temperature": temperature, "lr": lr, "mask_type": ("EWM", "WPM")[number % 2]}
        value = 0.9 - 0.1 * abs(np.log10(temperature) - 2) + 0.001 * draws.normal()
        pruned = number % 6 == 5
        study.add_trial(
            create_trial(
                params=settings,
                distributions=asked,
                value=None if pruned else float(value),
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                user_attrs={"outcome": "pruned" if pruned else "completed"},
            )
        )


def _split_memory(log: Path) -> None:
    """Give every epoch's peak memory to the categories, half of it to the weights."""
    lines = []
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "epoch":
            peak = event["metrics"]["peak_memory_bytes"]
            parts = {name: peak // 2 // (len(CATEGORIES) - 1) for name in CATEGORIES}
            parts["weights"] = peak - sum(parts.values()) + parts["weights"]
            event["metrics"] |= {f"memory_{name}_bytes": value for name, value in parts.items()}
        lines.append(json.dumps(event))
    log.write_text("\n".join(lines) + "\n")
