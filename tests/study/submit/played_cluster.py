"""A cluster whose commands are recorded and whose answers are given: no process is started."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from study.drive.node_answer import code_hash
from study.submit.head import MARK

ROOT = "/home/ubuntu/data/submitted/small"
ENDED = {"ended": "SUCCEEDED", "exit": 0, "message": ""}


def cluster_file(folder: Path, **changes: Any) -> Path:
    """A cluster's file that could be of a cluster of one's own."""
    file = folder / "cluster.yaml"
    content = {"cluster_name": "lab", "provider": {"type": "local", "head_ip": "10.1.2.3", "worker_ips": []}, **changes}
    file.write_text(yaml.safe_dump(content))
    return file


def pictures(folder: Path) -> Path:
    """A folder of two class folders with three pictures each."""
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


class Played:
    """Stands for `run_command`: keeps each command, and a copy of each small file that is sent.

    Attributes:
        commands: what was run, without the program's own path.
        files: by path there, the text of what was sent.
    """

    def __init__(self, **there: Any) -> None:
        self.there = {
            "root": ROOT,
            "results": "/home/ubuntu/studies/small",
            "free": 2**40,
            "code": code_hash(),
            "job": None,
            "ended": True,
            **there,
        }
        self.log = ["Fetched IP: 10.1.2.3", mark(job="small-1", begun=True), "epoch 1", mark(**ENDED)]
        self.commands: list[list[str]] = []
        self.files: dict[str, str] = {}
        self.excluded: list[list[str]] = []
        self.status = 0

    def __call__(self, command: Sequence[str], show: Callable[[str], None]) -> int:
        assert Path(command[0]).name == "ray"
        self.commands.append(list(command[1:]))
        if command[1] == "exec":
            lines = [mark(**self.there)] if " look " in command[3] else self.log
            for line in lines:
                show(line)
        elif command[1] == "rsync-up":
            self._keep(Path(command[3]), command[4])
        if command[1] != "exec":
            self.excluded.append(yaml.safe_load(Path(command[2]).read_text())["rsync_exclude"])
        return self.status

    def _keep(self, here: Path, there: str) -> None:
        for path in [here] if here.is_file() else sorted(here.rglob("*")):
            if path.is_file() and path.suffix in (".yaml", ".json", ".py"):
                name = "" if here.is_file() else path.relative_to(here).as_posix()
                self.files[f"{there}{name}"] = path.read_text()


def mark(**content: Any) -> str:
    return MARK + json.dumps(content)
