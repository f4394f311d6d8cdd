"""The pages' command as a user starts it, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.cli.ui import HOST

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """Where Python finds this checkout and, as where the package is installed, what it brings MLflow."""
    own = folder / "study_under_test-0.dist-info"
    own.mkdir(parents=True)
    (own / "METADATA").write_text("Metadata-Version: 2.1\nName: study-under-test\nVersion: 0\n")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mlflow.app"]
    points = [f"{name} = {value}" for name, value in declared.items()]
    (own / "entry_points.txt").write_text("\n".join(["[mlflow.app]", *points, ""]))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def started(
    folder: Path, port: int, before: str = "", env: dict[str, str] | None = None
) -> "tuple[subprocess.Popen[str], list[str]]":
    """The command, once its server answers, and what it said until then."""
    code = f"{before}\nfrom study.cli.ui import serve\n"
    code += f"serve({str(folder)!r}, {port}, lambda line: print(line, flush=True))"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    assert command.stdout is not None
    said = []
    for line in command.stdout:
        said.append(line.rstrip("\n"))
        if line.startswith("Ctrl-C"):
            return command, said
    raise AssertionError(f"the command ended: {said}")


@contextmanager
def served(folder: Path, port: int, env: dict[str, str] | None = None) -> Iterator[list[str]]:
    """What the command said, while it serves."""
    command, said = started(folder, port, env=env)
    try:
        yield said
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=60) == 0
