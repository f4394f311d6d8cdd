"""What every test may use: the folder of real images and reference vectors, where it is at hand."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of `data/` (real image packs) and `reference/` (test vectors); without it the test is skipped."""
    folder = Path(os.environ.get("BINSFO_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data at {folder}; set BINSFO_SHARED to its folder")
    return folder
