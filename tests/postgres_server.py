"""A PostgreSQL of the tests' own, made and ended by the project's own script, in a temporary folder on loopback."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "cluster" / "postgres.sh"


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Attributes:
        folder: what the script was given.
        port: on 127.0.0.1.
        user: who runs it and owns the database.
        passfile: where the password stands.
        said: what the script printed.
    """

    folder: Path
    port: int
    user: str
    passfile: Path
    said: str

    @property
    def uri(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/studies"

    @property
    def password(self) -> str:
        return self.passfile.read_text().splitlines()[0].rpartition(":")[2]

    def script(self) -> str:
        return run_script(self.folder, self.port, self.user, self.passfile)

    def stop(self) -> None:
        """End the server in the middle of whatever it does: by a signal, as a unit test may be the last of all."""
        server = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        server.send_signal(signal.SIGQUIT)
        psutil.wait_procs([server], timeout=30)


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else "")


def as_user(user: str, words: list[str]) -> list[str]:
    """A command as another user, where that is not who runs the tests."""
    return words if user == pwd.getpwuid(os.getuid()).pw_name else ["runuser", "-u", user, "--", *words]


def run_script(folder: Path, port: int, user: str, passfile: Path) -> str:
    """Run `cluster/postgres.sh`, which that user need not be able to read where it lies."""
    words = ["env", f"HOME={passfile.parent}", f"PGPASSFILE={passfile}", "bash", "-s", "--", str(folder), str(port)]
    done = subprocess.run(
        as_user(user, words), input=SCRIPT.read_text(), cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server with an empty database; it is ended, and its folder removed. Skips where there is no PostgreSQL."""
    if not _program("initdb"):
        pytest.skip("needs PostgreSQL's server (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="needs the extra `postgres`")
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:  # whom PostgreSQL refuses
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL refuses root, and there is no runuser to become another user with")
        user = "nobody"
    home = Path(tempfile.mkdtemp(prefix="binsfo-postgres-", dir="/tmp"))
    shutil.chown(home, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        said = run_script(home / "db", port, user, home / "pass")
        server = Postgres(home / "db", port, user, home / "pass", said)
        yield server
    finally:
        if (home / "db" / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(home)
