"""Locks between processes: alone while held, free when the holder ends, and a disk without any is said to have none."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study.record.working_alone import nobody_at_work, only_one
from trainers.errors import UserError
from trainers.locks import BusyError, NoLocksError, locked

HOLD = """
import sys, time
from pathlib import Path
from trainers.locks import locked
with locked(Path(sys.argv[1]), "remedy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_out_whoever_does_not_wait(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file, "remedy"), pytest.raises(BusyError), locked(file, "remedy", wait=False):
        pass
    with locked(file, "remedy", wait=False):
        pass


@pytest.mark.integration
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_and_who_waits_says_so_once(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        said: list[str] = []

        def waiting() -> None:
            said.append("waiting")
            holder.send_signal(how)

        with locked(file, "remedy", waiting=waiting):
            assert said == ["waiting"]


@pytest.mark.parametrize("missing", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said_as_what_it_is_and_no_marker_file_is_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    def without(*_: object) -> None:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(fcntl, "flock", without)
    with (
        pytest.raises(NoLocksError, match=f"has no file locks .*{os.strerror(missing)}.*; move it"),
        locked(tmp_path / "lock", "move it"),
    ):
        pass
    with pytest.raises(UserError, match="has no file locks") as refusal, only_one(tmp_path):
        pass
    assert "another command" not in str(refusal.value)


def test_who_only_reads_is_kept_out_by_a_command_at_work_and_by_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody_at_work(tmp_path):
        assert not list(tmp_path.iterdir())
    with only_one(tmp_path), pytest.raises(UserError, match="a command is at work"), nobody_at_work(tmp_path):
        pass

    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without)
    with nobody_at_work(tmp_path):
        pass
