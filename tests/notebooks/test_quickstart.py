"""The notebook runs from its first cell to its last, in an empty folder."""

from pathlib import Path

import pytest

from tests.notebooks.running import execute, pictures, printed


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_a_compared_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("quickstart.ipynb", tmp_path, monkeypatch)
    study = tmp_path / "studies" / "quickstart-notebook"
    assert (study / "results.parquet").is_file()
    assert pictures(notebook) == 2
    for method in ("binary", "binary-4bit", "bop", "frozen", "real-SGD", "real-Adam"):
        assert f"'method': '{method}', 'phase': 'confirm'" in printed(notebook)
