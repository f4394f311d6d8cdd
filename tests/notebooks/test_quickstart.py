"""The first two notebooks run one after the other in one folder: one makes a study, the other reads it."""

from pathlib import Path

import pytest

from tests.notebooks.running import execute, pictures, printed

METHODS = ("binary", "binary-4bit", "bop", "frozen", "real-SGD", "real-Adam")


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_a_compared_study_that_the_next_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = execute("quickstart.ipynb", tmp_path, monkeypatch)
    made = tmp_path / "studies" / "quickstart-notebook"
    assert (made / "results.parquet").is_file()
    assert pictures(notebook) == 2
    for method in METHODS:
        assert f"\n{method}: " in printed(notebook)
    reading = execute("read_a_study.ipynb", tmp_path, monkeypatch)
    assert "quickstart: finished" in printed(reading)
    assert not (tmp_path / "studies" / "simulated").exists()
    for method in METHODS:
        assert f"\n{method}: " in printed(reading)
    assert pictures(reading) == 3
