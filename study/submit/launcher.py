"""Ray's launcher, by its command line: it knows every provider's nodes, ssh's options and keys.

| what | command |
| --- | --- |
| run the program of `study.submit.head` on the head node | `ray exec CLUSTER.yaml 'python -m study.submit.head ...'` |
| send | `ray rsync-up CLUSTER.yaml HERE THERE` |
| fetch | `ray rsync-down CLUSTER.yaml THERE HERE` |

Nothing but ssh is used, so no port of Ray's is opened to this machine; on the head node the program shows Ray the
token that lies there.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from study.submit.cluster_file import ClusterFile
from study.submit.head import MARK
from trainers.errors import UserError

Run = Callable[[Sequence[str], Callable[[str], None]], int]
"""Runs a command, hands each line of its output on, and returns its exit status."""

# Of a study's folder, what stays on the cluster: checkpoints, Tune's own state, locks.
HEAVY = ("/tune/", "/runs/*/*/", "/.*")
_LAST_LINES = 5


def run_command(command: Sequence[str], show: Callable[[str], None]) -> int:
    """Run a command on this machine; its two outputs come as one."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            show(line.rstrip("\r\n"))
    return process.returncode


class Launcher:
    """The nodes of a cluster, as Ray's launcher reaches them.

    Args:
        cluster: that `ray up` has started from this machine.
        run: runs a command.
    """

    def __init__(self, cluster: ClusterFile, run: Run = run_command) -> None:
        self._cluster, self._run = cluster, run
        beside = Path(sys.executable).parent / "ray"
        self._ray = str(beside) if beside.exists() else shutil.which("ray") or "ray"

    def ask(self, *words: str, show: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Run the head's program and return its last answer.

        Args:
            words: its arguments.
            show: takes what it prints between two answers: the log of a job, say.

        Raises:
            UserError: it cannot be run, or ended without an answer; or it answers what is wrong.
        """
        answers: list[dict[str, Any]] = []
        last: deque[str] = deque(maxlen=_LAST_LINES)

        def line(text: str) -> None:
            if MARK in text:
                answers.append(json.loads(text.partition(MARK)[2]))
            elif answers and "ended" not in answers[-1]:
                if show is not None:
                    show(text)
            elif text.strip():
                last.append(text.strip())

        command = shlex.join(["python", "-m", "study.submit.head", *words])
        status = self._run([self._ray, "exec", str(self._cluster.path), command], line)
        if answers and (wrong := answers[-1].get("error")):
            raise UserError(wrong)
        if not answers:
            raise self._failed(f"the head node of {self._cluster.name} does not answer", status, last)
        return answers[-1]

    def send(self, source: Path, there: str) -> None:
        """Bring a file, or what is in a folder, to the head node; what is there already is not sent again."""
        slash = "/" if source.is_dir() else ""
        self._rsync("rsync-up", f"{source}{slash}", f"{there}{slash}", (), f"{source} could not be sent")

    def fetch(self, there: str, target: Path) -> None:
        """Bring a study's folder from the head node, without what is large."""
        target.mkdir(parents=True, exist_ok=True)
        self._rsync("rsync-down", f"{there}/", f"{target}/", HEAVY, f"{there} could not be fetched")

    def _rsync(self, command: str, source: str, target: str, leave_out: Sequence[str], failed: str) -> None:
        last: deque[str] = deque(maxlen=_LAST_LINES)
        # Which files are left out stands in the cluster's file: there for the checkout, here for this transfer alone.
        with tempfile.TemporaryDirectory(prefix="study-submit-") as folder:
            file = Path(folder) / "cluster.yaml"
            content = {**self._cluster.content, "rsync_exclude": list(leave_out), "rsync_filter": []}
            file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
            words = [self._ray, command, str(file), source, target]
            status = self._run(words, lambda text: last.append(text.strip()) if text.strip() else None)
        if status != 0:
            raise self._failed(failed, status, last)

    def _failed(self, what: str, status: int, last: Sequence[str]) -> UserError:
        said = " | ".join(last)[-600:]
        remedy = f"start it from this machine: {self._cluster.advice}"
        if "No module named" in said:
            remedy = f"bring this checkout there: {self._cluster.advice}"
        return UserError(f"{what} (exit status {status}: {said}); {remedy}")
