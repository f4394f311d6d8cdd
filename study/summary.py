"""What recorded runs say of each method: its best configuration's score with a 95 % interval, its memory, its trials.

Only runs that completed count, and only one phase counts in one score:

- *confirm*: a configuration is trained again on fresh seeds. A method's score is that of the configuration with the
  highest mean validation accuracy, among those with the most seeds completed. Test accuracy chooses nothing.
- where nothing is confirmed yet, *train* and *search* results are shown, each as a row of its own that says so.

A pruned trial's values stop at an early epoch, so they enter nothing but the count of trials.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, mean, stdev
from typing import Any

import pyarrow as pa
from scipy import stats

METHODS = ("binary", "bop", "frozen", "real-SGD", "real-Adam")
BASELINE = "real-Adam"
CONFIDENCE = 0.95
CONFIGURATION = (
    "lr",
    "mask_type",
    "scheduler_type",
    "temperature",
    "optimizer",
    "bop_threshold",
    "batch_size",
    "epochs",
    "image_size",
    "width",
    "workers",
)


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, and half the width of its 95 % interval (None where n = 1 gives none)."""

    mean: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class MethodSummary:
    """One method's result in one phase.

    Attributes:
        method: binary, bop, frozen, real-SGD or real-Adam.
        phase: confirm, or train or search where nothing is confirmed.
        seeds: the seeds that completed, ascending.
        planned: how many runs of this configuration there are, completed or not.
        configuration: the best configuration's settings, without those that the method does not use.
        val_accuracy, test_accuracy: fractions 0..1; None where not measured or not opened.
        peak_memory_bytes: the largest over the runs; None where not measured.
        train_seconds: the mean over the runs.
        run_ids: the MLflow runs that this stands on.
        trials: search trials by status; empty where there was no search.
    """

    method: str
    phase: str
    seeds: tuple[int, ...]
    planned: int
    configuration: dict[str, Any]
    val_accuracy: Estimate | None
    test_accuracy: Estimate | None
    peak_memory_bytes: int | None
    train_seconds: float | None
    run_ids: tuple[str, ...]
    trials: Counter[str] = field(default_factory=Counter)

    @property
    def confirmed(self) -> bool:
        return self.phase == "confirm"


@dataclass(frozen=True)
class CellGroup:
    """All methods on one data set with one model, in the order of `METHODS`."""

    dataset: str
    model: str
    methods: tuple[MethodSummary, ...]

    @property
    def baseline(self) -> MethodSummary | None:
        """What memory is compared with: real-Adam where it is there, otherwise the method that needs most."""
        measured = [method for method in self.methods if method.peak_memory_bytes]
        named = [method for method in measured if method.method == BASELINE]
        return max(named or measured, key=lambda method: method.peak_memory_bytes or 0, default=None)


def mean_and_interval(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of n independent values: mean ± t(0.975, n - 1) s / sqrt(n), Student's t.

    n = 1 gives no interval; identical values give ± 0.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values, so no mean; check that runs completed first")
    centre = mean(values)  # exact, unlike a sum of floats: identical values have exactly their own mean
    if n == 1:
        return Estimate(centre, None, n)
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))
    return Estimate(centre, quantile * stdev(values, centre) / math.sqrt(n), n)


def summarise(table: pa.Table) -> list[CellGroup]:
    """Group a study's runs by data set and model, and summarise every method with a completed run in each."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["dataset"], row["model"]), {}).setdefault(row["method"], []).append(row)
    summaries = []
    for (dataset, model), by_method in sorted(groups.items()):
        ordered = sorted(by_method, key=lambda name: (METHODS.index(name) if name in METHODS else len(METHODS), name))
        methods = tuple(entry for name in ordered for entry in _summarise_method(name, by_method[name]))
        summaries.append(CellGroup(dataset, model, methods))
    return summaries


def _summarise_method(method: str, rows: Sequence[dict[str, Any]]) -> Iterable[MethodSummary]:
    trials = Counter(row["status"] for row in rows if row["phase"] == "search")
    phases = ("confirm",) if any(_is_done(row, "confirm") for row in rows) else ("train", "search")
    for phase in phases:
        candidates: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in rows:
            if row["phase"] == phase:
                candidates.setdefault(_configuration_key(row), []).append(row)
        finished = [runs for runs in candidates.values() if any(_is_done(row, phase) for row in runs)]
        if finished:
            most = max(_done_count(runs) for runs in finished)
            comparable = [runs for runs in finished if _done_count(runs) == most]
            yield _summary(method, phase, max(comparable, key=_validation_score), trials)


def _summary(method: str, phase: str, runs: Sequence[dict[str, Any]], trials: Counter[str]) -> MethodSummary:
    done = [row for row in runs if _is_done(row, phase)]
    memory = _present(done, "peak_memory_bytes")
    seconds = _present(done, "train_seconds")
    validation, test = _present(done, "val_accuracy"), _present(done, "test_accuracy")
    return MethodSummary(
        method=method,
        phase=phase,
        seeds=tuple(sorted(row["seed"] for row in done)),
        planned=len(runs),
        configuration={name: done[0][name] for name in CONFIGURATION if done[0][name] is not None},
        val_accuracy=mean_and_interval(validation) if validation else None,
        test_accuracy=mean_and_interval(test) if test else None,
        peak_memory_bytes=max(memory) if memory else None,
        train_seconds=fmean(seconds) if seconds else None,
        run_ids=tuple(row["mlflow_run_id"] for row in done),
        trials=trials,
    )


def _configuration_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same for runs that differ in nothing but the seed, with which a confirmation's name ends."""
    trial = re.sub(r"-s\d+$", "", row["trial_id"]) if row["phase"] == "confirm" else row["phase"]
    own = row["trial_id"] if row["phase"] == "search" else None  # every search trial is a configuration of its own
    return (trial, own, *(row[name] for name in CONFIGURATION))


def _validation_score(runs: Sequence[dict[str, Any]]) -> float:
    """Mean validation accuracy of the completed runs; below every accuracy where none was measured.

    Of configurations without one, `max` keeps the first in the records' order.
    """
    values = _present([row for row in runs if row["status"] == "completed"], "val_accuracy")
    return fmean(values) if values else -1.0


def _done_count(runs: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["status"] == "completed" for row in runs)


def _is_done(row: Mapping[str, Any], phase: str) -> bool:
    return row["phase"] == phase and row["status"] == "completed"


def _present(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]
