"""One command at work in a study's folder: alone there, with the study's log open and shown in the background."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from study.drive.interrupt import interruptible
from study.drive.mirror import mirrored
from study.drive.shared import is_stored
from study.record import carried, display
from study.record.file_names import DATABASE_FILE, JOURNAL_FILE, LOG_FILE
from study.record.folder import StudyFolder
from study.record.provenance import provenance
from study.record.study_log import RUNNING, StudyLog
from study.record.study_state import StateReader
from study.record.terminal import say
from study.record.working_alone import only_one
from trainers.errors import UserError


@dataclass
class Session:
    """What a command works with.

    Attributes:
        log: the study's log, to which it writes.
        delivered: after the session, whether MLflow, and Optuna's database if there is one, show all that was logged.
    """

    log: StudyLog
    delivered: bool = False


@contextmanager
def open_session(
    folder: StudyFolder,
    show: Callable[[str], None] = say,
    *,
    claim: Callable[[], None] = lambda: None,
    study_file: str | None = None,
) -> Iterator[Session]:
    """Work in a study's folder, which is made where it is not there, and where Ctrl-C stops its runs.

    MLflow is told meanwhile (`study.drive.delivered`); what it could not be told is said at the end.

    Args:
        folder: the study's.
        show: where a line for the user goes.
        claim: enters what the command asks for into `study.json`, while it is alone there, before anything is logged.
        study_file: the text of the study file that the command was given, which is recorded.

    Raises:
        UserError: another command is at work there, its log cannot be used, or it was lost.
    """
    from study.drive.delivered import deliveries_of

    folder.create()
    watching = display.current().watching(folder.path, StateReader(folder.path, asked=lambda place: True).doings)
    with only_one(folder.path), interruptible(folder.stop_file), watching:
        require_log(folder.path)
        claim()
        log = StudyLog(folder.log, show)
        deliveries = deliveries_of(folder, log, show)
        close_attempts(log)
        given = {} if study_file is None else {"study_file": study_file}
        origin = provenance()
        session = Session(log)
        with mirrored(folder, log.trials(), show):
            for line in carried.lines(log.events(), log.trials(), folder.path, origin, partial(is_stored, folder)):
                show(line)
            log.append("session", **origin, **given)
            for delivery in deliveries:
                delivery.start()
            try:
                yield session
            finally:
                with suppress(UserError):  # no room on the disk: the next command logs it, as after a kill
                    close_attempts(log)
                closed = [delivery.close() for delivery in deliveries]
                session.delivered = all(closed)


def close_attempts(log: StudyLog) -> list[str]:
    """Log as interrupted what an ended command left running: runs and sweeps; returns the runs' trial ids."""
    left = [trial_id for trial_id, trial in log.trials().items() if trial.outcome == RUNNING]
    for trial_id in left:
        log.append("attempt_end", trial_id=trial_id, how="interrupted", reason="the command ended", device_seconds=None)
    for cell in log.open_sweeps():
        log.append("sweep_end", cell=cell, tags={"status": "interrupted"})
    return left


def require_log(folder: Path) -> None:
    """Refuse a study whose log is lost: going on would count its trials anew.

    Raises:
        UserError: there is a database or a journal, and no log.
    """
    there = [name for name in (DATABASE_FILE, JOURNAL_FILE) if (folder / name).exists()]
    if there and not (folder / LOG_FILE).exists():
        raise UserError(
            f"{folder} holds {' and '.join(there)} but no log.jsonl, in which everything is recorded: restore the log, "
            "or give another --output"
        )
