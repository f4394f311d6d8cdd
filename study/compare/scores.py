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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pyarrow as pa

from study.compare.method_summary import BASELINE, CellGroup, MethodSummary
from trainers.predictions import Predictions
from trainers.registry import configuration_settings, method_labels

__all__ = ["BASELINE", "CellGroup", "MethodSummary", "base_method", "shared_settings", "summarise", "two_objectives"]
Row = Mapping[str, Any]


def summarise(
    table: pa.Table,
    sweeps: Mapping[str, Mapping[str, str]] | None = None,
    predictions: Mapping[str, Predictions] | None = None,
) -> list[CellGroup]:
    """Group a study's runs by workload, and summarise every method with a completed run in each.

    Args:
        table: the rows of `results.parquet`.
        sweeps: the sweeps' tags by cell, which say where a search had two objectives, and how many validation images.
        predictions: by trial id, the answers of confirmed runs, as far as they are kept.
    """
    fronts = {_key(tags) for tags in (sweeps or {}).values() if two_objectives(tags)}
    validated_on = {_key(tags): _validation_images(tags) for tags in (sweeps or {}).values()}
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["dataset"], row["model"]), {}).setdefault(row["method"], []).append(row)
    summaries = []
    for (dataset, model), by_method in sorted(groups.items()):
        methods: list[MethodSummary] = []
        for name in sorted(by_method, key=_order):
            front = (dataset, model, name) in fronts
            rows = _over_repeats(name, by_method[name], predictions or {}, front=front)
            methods += [replace(row, validation_images=validated_on.get((dataset, model, name))) for row in rows]
        summaries.append(CellGroup(dataset, model, tuple(methods)))
    return summaries


def two_objectives(tags: Mapping[str, str]) -> bool:
    """Whether a sweep's tag `objectives` (a JSON list) says that memory was an objective too (§7)."""
    try:
        named = json.loads(tags.get("objectives") or "[]")
    except ValueError:
        return False
    return isinstance(named, list) and len(named) > 1


def _validation_images(tags: Mapping[str, str]) -> int | None:
    """How many images validation accuracies of a sweep are measured on; None where that is not recorded."""
    try:
        found = json.loads(tags.get("workload") or "{}").get("validation_images")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, int) and found > 0 else None


def base_method(method: str) -> str | None:
    """The known method that a variant is of: `binary` of `binary-EWM-gaussian`; None where it is of none."""
    return next((name for name in method_labels() if method == name or method.startswith(f"{name}-")), None)


def _order(method: str) -> tuple[int, str]:
    known, base = method_labels(), base_method(method)
    return (known.index(base) if base else len(known), method)


def _key(tags: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return tags.get("dataset"), tags.get("model"), tags.get("method")


def _over_repeats(
    method: str, rows: Sequence[Row], predictions: Mapping[str, Predictions], *, front: bool
) -> list[MethodSummary]:
    """The method's rows; one over all of its searches where these were repeated and confirmed."""
    by_repeat: dict[int, list[Row]] = {}
    for row in rows:
        by_repeat.setdefault(row.get("repeat") or 1, []).append(row)
    if len(by_repeat) > 1:
        found = {
            repeat: next(_summarise_method(method, by_repeat[repeat], predictions, front=False), None)
            for repeat in sorted(by_repeat)
        }
        searches = {repeat: row for repeat, row in found.items() if row is not None and row.confirmed}
        if searches:
            return [_combined(searches)]
    return list(_summarise_method(method, rows, predictions, front=front))


def _combined(searches: Mapping[int, MethodSummary]) -> MethodSummary:
    """One row of several searches', over the seeds that all of them completed."""
    parts = list(searches.values())
    seeds = tuple(seed for seed in parts[0].seeds if all(seed in part.seeds for part in parts))

    def over(values: Sequence[Mapping[int, float]]) -> dict[int, float]:
        return {seed: fmean(one[seed] for one in values) for seed in seeds if all(seed in one for one in values)}

    seconds = [part.train_seconds for part in parts if part.train_seconds is not None]
    test_sets = {part.test_set for part in parts}
    return MethodSummary(
        method=parts[0].method,
        phase=parts[0].phase,
        seeds=seeds,
        planned=sum(part.planned for part in parts),
        configuration=shared_settings([part.configuration for part in parts]),
        validation=over([part.validation for part in parts]),
        test=over([part.test for part in parts]),
        memory=over([part.memory for part in parts]),
        state_bits=over([part.state_bits for part in parts]),
        train_seconds=fmean(seconds) if seconds else None,
        trial_ids=tuple(name for part in parts for name in part.trial_ids),
        test_set=test_sets.pop() if len(test_sets) == 1 else None,
        test_images=_the_only(part.test_images for part in parts),
        repeats=dict(searches),
    )


def shared_settings(configurations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of these have, with one value; at least one."""
    first, *others = configurations
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


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
        test_images=_the_only(
            len(kept[row["seed"]].correct) if row["seed"] in kept else row.get("test_images") for row in done
        ),
    )


def _the_only(values: Iterable[int | None]) -> int | None:
    """The value that all of these have; None where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


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
