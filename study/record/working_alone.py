"""One command at a time in a study's folder: the lock that the system lets go of when its process ends."""

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainers.errors import UserError
from trainers.locks import BusyError, NoLocksError, held, locked

_FILE = ".at-work"
_REMEDY = "give an --output on another disk"
# Who only asks whether somebody is at work (`at_work`) holds the lock for microseconds.
_TRIES, _PAUSE_SECONDS = 5, 0.05
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other commands out of a study's folder; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: another command is at work there, or the disk has no locks.
    """
    with ExitStack() as stack:
        try:
            _take(stack, folder)
        except BusyError:
            raise UserError(
                f"another command is at work in {folder}; wait for its end, or give another --output"
            ) from None
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}); give another --output") from None
        yield


@contextmanager
def nobody_at_work(folder: Path) -> Iterator[None]:
    """As `only_one`, for who only reads: nothing is made, and a folder that this user cannot write to needs no lock.

    Raises:
        UserError: a command is at work there.
    """
    with ExitStack() as stack:
        try:
            if (folder / _FILE).exists():
                _take(stack, folder)
        except BusyError:
            raise UserError(f"a command is at work in {folder}; wait for its end, or stop it") from None
        except NoLocksError:
            pass
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
        yield


def at_work(folder: Path) -> bool | None:
    """Whether a command is at work in a study's folder, here or on another machine; None where nobody can tell.

    Nothing is written, and nothing is kept from anybody: a read-only mount will do.
    """
    return held(folder / _FILE)


def _take(stack: ExitStack, folder: Path) -> None:
    for further in range(_TRIES - 1, -1, -1):
        try:
            stack.enter_context(locked(folder / _FILE, _REMEDY, wait=False))
            return
        except BusyError:
            if not further:
                raise
            time.sleep(_PAUSE_SECONDS)
