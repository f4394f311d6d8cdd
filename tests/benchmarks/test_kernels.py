"""Products of bits are timed against torch's, shape by shape, and compared integer by integer."""

import json

import pytest
import torch

from benchmarks import kernels as benchmark
from benchmarks.kernels import alternating, main


@pytest.fixture(autouse=True)
def few_small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SHAPES", ((3, 16, 6), (1, 72, 5)))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def test_a_json_line_a_shape_says_how_fast_and_whether_exact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--batch-size", "2", "--repeats", "3"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["shape"]["channels"] for line in lines] == [16, 72]
    for line in lines:
        assert line["exact"] is True and line["gmac_per_second"] > 0
        assert line["ratio"] == pytest.approx(line["gmac_per_second"] / line["torch_gmac_per_second"])
        assert {"threads", "hardware", "versions", "git_commit"} <= line.keys()


def test_the_table_has_a_row_a_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch-size", "2", "--repeats", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and {row.count("|") for row in rows} == {6} and rows[-1].endswith("| yes |")


def test_calls_take_turns() -> None:
    order: list[str] = []
    found = alternating([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert order == ["a", "b"] * 3 and len(found) == 2


def test_what_cannot_be_timed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--repeats", "0"]) == 2
    assert "repeats is 0; give at least 1" in capsys.readouterr().err
