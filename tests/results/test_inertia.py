"""The published results of the study of counters: what the tables say is what the runs recorded."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.compare.scores import CellGroup, summarise
from study.compare.table import MIB, percent
from study.compare.verdict import judge
from study.define.study_file import load_study
from study.record.predictions import read_study_predictions

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results" / "inertia"
STUDIES = ("mnist", "cifar10")


def results(name: str) -> pa.Table:
    return pq.read_table(RESULTS / name / "results.parquet")


def group(name: str) -> CellGroup:
    table = results(name)
    (found,) = summarise(table, None, read_study_predictions(RESULTS / name, table.column("trial_id").to_pylist()))
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_the_runs_are_those_of_the_study_file_and_say_where_they_come_from(name: str) -> None:
    study, table = load_study(str(RESULTS / f"{name}.yaml")), results(name)
    rows = table.to_pylist()
    for cell in study.cells:
        own = [row for row in rows if row["method"] == cell.method]
        assert Counter(row["phase"] for row in own) == {"search": cell.trials, "confirm": len(study.confirm.seeds)}
        assert {row["seed"] for row in own if row["phase"] == "confirm"} == set(study.confirm.seeds)
    assert {row["method"] for row in rows} == {cell.method for cell in study.cells}
    for row in rows:
        assert row["simulated"] is None and row["test_forced"] == 0
        assert row["test_opened"] == (1 if row["phase"] == "confirm" else 0)
        assert f"study run results/inertia/{name}.yaml" in row["command"].replace("inertia-five-seeds", "inertia")
        assert len(row["git_commit"]) == 40 and row["versions"] and row["hardware"]
    assert {row["status"] for row in rows if row["phase"] == "confirm"} == {"completed"}


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_and_verdicts_follow_from_the_runs(name: str) -> None:
    text = (RESULTS / name / "table.txt").read_text()
    (workload,) = judge([group(name)], 1.0)
    recorded: list[dict[str, Any]] = json.loads((RESULTS / name / "verdicts.json").read_text())["workloads"][0][
        "methods"
    ]
    assert [row["label"] for row in recorded] == [verdict.row.label for verdict in workload.verdicts]
    for verdict, row in zip(workload.verdicts, recorded, strict=True):
        assert row["text"] == verdict.text and row["front"] == verdict.front
        (line, *_) = [line for line in text.splitlines() if line.startswith(verdict.row.label + " ")]
        assert percent(verdict.row.test_accuracy) in line


@pytest.mark.parametrize("page", ["README.md", "results/inertia/README.md"])
def test_the_pages_show_the_recorded_figures(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    shown = {name: {row.method: row for row in group(name).methods} for name in STUDIES}
    for method in dict.fromkeys(method for rows in shown.values() for method in rows):
        bits, columns = "", []
        for name in STUDIES:
            row = shown[name].get(method)
            if row is None or row.peak_memory is None:
                columns += ["–", "–"]
                continue
            bits = f"{next(iter(row.state_bits.values())):.1f}"
            columns += [percent(row.test_accuracy), f"{row.peak_memory.mean / MIB:.1f}"]
        assert f"| `{method}` | {' | '.join([bits, *columns])} |" in text


def test_four_bits_are_lower_than_adam_on_mnist_by_less_than_a_point() -> None:
    """Five seeds, each image's answer kept: a difference that is there, and that is comparable within 2 points."""
    (workload,) = judge([group("mnist")], 1.0)
    (verdict,) = [verdict for verdict in workload.verdicts if verdict.row.method == "binary-4bit"]
    assert verdict.kind == "lower" and verdict.difference is not None and -1 < verdict.difference.mean < 0
    assert verdict.contrast is not None and verdict.contrast.at_margins == ("lower", "comparable")
    assert set(verdict.row.state_bits.values()) == {5.0}


def test_four_bits_are_lower_than_adam_on_cifar10_and_far_above_the_control() -> None:
    (workload,) = judge([group("cifar10")], 1.0)
    (verdict,) = [verdict for verdict in workload.verdicts if verdict.row.method == "binary-4bit"]
    assert verdict.kind == "lower" and verdict.difference is not None and -5 < verdict.difference.mean < -2.5
    lifts = {contrast.row.method: contrast.kind for contrast in workload.contrasts}
    assert lifts["binary-4bit"] == "higher" and lifts["binary-0bit"] == lifts["binary-8bit"] == "undecided"
