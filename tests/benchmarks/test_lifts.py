"""The table of lifts says what a study's verdicts say."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lifts import lines, main, mean_lines


def method(name: str, accuracy: float, bits: float, against: float | None, phase: str = "confirm") -> dict[str, Any]:
    def near(value: float) -> dict[str, float]:
        return {"mean": value, "low": value - 0.01, "high": value + 0.01}

    return {
        "method": name,
        "label": name,
        "phase": phase,
        "test_accuracy": near(accuracy),
        "difference_points": None if against is None else near(against),
        "kind": "lower",
        "peak_memory_bytes": {"mean": 3 * 2**20},
        "memory_ratio": {"mean": 0.125},
        "by_seed": {"state_bits_per_weight": {"1": bits, "2": bits}},
    }


def test_a_row_says_accuracy_lift_difference_memory_and_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = [
        method("frozen", 0.5, 1, -10.0),
        method("binary", 0.55, 1, -5.0),
        method("real-Adam", 0.6, 96, None),
        method("bop", 0.9, 33, None, phase="search"),
    ]
    (tmp_path / "verdicts.json").write_text(
        json.dumps({"workloads": [{"dataset": "Digits", "methods": methods}], "overall": None})
    )
    assert main([str(tmp_path)]) == 0
    adam, binary, frozen = capsys.readouterr().out.splitlines()[2:]
    assert adam == "| Digits | `real-Adam` | 96 | 60.0 [59.0, 61.0] | +10.0 | baseline | 3.0 | 0.12 |"
    assert binary == "| Digits | `binary` | 1 | 55.0 [54.0, 56.0] | +5.0 | -5.0 [-5.0, -5.0] lower | 3.0 | 0.12 |"
    assert frozen == "| Digits | `frozen` | 1 | 50.0 [49.0, 51.0] |  | -10.0 [-10.0, -10.0] lower | 3.0 | 0.12 |"


def test_without_a_control_there_is_no_lift() -> None:
    (row,) = list(lines({"workloads": [{"dataset": "D", "methods": [method("binary", 0.5, 1, None)]}]}))[2:]
    assert row == "| D | `binary` | 1 | 50.0 [49.0, 51.0] |  | baseline | 3.0 | 0.12 |"


def test_one_seed_gives_no_interval() -> None:
    alone = method("binary", 0.5, 1, -5.0) | {"test_accuracy": {"mean": 0.5, "low": None, "high": None}}
    alone["difference_points"] = {"mean": None, "low": None, "high": None}
    (row,) = list(lines({"workloads": [{"dataset": "D", "methods": [alone]}]}))[2:]
    assert row == "| D | `binary` | 1 | 50.0 [–] |  | – lower | 3.0 | 0.12 |"


def test_means_over_data_sets_stand_below_with_the_baselines_own_lift() -> None:
    def mean(method: str, against: str, sort: str, points: float, kind: str) -> dict[str, Any]:
        own = {"method": method, "against": against, "sort": sort, "kind": kind, "memory_ratio": None}
        if sort == "baseline":
            own["memory_ratio"] = 0.137
        interval = {"mean": points, "low": points - 1, "high": points + 2}
        return {"model": "MLP", "by_dataset_points": {"A": points, "B": points}, "difference_points": interval, **own}

    means = [
        mean("binary", "real-Adam", "baseline", -0.4, "undecided"),
        mean("frozen", "real-Adam", "baseline", -5.0, "lower"),
        mean("binary", "frozen", "lift", 4.6, "higher"),
    ]
    assert list(mean_lines({"means": means})) == [
        "",
        "| MLP, A, B | minus baseline | lift | ratio |",
        "| --- | ---: | ---: | ---: |",
        "| `binary` | -0.4 [-1.4, 1.6] undecided | +4.6 [3.6, 6.6] higher | 0.14 |",
        "| `frozen` | -5.0 [-6.0, -3.0] lower |  | 0.14 |",
        "| `real-Adam` |  | +5.0 [3.0, 6.0] higher |  |",
    ]


def test_a_study_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2 and "usage" in capsys.readouterr().err
