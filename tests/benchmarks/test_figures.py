"""The ratios of training on bits to conventional training come from one process, step by step in turns."""

import json
from typing import Any

import pytest
import torch

from benchmarks import figures
from benchmarks.figures import by_turns, main, measure
from benchmarks.memory import Work
from trainers.config import TrialConfig

SMALL = Work(
    "a small MLP",
    TrialConfig("any", "MLP", "binary", image_size=8, hid_dim=32, depth=2, batch_size=8, device="cpu"),
    10,
    1,
    None,
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "WORKS", {"small": SMALL})
    monkeypatch.setattr(figures, "measure_apart", measure)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def test_a_json_line_a_row_holds_the_ratios_and_what_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--threads", "1", "--steps", "2"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for against in ("conventional", "lean"):
        seconds = found["step_seconds"]
        assert found["step_ratio"][against]["cpu"] == pytest.approx(seconds["packed"]["cpu"] / seconds[against]["cpu"])
        peak = found["peak_memory_bytes"]
        assert found["peak_ratio"][against] == pytest.approx(peak["packed"] / peak[against])
    assert found["peak_memory_bytes"]["lean"] < found["peak_memory_bytes"]["conventional"]
    assert found["evaluation_ratio"]["wall"] > 0 and {"hardware", "git_commit", "versions"} <= found.keys()


def test_the_table_has_a_row_for_each_number_of_threads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--threads", "1", "2", "--steps", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and {row.count("|") for row in rows} == {9}


def test_calls_take_turns_after_one_that_is_not_counted() -> None:
    order: list[str] = []
    calls: dict[str, Any] = {name: lambda name=name: order.append(name) for name in "ab"}
    assert by_turns(calls, 2).keys() == {"a", "b"}
    assert order == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("options", "message"), [(["--rows", "resnet"], "row resnet is unknown"), (["--steps", "0"], "at least 1")]
)
def test_what_cannot_be_measured_is_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert message in capsys.readouterr().err
