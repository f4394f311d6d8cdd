"""Which display a command line asks for, and a whole command on a terminal of its own."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from study.cli.command_line import main, parser
from study.cli.output import display_of
from study.record.display import JsonLines, Plain, Quiet
from tests.study.small_study import content

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("words", "kind"), [(["--quiet"], Quiet), (["--json"], JsonLines), (["--plain"], Plain), ([], Plain)]
)
@pytest.mark.parametrize("command", [["run", "quickstart"], ["prepare", "Digits"]], ids=["run", "prepare"])
def test_options_choose_the_display(words: list[str], kind: type[Plain], command: list[str]) -> None:
    assert type(display_of(parser(command[0]).parse_args([*command, *words]))) is kind


def test_a_command_whose_output_is_its_result_prints_it() -> None:
    assert type(display_of(parser("status").parse_args(["status", "studies/x", "--json"]))) is Plain


def test_options_that_exclude_each_other_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quickstart", "--quiet", "--json"]) == 2
    assert capsys.readouterr().err == "error: --quiet and --json exclude each other; give one of them\n"


@pytest.mark.integration
def test_on_a_terminal_a_run_shows_itself_live_and_leaves_its_results(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content(search={"trials": 2}, confirm={"seeds": [11]})))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "110", "LINES": "40"}
    words = ["run", str(file), "--simulate", "--output", str(tmp_path / "study")]
    command = subprocess.Popen(
        [sys.executable, "-m", "study", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the terminal closes with the command
        while part := os.read(ours, 65536):
            said += part
    text = said.decode()
    assert command.wait() == 0, text
    assert "running now" in text and "GiB of the machine in use" in text
    # What stays is what is said after the last picture was taken away.
    assert "Verdicts against" in text and "verdicts: " in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
