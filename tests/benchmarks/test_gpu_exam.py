"""The GPU examination can be rehearsed from a checkout, stops in time, and keeps what its parts have found."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu_exam import __main__ as exam
from benchmarks.gpu_exam.page import page
from benchmarks.gpu_exam.parts import PARTS


def test_a_page_shows_rows_as_a_table_and_what_a_part_that_failed_had_found() -> None:
    found = {"a": {"ms": 1.234, "equal": True}, "b": {"ms": 2000.0}, "note": "text"}
    shown = page(
        {
            "rehearsal": True,
            "gpu": "a GPU",
            "cpu": "a CPU",
            "versions": "v",
            "git_commit": "c",
            "command": "x",
            "parts": {"flips": {"status": "failed (exit status 1)", "seconds": 3.2, "found": found, "error": ["why"]}},
        }
    )
    assert "a rehearsal on a CPU: no figure here is a GPU's" in shown
    assert "|  | ms | equal |" in shown and "| a | 1.23 | True |" in shown and "| b | 2,000 |  |" in shown
    assert "- note: text" in shown and "**failed (exit status 1)**" in shown and "why" in shown


def test_without_a_gpu_the_way_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exam, "hardware", lambda: {"gpu": "unknown"})
    assert exam.main(["--out", str(tmp_path / "out")]) == 2
    assert "--rehearse" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.integration
def test_a_part_that_has_no_time_left_is_said_and_the_page_is_there(tmp_path: Path) -> None:
    assert exam.main(["--out", str(tmp_path), "--rehearse", "--minutes", "0", "--only", "flips"]) == 1
    assert json.loads((tmp_path / "exam.json").read_text())["parts"]["flips"]["status"] == "no time left"
    assert "no time left" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_every_part_is_gone_through_in_a_rehearsal(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="the kernels need Triton, here in its interpreter")
    assert exam.main(["--out", str(tmp_path), "--rehearse", "--minutes", "20"]) == 0
    parts = json.loads((tmp_path / "exam.json").read_text())["parts"]
    assert list(parts) == list(PARTS) and all(part["found"] for part in parts.values())
    assert {path.name for path in tmp_path.iterdir()} == {"exam.json", "README.md"}
