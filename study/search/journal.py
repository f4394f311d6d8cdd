"""The study folder's `optuna.journal`: opened so that a process which was killed in the middle of a line hurts nobody.

Optuna appends to a journal under a lock of its own, `optuna.journal.lock`, which a killed process leaves behind: the
next would wait for it for 30 s. And a line that was cut short would be joined by the next one to a line that nothing
can read. Here the lock is the system's, which ends with its process, on a file of another name; and an unfinished last
line is cut off before anything is added.

Optuna's own tools may work on the journal meanwhile: what they and we append are whole lines, each by one call of the
system that no other can divide, and Optuna reads them in whatever order they came.
"""

import time
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import BaseFileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from study.record.study_log import cut_torn_line
from study.record.terminal import say
from trainers.errors import UserError
from trainers.locks import file_lock, told

OPTUNA_WAITS = 30
"""Seconds after which Optuna removes a lock of its own that nobody has let go of."""


class SystemLock(JournalFileOpenLock):
    """Optuna's interface to a lock that the system takes back when its process ends.

    Args:
        path: the lock's file; it stays.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._held: BaseFileLock | None = None

    def acquire(self) -> bool:
        lock = file_lock(self._path)  # a new one each time, which keeps this process's other threads out as well
        try:
            lock.acquire()
        except OSError as error:
            raise told(error, self._path, "give an --output on another disk") from None
        self._held = lock
        return True

    def release(self) -> None:
        if self._held is not None:
            lock, self._held = self._held, None
            lock.release()


def open_journal(journal: Path, show: Callable[[str], None] = say) -> JournalStorage:
    """The storage in a study's journal file, made where there is none.

    Args:
        journal: the file.
        show: where a line for the user goes.

    Raises:
        UserError: the file cannot be read or written, or a line of it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = SystemLock(lock_of(journal))
    try:
        lock.acquire()
        try:
            _clear_lock_of_earlier_releases(journal)
            if (kept := cut_torn_line(journal)) is not None:
                show(f"the last line of {journal} was unfinished and is cut off (kept in {kept.name})")
        finally:
            lock.release()
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"the search's journal {journal} cannot be opened ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"the search's journal {journal} is damaged ({type(error).__name__}: {error}); `python -m study doctor "
            f"{journal.parent} --repair` keeps a copy and saves what can be saved"
        ) from error


def lock_of(journal: Path) -> Path:
    """The file on which this package keeps its lock of a journal."""
    return journal.with_name(f".{journal.name}.locked")


def _clear_lock_of_earlier_releases(journal: Path) -> None:
    """Remove the empty file on which earlier releases kept the lock: Optuna's own tools would take it for theirs.

    Optuna's is a link, or where it is a file too, younger than the time after which Optuna itself removes it.
    """
    left = journal.with_name(f"{journal.name}.lock")
    if left.is_symlink() or not left.is_file():
        return
    state = left.stat()
    if state.st_size == 0 and time.time() - state.st_mtime > OPTUNA_WAITS:
        left.unlink(missing_ok=True)
