"""A recorded study, made once a session, and an empty one for tests that write into MLflow."""

import shutil
from pathlib import Path

import pytest

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
    from study.mlflow_export.store import create_database

    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    create_database(database)
    return database


@pytest.fixture
def fresh_study(empty_database: Path, tmp_path: Path) -> Path:
    """A study folder called `fresh` with an empty log and an empty database of MLflow's."""
    folder = tmp_path / "fresh"
    write_study_file(folder, "fresh")
    (folder / "log.jsonl").touch()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder
