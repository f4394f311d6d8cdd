"""Where MLflow shows a study's runs: an address, checked and read without MLflow, and never with a password in it.

A study keeps its tracking URI in `study.json`, and says it in messages; so a URI that holds a secret is refused, with
the way in which MLflow, or the database's own client, takes it from the environment.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from study.record.file_names import DATABASE_FILE
from study.record.postgres import client_uri, is_postgres
from trainers.errors import UserError

DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""The databases that MLflow can keep its records in beside SQLite, and the port of each."""
SECRETS = re.compile(r"pass(word|wd)?|pwd|secret|token|api_?key|odbc_connect", re.IGNORECASE)


def default_tracking_uri(directory: str | Path) -> str:
    """The URI of a study's own SQLite store, `sqlite:///<absolute directory>/mlflow.db`.

    It is worked out from where the folder is now, never stored, so a study that was copied elsewhere is whole.

    Raises:
        UserError: the path holds a `?` or `%`, which mean something else in a database URI.
    """
    database = Path(directory).resolve() / DATABASE_FILE
    if found := {"?", "%"} & set(str(database)):
        raise UserError(
            f"the path of the study folder {database.parent} holds {' and '.join(sorted(found))}, "
            "which a database URI cannot; choose a folder without ? and %"
        )
    return f"sqlite:///{database}"


def database_path(tracking_uri: str) -> Path | None:
    """The file behind a `sqlite:///` URI; None for any other tracking URI."""
    return Path(tracking_uri.removeprefix("sqlite:///")) if tracking_uri.startswith("sqlite:///") else None


def checked_uri(uri: str) -> str:
    """A tracking URI that can be used and be shown to anybody, with an SQLite file's path made absolute.

    Whether a server answers there is not asked.

    Raises:
        UserError: it is of no kind that MLflow knows, lacks the host or file, holds a password, or is of a database
            whose driver is not installed. The message holds no secret.
    """
    shown, scheme = without_secrets(uri), uri.partition("://")[0].lower()
    served, database = scheme in ("http", "https"), scheme.partition("+")[0]
    if (served or database in DATABASES) and (shown != uri or (served and "@" in uri)):
        way = (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            if served
            else "let the database's client find it (PostgreSQL's: PGPASSWORD, ~/.pgpass or the file of PGPASSFILE)"
        )
        raise UserError(
            f"the tracking URI {shown} holds a password or user, which would stand in the study's records; leave it "
            f"out of the URI and {way}"
        )
    if uri.startswith("sqlite:///") and len(uri) > len("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
    try:
        host, _ = urlsplit(uri).hostname, urlsplit(uri).port
    except ValueError:
        host = None
    if not host or not (served or database in DATABASES):
        kinds = "http://HOST:PORT, https://HOST, sqlite:///FILE, postgresql://, mysql:// or mssql://USER@HOST/DATABASE"
        raise UserError(f"the tracking URI {shown!r} is none that MLflow can use; give {kinds}")
    if database in DATABASES:
        _require_driver(uri)
    return uri


def without_secrets(uri: str) -> str:
    """A URI as it may be shown: `***` stands for a password, and for the value of any option that is named like one.

    >>> without_secrets("http://anna:s3cret@host:5000/path")
    'http://anna:***@host:5000/path'
    >>> without_secrets("https://token@host")
    'https://***@host'
    >>> without_secrets("postgresql://host/db?user=a&password=b")
    'postgresql://host/db?user=a&password=***'
    """
    shown = re.sub(r"^([^/]*//[^@:]*):.*@", r"\1:***@", uri, flags=re.DOTALL)
    shown = re.sub(r"^(https?://)[^/?#@:]*@", r"\1***@", shown, flags=re.IGNORECASE)  # a token may stand alone
    for name, value in parse_qsl(shown.partition("?")[2], keep_blank_values=False):
        if SECRETS.search(name):
            shown = re.sub(rf"([?&]{re.escape(name)}=)[^&#]*", r"\1***", shown) if value != "***" else shown
    return shown


def _require_driver(uri: str) -> None:
    """Of a database: that Python has the module that speaks to it."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(client_uri(uri) if is_postgres(uri) else uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        how = " (pip install 'binsfo-study[postgres]')" if is_postgres(uri) else ""
        raise UserError(
            f"the tracking URI {uri} needs the Python package {error.name!r}, which is not installed; install it{how}, "
            "or give the address of an MLflow server that keeps its records in that database"
        ) from None
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(f"the tracking URI {uri!r} cannot be read: {error}") from None
