"""One command at a time in a study's folder: the lock that the system lets go of when its process ends."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainers.errors import UserError
from trainers.locks import BusyError, NoLocksError, locked

_FILE = ".at-work"
_REMEDY = "give an --output on another disk"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other commands out of a study's folder; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: another command is at work there, or the disk has no locks.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / _FILE, _REMEDY, wait=False))
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
    with ExitStack() as held:
        try:
            if (folder / _FILE).exists():
                held.enter_context(locked(folder / _FILE, _REMEDY, wait=False))
        except BusyError:
            raise UserError(f"a command is at work in {folder}; wait for its end, or stop it") from None
        except NoLocksError:
            pass
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
        yield
