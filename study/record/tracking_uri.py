"""Where a study's runs are shown in MLflow: an address, read without MLflow."""

from pathlib import Path

from trainers.errors import UserError


def default_tracking_uri(directory: str | Path) -> str:
    """The URI of a study's own SQLite store, `sqlite:///<absolute directory>/mlflow.db`.

    It is worked out from where the folder is now, never stored, so a study that was copied elsewhere is whole.

    Raises:
        UserError: the path holds a `?` or `%`, which mean something else in a database URI.
    """
    database = Path(directory).resolve() / "mlflow.db"
    if found := {"?", "%"} & set(str(database)):
        raise UserError(
            f"the path of the study folder {database.parent} holds {' and '.join(sorted(found))}, "
            "which a database URI cannot; choose a folder without ? and %"
        )
    return f"sqlite:///{database}"


def database_path(tracking_uri: str) -> Path | None:
    """The file behind a `sqlite:///` URI; None for any other tracking URI."""
    return Path(tracking_uri.removeprefix("sqlite:///")) if tracking_uri.startswith("sqlite:///") else None
