"""A search's journal outlives the processes that wrote it: their locks, their unfinished lines, their damage."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.search.journal import open_journal
from trainers.errors import UserError

HOLD = """
import sys
import time
from pathlib import Path
from study.search.journal import SystemLock, lock_of
SystemLock(lock_of(Path(sys.argv[1]))).acquire()
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


@pytest.mark.integration
def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    numbers(journal)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(journal)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert numbers(journal) == [0, 1]


def foreign(journal: Path) -> JournalStorage:
    """The journal as Optuna's own tools open it."""
    return JournalStorage(JournalFileBackend(str(journal)))


def test_optuna_s_own_tools_read_and_write_the_journal_at_once_while_a_search_runs(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    assert numbers(journal) == [0]
    began = time.monotonic()
    theirs = optuna.load_study(study_name="s", storage=foreign(journal))
    theirs.set_user_attr("note", "looked at by hand")
    assert time.monotonic() - began < 5  # Optuna waits 30 s for a lock that is left lying
    ours = optuna.load_study(study_name="s", storage=open_journal(journal))
    assert ours.user_attrs == {"note": "looked at by hand"}
    assert [trial.number for trial in theirs.trials] == [0]


def noted(journal: Path, ours: bool, notes: int) -> None:
    study = optuna.load_study(study_name="s", storage=open_journal(journal) if ours else foreign(journal))
    for number in range(notes):
        study.set_user_attr(f"{'ours' if ours else 'theirs'}-{number}", "x" * 300)


@pytest.mark.integration
def test_lines_that_are_written_at_the_same_time_by_us_and_by_optuna_all_stand_whole(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    numbers(journal)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=noted, args=(journal, ours, 100)) for ours in (True, True, False)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    attributes = optuna.load_study(study_name="s", storage=foreign(journal)).user_attrs
    assert len(attributes) == 200
    assert not list(tmp_path.glob("*.torn-*"))


def test_the_lock_file_of_an_earlier_release_is_cleared_away(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    left = tmp_path / "optuna.journal.lock"
    left.touch()
    open_journal(journal)
    assert left.exists()  # it may be Optuna's own
    os.utime(left, (0, 0))
    open_journal(journal)
    assert not left.exists()
