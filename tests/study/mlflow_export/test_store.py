"""MLflow's stores: made whole or not at all, and what cannot be used is said in one line."""

import base64
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from study.mlflow_export.store import check_database, create_database, open_store, plain
from trainers.errors import UserError

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (OSError("HTTPConnectionPool(host='127.0.0.1', port=9): Max retries exceeded"), "its server does not answer"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError("x" * 500), "x" * 199 + "…"),
        (InterruptedError(), "InterruptedError"),
    ],
)
def test_why_nothing_can_be_told_is_one_line(raised: Exception, shown: str) -> None:
    assert plain(raised) == shown


def test_processes_that_make_a_store_at_once_leave_one_that_is_whole(tmp_path: Path) -> None:
    database = tmp_path / "at once #1" / "mlflow.db"
    with get_context("spawn").Pool(2) as pool:
        pool.map(create_database, [database] * 2, chunksize=1)
    check_database(database, thorough=True)
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]


def test_stores_that_cannot_be_used_are_said_plainly(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(FileNotFoundError):
        open_store(uri, make=False)
    assert not list(tmp_path.iterdir())
    for content, message in ((b"not a database at all" * 100, "cannot be read"), (b"", "none of MLflow's")):
        (tmp_path / "mlflow.db").write_bytes(content)
        with pytest.raises(UserError, match=message):
            open_store(uri, make=True)
    for address in ("http://127.0.0.1:9", "postgresql://127.0.0.1:9/db"):
        with pytest.raises(UserError, match=f"no server answers at {address}"):
            open_store(address, make=True)


def test_a_database_of_another_mlflow_version_is_one_line_with_the_command_that_mends_it(
    tmp_path: Path, empty_database: Path
) -> None:
    database = tmp_path / "mlflow.db"
    database.write_bytes(empty_database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        connection.commit()
    with pytest.raises(UserError, match=f"of another MLflow version; `mlflow db upgrade sqlite:///{database}`"):
        open_store(f"sqlite:///{database}", make=True)


class Guarded(BaseHTTPRequestHandler):
    """A tracking server that lets only anna in."""

    allowed = f"Basic {base64.b64encode(b'anna:s3cret').decode()}"

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()

    def answer(self) -> None:
        self.send_response(200 if self.headers.get("Authorization") == self.allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def guarded() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_takes_user_and_password_from_the_environment(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"the tracking store http://127.* cannot be used"):
        open_store(guarded, make=True)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    open_store(guarded, make=True)
