"""Where MLflow's records lie: the study's own SQLite file, or a tracking server somebody else runs.

The default store is one SQLite file inside the study's folder. Its tables are made once, in a temporary folder, and
moved into place whole: several processes that make them at once fail, and one killed midway would leave half of them.
"""

import logging
import shutil
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.record.folder import study_identity
from study.record.tracking_uri import database_path
from trainers.atomic import write_atomically
from trainers.errors import UserError
from trainers.locks import locked


def check_database(database: Path, *, thorough: bool = False) -> None:
    """Read an MLflow database's table of contents (`thorough`: every page of it) and say plainly where that fails.

    MLflow itself repeats a failing open for about 100 s before it gives up, so this comes first.

    Raises:
        UserError: not a database, damaged, or without MLflow's tables.
    """
    remedy = f"`python -m study doctor {database.parent} --repair` keeps a copy and makes it again from the study's log"
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
    except sqlite3.DatabaseError as error:
        raise UserError(f"the records in {database} cannot be read ({error}); {remedy}") from error
    if verdict != "ok":
        raise UserError(f"the records in {database} are damaged ({verdict}); {remedy}")
    if not {"experiments", "runs", "metrics"} <= tables:
        raise UserError(f"{database} is a database, but none of MLflow's: it lacks the tables of one; {remedy}")


def create_database(database: Path) -> None:
    """Make an empty MLflow database, whole or not at all; nothing where the file is there already. About 2 s.

    Raises:
        UserError: the folder cannot be written.
    """
    if database.exists():
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with locked_database(database):
            if database.exists():
                return
            with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=database.parent) as folder:
                fresh = Path(folder) / "fresh.db"
                with _quiet("mlflow.store.db.utils"), _quiet("alembic"):
                    MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
                # A copy, since MLflow keeps a connection to the first file open for as long as this process lives.
                write_atomically(database, lambda partial: shutil.copyfile(fresh, partial))
    except OSError as error:
        raise UserError(
            f"the records {database} cannot be created: {error}; choose a folder that can be written"
        ) from error


def locked_database(database: Path) -> AbstractContextManager[None]:
    """Hold the lock file beside `database`, waiting for whoever holds it."""
    return locked(database.with_name(f".{database.name}.lock"), "choose a folder on another disk")


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Keep MLflow's news of its tables being made off the user's terminal; warnings stay."""
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_server(uri: str) -> None:
    """MLflow's client retries an unreachable server for minutes; ask once, with a short wait, before it does."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answers; a proxy or a login may refuse this one page
    except OSError as error:
        raise UserError(
            f"no MLflow server answers at {uri} ({error}); start one there or leave the tracking URI out"
        ) from error


def read_runs(directory: str | Path) -> tuple[str, list[Run]]:
    """A study's experiment id and all runs that MLflow holds of it.

    Raises:
        UserError: no study there, no records of it in MLflow, or records that cannot be read.
    """
    study, tracking_uri = study_identity(directory)
    database = database_path(tracking_uri)
    if database is not None:
        if not database.is_file():
            raise UserError(f"the study {study!r} in {directory} has no pages yet: {database} is not there")
        check_database(database, thorough=True)
    elif tracking_uri.startswith(("http://", "https://")):
        check_server(tracking_uri)
    try:
        client = MlflowClient(tracking_uri)
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            raise UserError(f"{tracking_uri} has no experiment {study!r}, so it shows nothing of {directory}")
        runs: list[Run] = []
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
            runs.extend(page)
            if not (token := page.token):
                return experiment.experiment_id, runs
    except MlflowException as error:
        raise UserError(f"the records in {tracking_uri} cannot be read: {error.message}") from error
