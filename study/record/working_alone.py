"""One command at a time in a study's folder: the lock that the system lets go of when its process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainers.errors import UserError


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other commands out of a study's folder; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: another command is at work there.
    """
    with (folder / ".at-work").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another command is at work in {folder}; wait for its end, or give another --output"
            ) from None
        yield
