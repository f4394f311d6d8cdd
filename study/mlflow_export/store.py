"""Where MLflow's records lie: the study's own SQLite file, or a tracking server or database of somebody's.

The default store is one SQLite file inside the study's folder. Its tables are made once, in a temporary folder, and
moved into place whole: several processes that make them at once fail, and one killed midway would leave half of them.
"""

import logging
import os
import shutil
import socket
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from study.record.postgres import client_uri, is_postgres, making_tables
from study.record.tracking_uri import DATABASES, database_path
from trainers.atomic import write_atomically
from trainers.errors import UserError

# MLflow's client would retry for minutes what can be delivered later.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines on every run that ends
}
# How libraries word it where nobody answers.
_SILENT = ("Max retries exceeded", "Connection refused", "Connection aborted", "timed out", "OperationalError")
# Seconds that a server has to answer.
PATIENCE = 5.0
LONGEST_TROUBLE = 200


def open_store(tracking_uri: str, *, make: bool) -> MlflowClient:
    """A client of the store behind a tracking URI.

    Args:
        tracking_uri: a checked one (`study.record.tracking_uri.checked_uri`).
        make: whether an SQLite file that is not there is made.

    Raises:
        UserError: the store cannot be made, read or reached.
        FileNotFoundError: an SQLite file is not there, and is not to be made.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries are not the user's news
    database = database_path(tracking_uri)
    if database is None:
        check_server(tracking_uri)
    else:
        if not make and not database.exists():
            raise FileNotFoundError(database)
        create_database(database)
        check_database(database)
    try:
        if not is_postgres(tracking_uri):
            client = MlflowClient(tracking_uri)
            client.search_experiments(max_results=1)
            return client
        with making_tables(tracking_uri), _quiet("mlflow.store.db.utils"), _quiet("alembic"):
            client = MlflowClient(client_uri(tracking_uri))
            client.search_experiments(max_results=1)
            return client
    except MlflowException as error:
        if "out-of-date database schema" in str(error):
            raise UserError(
                f"the database behind {tracking_uri} is of another MLflow version; `mlflow db upgrade {tracking_uri}` "
                "brings an older one up to date, a newer one needs its own MLflow (or move the file away)"
            ) from error
        raise UserError(f"the tracking store {tracking_uri} cannot be used: {plain(error)}") from error


def check_database(database: Path, *, thorough: bool = False) -> None:
    """Read an MLflow database's table of contents (`thorough`: every page of it) and say plainly where that fails.

    MLflow itself repeats a failing open for about 100 s before it gives up, so this comes first.

    Raises:
        UserError: not a database, damaged, or without MLflow's tables.
    """
    remedy = "put back a copy, or move it away"
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
    except sqlite3.DatabaseError as error:
        raise UserError(f"MLflow's database {database} cannot be read ({error}); {remedy}") from error
    if verdict != "ok":
        raise UserError(f"MLflow's database {database} is damaged ({verdict}); {remedy}")
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
        with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=database.parent) as folder:
            fresh = Path(folder) / "fresh.db"
            with _quiet("mlflow.store.db.utils"), _quiet("alembic"):
                MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
            if not database.exists():  # another study that is shown there may have been quicker
                # A copy, since MLflow keeps a connection to the first file open for as long as this process lives.
                write_atomically(database, lambda partial: shutil.copyfile(fresh, partial))
    except OSError as error:
        raise UserError(
            f"MLflow's database {database} cannot be made: {error}; choose a folder that can be written"
        ) from error


def check_server(uri: str) -> None:
    """MLflow's client retries an unreachable server for minutes; ask once, with a short wait, before it does.

    Raises:
        UserError: nobody answers there.
    """
    try:
        if uri.startswith(("http://", "https://")):
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE).close()
        else:
            parts = urlsplit(uri)
            port = parts.port or DATABASES[parts.scheme.partition("+")[0]]
            socket.create_connection((str(parts.hostname), port), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return  # it answers; a proxy or a login may refuse this one page
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"no server answers at {uri} ({reason})") from error


def plain(error: Exception) -> str:
    """The reason of a failure in one line; the client's own runs to several for a refused connection."""
    if isinstance(error, UserError):
        return str(error)
    text = f"{error}".split("\n")[0] or type(error).__name__
    if any(sign in text for sign in _SILENT):
        text = "its server does not answer"
    return text if len(text) <= LONGEST_TROUBLE else text[: LONGEST_TROUBLE - 1] + "…"


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
