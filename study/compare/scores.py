"""What recorded runs say of each method: its configuration's accuracy and memory by seed (PROTOCOL §5.1).

Only runs that completed count, and only one phase counts in one score:

- *confirm*: a configuration is trained again on fresh seeds. Of those with the most seeds completed, the one with the
  highest mean validation accuracy represents the method. Test accuracy chooses nothing.
- where nothing is confirmed yet, *train* and *search* results are shown, each as a row of its own that says so.

A pruned trial's values stop at an early epoch, so they enter nothing here (§3.4); the ledger counts it. After a search
with two objectives each confirmed configuration is a row of its own (§7).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa

from study.compare.statistics import Estimate, accuracy_interval, mean_and_interval
from trainers.predictions import Predictions
from trainers.registry import configuration_settings, method_labels

BASELINE = "real-Adam"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class MethodSummary:
    """One configuration of one method in one phase; nearly always its only row.

    Attributes:
        method: a method or an ablation's variant of one, e.g. `binary-EWM-gaussian`.
        phase: confirm, or train or search where nothing is confirmed.
        seeds: the seeds that completed, ascending.
        planned: how many runs of this configuration there are, completed or not.
        configuration: its settings, without those that the method does not use.
        validation, test: accuracy by seed, fractions 0..1; empty where not measured or not opened.
        memory: peak memory by seed, in bytes; empty where not measured.
        state_bits: bits a binary weight that training keeps from step to step, by seed; empty where not recorded.
        train_seconds: the mean over the runs.
        trial_ids: the runs that this stands on.
        trial: the number of the search trial that it is, or that it confirms; None for a run of its own.
        represents: whether it is the configuration that stands for the method (§5.1).
        one_of_several: whether the method has further rows.
        answers: by seed, which images of the test set it was right on, bool (images,); of the seeds that kept them.
        test_set: which test set these are of; None where none are kept, or of several.
    """

    method: str
    phase: str
    seeds: tuple[int, ...]
    planned: int
    configuration: dict[str, Any]
    validation: Mapping[int, float]
    test: Mapping[int, float]
    memory: Mapping[int, float]
    state_bits: Mapping[int, float] = field(default_factory=dict)
    train_seconds: float | None = None
    trial_ids: tuple[str, ...] = ()
    trial: int | None = None
    represents: bool = True
    one_of_several: bool = False
    answers: Mapping[int, np.ndarray] = field(default_factory=dict)
    test_set: str | None = None

    @property
    def confirmed(self) -> bool:
        return self.phase == "confirm"

    @property
    def label(self) -> str:
        """The row's name: the method, with its phase where that is not confirm and its trial where it has several.

        >>> MethodSummary("bop", "search", (1,), 1, {}, {}, {}, {}).label
        'bop (search)'
        """
        trial = f"#{self.trial}" if self.one_of_several and self.trial is not None else ""
        return self.method + trial + ("" if self.confirmed else f" ({self.phase})")

    @property
    def val_accuracy(self) -> Estimate | None:
        return accuracy_interval(list(self.validation.values())) if self.validation else None

    @property
    def test_accuracy(self) -> Estimate | None:
        return accuracy_interval(list(self.test.values())) if self.test else None

    @property
    def peak_memory(self) -> Estimate | None:
        """In bytes."""
        return mean_and_interval(list(self.memory.values())) if self.memory else None


@dataclass(frozen=True)
class CellGroup:
    """All methods on one workload, a data set and a model: in the registry's order, an ablation's after their own."""

    dataset: str
    model: str
    methods: tuple[MethodSummary, ...] = field(default=())

    @property
    def scored(self) -> tuple[MethodSummary, ...]:
        """The confirmed rows, or all of them while nothing is confirmed: what may be shown in one picture."""
        return tuple(method for method in self.methods if method.confirmed) or self.methods

    @property
    def measure(self) -> str:
        """`test` where every scored row was tested, otherwise `validation`: the two are never mixed."""
        return "test" if self.scored and all(method.test for method in self.scored) else "validation"

    def accuracy(self, method: MethodSummary) -> Mapping[int, float]:
        """A row's accuracy by seed, of the kind that its workload is scored by."""
        return method.test if self.measure == "test" else method.validation

    @property
    def baseline(self) -> MethodSummary | None:
        """What the others are compared with (§6.1): real-Adam, or else the method that needs most memory."""
        representatives = [method for method in self.scored if method.represents]
        for method in representatives:
            if method.method == BASELINE:
                return method
        measured = [method for method in representatives if method.memory]
        return max(measured, key=lambda method: fmean(method.memory.values()), default=None)


def summarise(
    table: pa.Table,
    sweeps: Mapping[str, Mapping[str, str]] | None = None,
    predictions: Mapping[str, Predictions] | None = None,
) -> list[CellGroup]:
    """Group a study's runs by workload, and summarise every method with a completed run in each.

    Args:
        table: the rows of `results.parquet`.
        sweeps: the sweeps' tags by cell, which say where a search had two objectives.
        predictions: by trial id, the answers of confirmed runs, as far as they are kept.
    """
    fronts = {_key(tags) for tags in (sweeps or {}).values() if two_objectives(tags)}
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["dataset"], row["model"]), {}).setdefault(row["method"], []).append(row)
    summaries = []
    for (dataset, model), by_method in sorted(groups.items()):
        methods: list[MethodSummary] = []
        for name in sorted(by_method, key=_order):
            front = (dataset, model, name) in fronts
            methods += _summarise_method(name, by_method[name], predictions or {}, front=front)
        summaries.append(CellGroup(dataset, model, tuple(methods)))
    return summaries


def two_objectives(tags: Mapping[str, str]) -> bool:
    """Whether a sweep's tag `objectives` (a JSON list) says that memory was an objective too (§7)."""
    try:
        named = json.loads(tags.get("objectives") or "[]")
    except ValueError:
        return False
    return isinstance(named, list) and len(named) > 1


def base_method(method: str) -> str | None:
    """The known method that a variant is of: `binary` of `binary-EWM-gaussian`; None where it is of none."""
    return next((name for name in method_labels() if method == name or method.startswith(f"{name}-")), None)


def _order(method: str) -> tuple[int, str]:
    known, base = method_labels(), base_method(method)
    return (known.index(base) if base else len(known), method)


def _key(tags: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return tags.get("dataset"), tags.get("model"), tags.get("method")


def _summarise_method(
    method: str, rows: Sequence[Row], predictions: Mapping[str, Predictions], *, front: bool
) -> Iterator[MethodSummary]:
    """The method's rows: its best configuration's, or all that were confirmed where the search looked for a front."""
    phases = ("confirm",) if any(_is_done(row, "confirm") for row in rows) else ("train", "search")
    for phase in phases:
        finished = [runs for runs in _configurations(rows, phase) if any(_is_done(row, phase) for row in runs)]
        if not finished:
            continue
        most = max(_done_count(runs) for runs in finished)
        best = max((runs for runs in finished if _done_count(runs) == most), key=_validation_score)
        several = front and phase == "confirm" and len(finished) > 1
        shown = sorted(finished, key=lambda runs: _trial_number(runs) or 0) if several else [best]
        for runs in shown:
            yield _summary(method, phase, runs, predictions, represents=runs is best, one_of_several=several)


def _configurations(rows: Sequence[Row], phase: str) -> list[list[Row]]:
    """The runs of a phase by configuration, in the records' order, each seed once in each.

    Runs that agree in all recorded settings and in the seed differ in a setting that is not a column, so they are of
    configurations of their own.
    """
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["phase"] == phase:
            key, again = _configuration_key(row), 0
            while row["seed"] in {other["seed"] for other in found.get((*key, again), ())}:
                again += 1
            found.setdefault((*key, again), []).append(row)
    return list(found.values())


def _summary(
    method: str,
    phase: str,
    runs: Sequence[Row],
    predictions: Mapping[str, Predictions],
    *,
    represents: bool,
    one_of_several: bool,
) -> MethodSummary:
    done = sorted((row for row in runs if _is_done(row, phase)), key=lambda row: row["seed"])
    seconds = [row["train_seconds"] for row in done if row["train_seconds"] is not None]
    kept = {row["seed"]: predictions[row["trial_id"]] for row in done if row["trial_id"] in predictions}
    test_sets = {one.test_set for one in kept.values()}
    return MethodSummary(
        method=method,
        phase=phase,
        seeds=tuple(row["seed"] for row in done),
        planned=len(runs),
        configuration={name: done[0][name] for name in _columns() if done[0].get(name) is not None},
        validation=_by_seed(done, "val_accuracy"),
        test=_by_seed(done, "test_accuracy"),
        memory=_by_seed(done, "peak_memory_bytes"),
        state_bits=_by_seed(done, "state_bits_per_weight"),
        train_seconds=fmean(seconds) if seconds else None,
        trial_ids=tuple(row["trial_id"] for row in done),
        trial=_trial_number(runs),
        represents=represents,
        one_of_several=one_of_several,
        answers={seed: one.correct for seed, one in kept.items()} if len(test_sets) == 1 else {},
        test_set=test_sets.pop() if len(test_sets) == 1 else None,
    )


def _columns() -> list[str]:
    """The columns that hold a configuration."""
    return [setting.name for setting in configuration_settings()]


def _configuration_key(row: Row) -> tuple[Any, ...]:
    """The same for runs that differ in nothing but the seed, with which a confirmation's name ends."""
    trial = re.sub(r"-s\d+$", "", row["trial_id"]) if row["phase"] == "confirm" else row["phase"]
    own = row["trial_id"] if row["phase"] == "search" else None  # every search trial is a configuration of its own
    return (trial, own, *(row.get(name) for name in _columns()))


def _trial_number(runs: Sequence[Row]) -> int | None:
    """The number of the search trial that these runs are of, which their names hold."""
    found = re.search(r"-(?:search|confirm)-(\d+)(?:-s\d+)?$", runs[0]["trial_id"])
    return int(found[1]) if found else None


def _validation_score(runs: Sequence[Row]) -> float:
    """Mean validation accuracy of the completed runs; below every accuracy where none was measured.

    Of configurations without one, `max` keeps the first in the records' order.
    """
    values = [row["val_accuracy"] for row in runs if row["status"] == "completed" and row["val_accuracy"] is not None]
    return fmean(values) if values else -1.0


def _done_count(runs: Sequence[Row]) -> int:
    return sum(row["status"] == "completed" for row in runs)


def _is_done(row: Row, phase: str) -> bool:
    return bool(row["phase"] == phase and row["status"] == "completed")


def _by_seed(rows: Sequence[Row], name: str) -> dict[int, float]:
    return {row["seed"]: row[name] for row in rows if row[name] is not None}
