"""The messy folder of the examples: what the documentation shows of it is what the commands print."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pyarrow.parquet as pq
import pytest

from study.cli.command_line import main
from trainers.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "examples" / "messy_folder.yaml"
OWN = ["--dataset", "holiday", "--model", "MLP", "--algorithm", "bop", "--image-size", "32", "--batch-size", "16"]
COMMANDS = {
    "train": ["train", *OWN, "--skip-damaged"],
    "sweep": ["sweep", *OWN, "--skip-damaged", "--epochs", "2"],
    "run": ["run", str(STUDY)],
}
TABLE = "  class      train validation     test\n  Beach         31          3        6\n"


@pytest.fixture
def holiday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in the working folder."""
    run_path(str(REPOSITORY / "examples" / "messy_folder.py"))["make"](tmp_path / "holiday")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "holiday"


def shown(text: str) -> str:
    """What is printed as the documentation shows it: in another home, without counts that time decides on."""
    text = text.replace(str(Path.cwd()), "/home/anna")
    return re.sub(r"holiday-[0-9a-f]{8}-", "holiday-ef6ec2df-", re.sub(r"(\[holiday\] preparing .*\n)+", "", text))


def documented(begin: str) -> str:
    (block,) = re.findall(rf"```text\n({re.escape(begin)}.*?)```", (REPOSITORY / "docs/inputs.md").read_text(), re.S)
    return block


def test_the_documentation_shows_what_prepare_says_of_it(holiday: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", "holiday", "--image-size", "32"]
    assert main(command) == 2
    refused = capsys.readouterr()
    assert shown(refused.out + refused.err) == documented("[holiday]")
    assert main([*command, "--skip-damaged"]) == 0
    assert shown(capsys.readouterr().out.partition("\n")[2]) == documented("holiday: prepared")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_prepares_shows_the_classes_once_and_the_notes_each_time(
    command: str, holiday: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def enough(*args: object) -> None:
        raise UserError("enough")

    monkeypatch.setattr("study.drive.placement.check_room", enough)  # what comes after data, model and batch
    for first in (True, False):
        assert main([*COMMANDS[command], "--output", "study"]) == 2
        said = capsys.readouterr()
        assert said.err == "error: enough\n"
        assert (TABLE in said.out) is first
        for line in (
            "4 classes; 94 pictures in train",
            "left out: 1 picture, which is a dead link: ",
            "odd: 1 class too",
        ):
            assert said.out.count(f"holiday: {line}") == 1, line


def test_a_damaged_picture_is_left_out_only_where_that_is_asked_for(
    holiday: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without = STUDY.read_text().replace(", skip_damaged: true", "")
    (tmp_path / "study.yaml").write_text(without)
    for words in (["run", "study.yaml"], COMMANDS["train"][:-1]):
        assert main([*words, "--output", "study"]) == 2
        refused = capsys.readouterr().err
        assert "holiday: 3 of 125 pictures cannot be used" in refused and "--skip-damaged" in refused
    assert not list(Path("study").glob("*"))


def test_what_needs_no_data_is_refused_before_any_are_prepared(holiday: Path) -> None:
    assert main([*COMMANDS["train"], "--lr", "1e300", "--output", "study"]) == 2
    assert not Path("data").exists()


@pytest.mark.integration
def test_the_study_of_it_runs_and_every_run_records_what_was_left_out(holiday: Path) -> None:
    words = ["run", str(STUDY), "--trials", "1", "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "study", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table("out/results.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"completed"}
    runs = list(Path("out/runs").glob("*/inputs.json"))
    assert len(runs) == len(rows)
    for run in runs:
        notes = json.loads(run.read_text())["data"]["notes"]
        left_out = [note["what"] for note in notes if note["kind"] == "left out"]
        assert "1 picture, which is a web page, not a picture" in left_out
