"""One recorded study for all tests of the records: making its database costs seconds, so it is made once and copied."""

import shutil
from pathlib import Path

import pytest

from study.mlflow_export.exporter import Tracker
from study.record.tracking_uri import default_tracking_uri
from tests.study.recorded_study import record_study, write_study_file


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with recorded runs. Tests that write into it copy it first."""
    folder = tmp_path_factory.mktemp("recorded") / "study"
    record_study(folder)
    return folder


@pytest.fixture
def recorded_copy(recorded: Path, tmp_path: Path) -> Path:
    """The recorded study, copied to another place."""
    return Path(shutil.copytree(recorded, tmp_path / "elsewhere"))


@pytest.fixture(scope="session")
def empty_database(integration: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Tracker(default_tracking_uri(folder), "other")
    return folder / "mlflow.db"


@pytest.fixture
def fresh_study(empty_database: Path, tmp_path: Path) -> Path:
    """A study folder called `fresh` with an empty database."""
    folder = tmp_path / "fresh"
    write_study_file(folder, "fresh")
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder
