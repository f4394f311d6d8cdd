"""What `study status` and `study list` print, and that they answer beside a command at work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.cli.command_line import main
from study.record.working_alone import only_one
from tests.study.record.test_study_state import offer
from tests.study.recorded_study import begin_study, record_run, record_search, record_sweep

KEYS = {
    "study", "folder", "state", "simulated", "command", "since", "last", "over", "left", "ended_since", "seconds_left",
    "damaged_lines", "cells", "alone", "running",
}  # fmt: skip


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """A study of two cells: one searched, one with a run going on."""
    folder = tmp_path / "studies" / "half"
    log = begin_study(folder, "half")
    record_search(log, "Digits", "binary")
    cell = record_sweep(log, "Digits", "bop")
    record_run(log, cell, "Digits", "bop", "search", f"{cell}-search-0000", 1, "running", 0.8, 0.1, 1)
    offer(folder, "Digits-MLP-binary", cell)
    return folder


def test_status_of_a_study_at_work_says_what_is_done_what_runs_and_what_is_left(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_one(half_done):
        assert main(["status", str(half_done)]) == 0
    said = capsys.readouterr().out
    assert "half: running since" in said
    assert "5/5" in said and "0/5" in said and "0/2" in said
    assert "1 pruned, 1 diverged, 1 failed" in said and "91.0 %" in said
    assert "Digits-MLP-bop-search-0000  epoch 1/2  val 80.0 %" in said
    assert "5 of 14 runs are over, 9 left" in said


def test_status_of_a_study_that_a_kill_ended_says_how_it_goes_on(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(half_done)]) == 0
    said = capsys.readouterr().out
    assert "half: interrupted" in said and "to go on" in said
    assert "it goes on with the same command: python -m study run test" in said


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_status_fits_the_width_that_there_is(
    columns: int, half_done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["status", str(half_done)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= columns
    assert any("5/5" in line for line in lines) and any("91.0 %" in line for line in lines)


def test_what_goes_into_a_pipe_holds_no_colours(half_done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(half_done)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_status_as_json_is_one_object_with_the_documented_keys(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(half_done), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content.keys() == KEYS
    assert (content["state"], content["over"], content["left"]) == ("interrupted", 5, 9)
    assert content["cells"][0]["search"] == {
        "planned": 5, "over": 5, "left": 0,
        "outcomes": {"completed": 2, "pruned": 1, "diverged": 1, "failed": 1},
    }  # fmt: skip


def test_watching_ends_with_the_command_that_is_watched(half_done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(half_done), "--watch", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_list_names_each_study_below_a_folder_and_nothing_inside_one(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_study(half_done.parent / "deep" / "other", "other")
    begin_study(half_done / "runs" / "no-study", "inside")
    assert main(["list", str(half_done.parent), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(study["folder"]).name for study in found] == ["other", "half"]
    assert all(study.keys() == KEYS for study in found)
    assert main(["list", str(half_done.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "half" in lines[2] and "interrupted" in lines[2] and "5/14" in lines[2]


def test_list_goes_on_past_a_study_that_cannot_be_read(half_done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = half_done.parent / "broken"
    broken.mkdir()
    (broken / "study.json").write_text("{")
    assert main(["list", str(half_done.parent)]) == 0
    said = capsys.readouterr().out
    assert "unreadable" in said and "half" in said


def test_list_says_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no study lies below {tmp_path}\n"
    assert main(["list", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("error: there is no folder")


@pytest.mark.integration
def test_asking_imports_neither_torch_nor_ray(half_done: Path) -> None:
    code = (
        f"import sys; from study.cli.command_line import main; main(['status', {str(half_done)!r}]);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'mlflow', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
