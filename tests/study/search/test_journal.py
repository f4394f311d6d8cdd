"""A search's journal outlives the processes that wrote it: their locks, their unfinished lines, their damage."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from study.search.journal import open_journal
from trainers.errors import UserError

HOLD = """
import sys
import time
from pathlib import Path
from study.search.journal import SystemLock
SystemLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def numbers(journal: Path) -> list[int]:
    study = optuna.create_study(storage=open_journal(journal), study_name="s", load_if_exists=True)
    study.ask()
    return [trial.number for trial in study.trials]


def test_a_line_that_was_cut_short_is_cut_off_kept_and_said(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    assert numbers(journal) == [0]
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    said: list[str] = []
    open_journal(journal, said.append)
    assert len(said) == 1 and "was unfinished and is cut off (kept in optuna.journal.torn-1)" in said[0]
    assert numbers(journal) == [0, 1]


def test_a_damaged_line_in_the_middle_is_said_and_nothing_is_started_anew(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    numbers(journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"\x00\x00\n" + b"".join(lines[1:]))
    before = journal.read_bytes()
    with pytest.raises(UserError, match=r"optuna\.journal is damaged"):
        open_journal(journal)
    assert journal.read_bytes() == before


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    numbers(journal)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(journal.with_name("optuna.journal.lock"))], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert numbers(journal) == [0, 1]
