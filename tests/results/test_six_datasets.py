"""The published part of the study of six data sets: what the page says is what its runs recorded."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from study.compare.table import MIB

RESULTS = Path(__file__).resolve().parents[2] / "results" / "six-datasets"
SO_FAR = RESULTS / "so-far"

# What the page's rows are called.
NAMES = {
    "binary": "BinSFO as published",
    "binary-4bit": "BinSFO, 4-bit counters",
    "bop": "Bop",
    "real-SGD": "real-space SGD",
    "real-Adam": "real-space Adam",
    "frozen": "frozen",
    "head": "head only",
}

# Cells of which some runs were measured on processors with AVX-512 and some with AVX2 alone.
ON_TWO_KINDS = ("CIFAR100-ResNet18-binary",)


def peaks() -> dict[str, set[int]]:
    """The peaks that the runs of each cell measured, by the cell's name."""
    found = defaultdict(set)
    for row in pq.read_table(SO_FAR / "results.parquet").to_pylist():
        if row["peak_memory_bytes"] is not None:
            found[row["trial_id"].partition(f"-{row['phase']}-")[0]].add(row["peak_memory_bytes"])
    return dict(found)


def page() -> dict[tuple[str, str], list[str]]:
    """The cells of the page's table of results, by data set and name."""
    found: dict[tuple[str, str], list[str]] = {}
    dataset = ""
    for line in (RESULTS / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10 and cells[1] in NAMES.values():
            dataset = cells[0] or dataset
            found[dataset, cells[1]] = cells[2:]
    return found


def test_the_page_shows_every_method_that_was_confirmed_on_a_finished_set() -> None:
    shown = page()
    assert shown
    for workload in json.loads((SO_FAR / "verdicts.json").read_text())["workloads"]:
        methods = {one["method"]: one for one in workload["methods"] if one["phase"] == "confirm"}
        if not any((workload["dataset"], name) in shown for name in NAMES.values()):
            continue
        assert methods.keys() >= NAMES.keys()
        for method, name in NAMES.items():
            bits, accuracy, _, difference, peak, *_ = shown.pop((workload["dataset"], name))
            value, verdict = methods[method], methods[method]["kind"]
            measured = value["test_accuracy"]
            low, high = 100 * measured["low"], 100 * measured["high"]
            assert accuracy == f"{100 * measured['mean']:.1f} [{low:.1f}, {high:.1f}]"
            assert peak == f"{value['peak_memory_bytes']['mean'] / MIB:.1f}"
            assert {float(bits)} == {round(state, 3) for state in value["by_seed"]["state_bits_per_weight"].values()}
            if method != "real-Adam":
                assert difference.endswith(verdict)
    assert not shown


def means() -> dict[tuple[str, str], dict[str, Any]]:
    """What two methods differ by on average, each pair over the data sets that have both."""
    found = json.loads((SO_FAR / "verdicts.json").read_text())["overall"]["means"]
    return {(one["method"], one["against"]): one for one in found}


def said(mean: dict[str, Any], *, turned: bool = False) -> str:
    """As the pages write a mean with its interval and verdict."""
    ends = [mean["difference_points"][end] for end in ("mean", "low", "high")]
    kind = mean["kind"]
    if turned:
        ends = [-ends[0], -ends[2], -ends[1]]
        kind = {"lower": "higher", "higher": "lower"}.get(kind, kind)
    return f"{ends[0]:+.1f} [{ends[1]:.1f}, {ends[2]:.1f}] {kind}"


@pytest.mark.parametrize("path", [RESULTS / "README.md", RESULTS.parents[1] / "README.md"], ids=["page", "first page"])
def test_the_means_over_data_sets_are_what_was_found(path: Path) -> None:
    rows: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] in NAMES.values():
            rows[cells[0]] = cells[1:]
    assert rows.keys() == set(NAMES.values())
    found = means()
    for method, name in NAMES.items():
        _, minus, lift, ratio = rows[name]
        against, above = found.get((method, "real-Adam")), found.get((method, "frozen"))
        assert minus == (said(against) if against else "")
        assert ratio == ("1" if against is None else f"{against['memory_ratio']:.2f}")
        if method == "real-Adam":
            assert lift == said(found["frozen", "real-Adam"], turned=True)
        else:
            assert lift == (said(above) if above else "")


def test_every_run_of_a_cell_has_the_same_peak_whatever_ran_beside_it() -> None:
    """docs/memory.md says so: no run has to have the machine to itself."""
    measured = peaks()
    mixed = [measured.pop(cell) for cell in ON_TWO_KINDS]
    assert len(measured) > 14 and all(len(sizes) == 1 for sizes in measured.values())
    assert all(len(sizes) == 2 and max(sizes) < 1.005 * min(sizes) for sizes in mixed)


def test_the_packed_methods_of_few_bits_take_at_most_0_15_of_adams_memory() -> None:
    measured = peaks()
    for dataset in {dataset for dataset, _ in page()}:
        adam = min(measured[f"{dataset}-ResNet18-real-Adam"])
        for method in ("binary", "binary-4bit", "frozen", "head"):
            assert max(measured[f"{dataset}-ResNet18-{method}"]) <= 0.15 * adam
