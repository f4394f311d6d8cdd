"""What a run is doing just now, for whoever looks: a small file in its folder, renewed while something takes long.

    RUN_DIR/.now    {"at": seconds since 1970, "what": "epoch 3", "done": 120, "total": 400}

An epoch is reported when it ends; on a large data set that is hours later. The file says how far an epoch or an
evaluation is meanwhile. It decides nothing and training never reads it; a reader takes one that is missing, old or torn
for none.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainers.atomic import write_json
from trainers.clock import stamp

NAME = ".now"
# Seconds between two writes. A write took about a millisecond on a busy machine, asking whether one is due 0.4 us.
WRITE_SECONDS = 1.0


@dataclass(frozen=True)
class Doing:
    """What a run was doing at a moment, and how much of that was done."""

    at: float
    what: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"{self.what} {self.done}/{self.total}" if self.total else self.what


class Activity:
    """Says what a run is doing.

    Args:
        run_dir: the run's folder; None says nothing, as all workers but one do.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self._file = run_dir / NAME if run_dir else None
        self._next = 0.0

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """It is doing `what`, of which `done` of `total` is behind it; without a total: until the next call."""
        now = time.monotonic()
        if self._file is None or (now < self._next and total):
            return
        self._next = now + WRITE_SECONDS
        content = {"at": stamp(), "what": what, "done": done, "total": total}
        with suppress(OSError):  # a full disk is said by who must write there
            write_json(self._file, content, durable=False)

    def over(self) -> None:
        """It is doing nothing any more."""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)


def doing(run_dir: Path, since: float = 0.0) -> Doing | None:
    """What a run says that it is doing; None where it says nothing, or said it before `since` (seconds since 1970)."""
    try:
        values = json.loads((run_dir / NAME).read_text(encoding="utf-8"))
        found = Doing(float(values["at"]), str(values["what"]), int(values["done"]), int(values["total"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.at >= since else None
