"""A PostgreSQL that shows studies: one address for MLflow's records and for Optuna's, each in its own tables.

The address is the study's tracking URI, `postgresql://USER@HOST/DATABASE`. MLflow's tables lie where its own commands
look for them, in the database's default schema; Optuna's in the schema `optuna`, because both keep the version of
their tables in a table of one name. The password is nobody's business but the client library's (libpq), which finds it
in PGPASSWORD, in ~/.pgpass or in the file that PGPASSFILE names.

Nothing here imports MLflow or Optuna.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from trainers.errors import UserError

OPTUNA = "optuna"
"""The schema of Optuna's tables."""
SECONDS = 5
"""In which a server must take a connection."""

# The key of the server's lock under which tables are made: processes that make them at once fail. (`binsfo`, read as a
# number.)
_MAKING = int.from_bytes(b"binsfo", "big")


def is_postgres(uri: str) -> bool:
    """Whether a tracking URI is that of a PostgreSQL."""
    return uri.partition("://")[0].lower().partition("+")[0] == "postgresql"


def client_uri(uri: str, schema: str | None = None) -> str:
    """A PostgreSQL's address as SQLAlchemy takes it: by psycopg 3 unless it says otherwise; without a password.

    Args:
        uri: the tracking URI.
        schema: where tables lie; None for the database's default.

    >>> client_uri("postgresql://anna@host/db", "optuna")
    'postgresql+psycopg://anna@host/db?options=-csearch_path%3Doptuna'
    """
    from sqlalchemy import make_url

    url = make_url(uri)
    if url.drivername == "postgresql" and (find_spec("psycopg") or not find_spec("psycopg2")):
        url = url.set(drivername="postgresql+psycopg")
    if schema is not None:
        own = url.query.get("options", "")
        given = [own] if isinstance(own, str) else list(own)
        url = url.update_query_dict({"options": " ".join([*filter(None, given), f"-csearch_path={schema}"])})
    return url.render_as_string(hide_password=False)


@contextmanager
def making_tables(uri: str) -> Iterator[Any]:
    """A connection (SQLAlchemy's) during which nobody else of this project makes tables in that database.

    Raises:
        UserError: the database cannot be reached, or does not let this user in.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        client_uri(uri), poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": SECONDS}
    )
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise UserError(
            f"the database {uri} cannot be used ({reason(error)}); is it there, and does PGPASSWORD, ~/.pgpass or the "
            "file that PGPASSFILE names hold its password?"
        ) from None
    with connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MAKING})
        yield connection  # the end of the connection is the lock's


def reason(error: BaseException) -> str:
    """Why a database did not answer, in one line, from whatever SQLAlchemy wraps it in."""
    while (inner := getattr(error, "orig", None) or error.__cause__) is not None and inner is not error:
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # libpq names each address it tried, and what the server said comes last on its line.
    found = next((line for line in lines if "FATAL:" in line or "failed" in line or "closed" in line), "")
    found = (found or next(iter(lines), type(error).__name__)).rpartition("FATAL:")[2].strip()
    return found if len(found) <= 160 else found[:159] + "…"
