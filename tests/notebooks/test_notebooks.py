"""What holds for every notebook."""

import nbformat

from tests.notebooks.running import NOTEBOOKS


def test_notebooks_are_kept_without_outputs() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert code and all(not cell.outputs and cell.execution_count is None for cell in code), path
