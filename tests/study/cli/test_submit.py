"""The command line of `submit`: what it hands on, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from study.cli.command_line import main
from study.submit import submission
from tests.study.submit.played_cluster import cluster_file


def test_options_of_run_are_handed_on_and_the_rest_is_submit_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr(submission, "submit", lambda *given, **options: called.append((given, options)) or 5)
    file = str(cluster_file(tmp_path))
    words = ["--trials", "3", "--no-asha", "--at_once", "2", "--download", "--skip-damaged", "--output", "o"]
    words += ["--storage", "s3://b"]
    assert main(["submit", file, "quickstart", *words, "--dry-run"]) == 5
    ((given, options),) = called
    assert given[:2] == (file, "quickstart") and given[2].search.trials == 3
    assert options == {
        "words": [
            "--download",
            "--skip-damaged",
            "--no-asha",
            "--trials",
            "3",
            "--at-once",
            "2",
            "--storage",
            "s3://b",
        ],
        "plugins": [],
        "data_root": None,
        "output": "o",
        "dry_run": True,
    }


def test_a_study_and_a_cluster_in_the_wrong_order_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "quickstart", str(cluster_file(tmp_path))]) == 2
    assert capsys.readouterr().err.startswith("error: ")
