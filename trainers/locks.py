"""Locks between processes: the system lets go of one when its process ends, however it ends.

They are kept on files of their own (`flock` on Linux and macOS, `LockFileEx` on Windows), which stay. A marker file,
which a killed process leaves behind for the next one to wait for or to guess about, is never taken instead: a disk that
has no locks (some mounts of NFS and Lustre) is said as what it is.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from trainers.errors import UserError

POLL_SECONDS = 0.005
"""Between two tries for a lock that another process holds."""

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


class BusyError(RuntimeError):
    """Another process, or another part of this one, holds the lock."""


class NoLocksError(UserError):
    """The disk has no locks between processes."""


@contextmanager
def locked(file: Path, remedy: str, *, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock while the context is open.

    Args:
        file: the lock's file; made where it is not there.
        remedy: what to do where its disk has no locks.
        wait: for whoever holds it; else `BusyError` is raised.
        waiting: called once, before the wait.

    Raises:
        BusyError: it is held, and not to be waited for.
        NoLocksError: its disk has no locks.
        OSError: its file cannot be made.
    """
    lock = file_lock(file)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if not wait:
                raise BusyError(str(file)) from None
            waiting()
            lock.acquire()
    except OSError as error:
        raise told(error, file, remedy) from None
    try:
        yield
    finally:
        lock.release()


def held(file: Path) -> bool | None:
    """Whether somebody holds a file's lock; None where that cannot be found out. Nothing is written, ever.

    The file is opened for reading and asked for a *shared* lock, so that this works on a read-only mount, for a user
    who may only read, and for several who ask at once. The lock is let go of at once; who wants it for themselves just
    then must try again (`study.record.working_alone` does).
    """
    import fcntl  # not at the top: this module is imported on Windows too

    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)  # and with it goes the lock
    return False


def file_lock(file: Path) -> BaseFileLock:
    """The lock of a file; whoever has one of its own is kept out, in this process too."""
    return FileLock(file, thread_local=False, fallback_to_soft=False, poll_interval=POLL_SECONDS)


def told(error: OSError, file: Path, remedy: str) -> OSError | UserError:
    """What taking a lock raised, or where the disk has none, that."""
    if error.errno not in _WITHOUT_LOCKS:
        return error
    return NoLocksError(
        f"the disk of {file.parent} has no file locks ({error.strerror}), so that two commands could write there at "
        f"once; {remedy}"
    )
