"""An MLflow tracking server on 127.0.0.1, with its processes, that can be killed and started again on the same port.

It keeps runs' files itself, as a team's server does: who writes them sends them there.
"""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from study.cli.ui import environment
from tests.faults.command import MARK, kill, marked, until

# Seconds; ends a test that would otherwise wait for ever.
LONGEST_START = 120


class MlflowServer:
    """A server and its database.

    Args:
        folder: takes the database and the server's output.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._folder = folder
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers some seconds later."""
        database, artifacts = self._folder / "server.db", self._folder / "artifacts"
        words = ["--backend-store-uri", f"sqlite:///{database}", "--serve-artifacts"]
        words += ["--artifacts-destination", str(artifacts)]
        listen = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        quiet = environment(os.environ)  # without its jobs, whose eight processes take longer to start than it does
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, *listen],
                stdout=log,
                stderr=log,
                env={**quiet, MARK: self._mark},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        answers = until(self._answers, LONGEST_START, every=0.2)
        assert answers, f"no MLflow server:\n{(self._folder / 'server.log').read_text()[-2000:]}"

    def kill(self) -> None:
        """SIGKILL the server and its workers, and wait until they are gone."""
        while processes := marked(self._mark):
            kill(processes)
            until(lambda: not marked(self._mark), seconds=1)
        if self._process is not None:
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
