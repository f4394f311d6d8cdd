"""The notebook runs from its first cell to its last, in an empty folder."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "notebooks" / "quickstart.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_a_compared_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *inherited]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    study = tmp_path / "studies" / "quickstart-notebook"
    assert (study / "results.parquet").is_file()
    images = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(images) == 2
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for method in ("binary", "bop", "frozen", "real-SGD", "real-Adam"):
        assert f"'method': '{method}', 'phase': 'confirm'" in printed
