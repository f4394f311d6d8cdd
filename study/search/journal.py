"""The study folder's `optuna.journal`: opened so that a process which was killed in the middle of a line hurts nobody.

Optuna appends to the journal under a lock of its own, which a killed process leaves behind: the next would wait for it
for 30 s. And a line that was cut short would be joined by the next one to a line that nothing can read. Here the lock
is the system's, which ends with its process, and an unfinished last line is cut off before anything is added.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from study.record.study_log import cut_torn_line
from study.record.terminal import say
from trainers.errors import UserError


class SystemLock(JournalFileOpenLock):
    """An exclusive `flock` on a file beside the journal, which the system takes back when its process ends.

    Args:
        path: the lock's file; it stays.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_journal(journal: Path, show: Callable[[str], None] = say) -> JournalStorage:
    """The storage in a study's journal file, made where there is none.

    Args:
        journal: the file.
        show: where a line for the user goes.

    Raises:
        UserError: the file cannot be read or written, or a line of it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = SystemLock(journal.with_name(f"{journal.name}.lock"))
    try:
        lock.acquire()
        try:
            if (kept := cut_torn_line(journal)) is not None:
                show(f"the last line of {journal} was unfinished and is cut off (kept in {kept.name})")
        finally:
            lock.release()
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    except OSError as error:
        raise UserError(f"the search's journal {journal} cannot be opened ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"the search's journal {journal} is damaged ({type(error).__name__}: {error}); `python -m study doctor "
            f"{journal.parent} --repair` keeps a copy and saves what can be saved"
        ) from error
