"""Shows a study elsewhere while it runs, from a thread of its own, and once more whenever somebody asks.

A study goes by its log. What shows it elsewhere is an `Exporter`, which may be away, be slow or have lost everything:
the study neither waits for it nor fails with it, and at the end it is said in one line what could not be delivered and
which command delivers it.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from study.mlflow_export.exporter import MlflowExporter
from study.mlflow_export.findings import notes
from study.mlflow_export.pages import Pages
from study.mlflow_export.shown import KIND, PRESENT_KIND, Identity, find_experiment, lacking, read_shown
from study.mlflow_export.store import check_database, create_database, open_store, plain
from study.record.file_names import LOG_FILE
from study.record.folder import StudyFolder, StudyIdentity, study_identity
from study.record.study_log import StudyLog, keep_copy, read_events, read_lines
from study.record.terminal import say
from study.record.tracking_uri import checked_uri, database_path, default_tracking_uri
from study.record.working_alone import nobody_at_work, only_one
from trainers.errors import UserError

# Seconds: between two looks at the log; after a failed delivery (doubled up to the last).
POLL, FIRST_PAUSE, LONGEST_PAUSE = 0.2, 1.0, 30.0
# A delivery is followed by a rest of so many times what it took, up to so many seconds: what is logged meanwhile goes
# together, which costs little more than one epoch does, and the study's runs keep the processors.
REST, LONGEST_REST = 9, 10.0
# Seconds that a command waits at its end without a run or file being written; and where nobody answered before.
PATIENCE, PATIENCE_UNREACHABLE = 15.0, 3.0
# Seconds of that after which the user is told what is waited for.
QUIET = 3.0
NO_FILES = "MLflow took no files of the comparison or of exported models"


class Exporter(Protocol):
    """Shows a study's records elsewhere. After an error the object is done with, and a new one is made."""

    @property
    def written(self) -> int:
        """How many runs and files were brought up to date so far; who waits sees by it that there is progress."""

    @property
    def refused(self) -> str:
        """Why files of the comparison or of exported models were not taken at the last update; empty: they were."""

    def update(self) -> int:
        """Bring what is shown to what the log says now; how many runs were written."""


class Delivery:
    """Follows a study's log and keeps an exporter up to date.

    Args:
        log: the study's log.
        connect: makes the exporter; raises where that is not possible at present.
        show: where lines for the user go.
        name: what the exporter tells, in those lines.
    """

    def __init__(
        self,
        log: StudyLog,
        connect: Callable[[], Exporter],
        show: Callable[[str], None] = say,
        name: str = "MLflow",
    ) -> None:
        self._log, self._connect, self._show, self._name = log, connect, show, name
        self._told = log.path.stat().st_size
        self._exporter: Exporter | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="delivery", daemon=True)
        self._trouble = ""  # why nothing can be delivered at present

    def start(self) -> None:
        """Deliver from now on, in the background."""
        self._thread.start()

    def close(self) -> bool:
        """Deliver what is left, as long as that goes forward, then stop; says what could not be delivered, if any."""
        began = moved = time.monotonic()
        patience = PATIENCE_UNREACHABLE if self._trouble else PATIENCE
        told, written = False, -1
        self._closing.set()
        self._log.appended.set()
        while self._thread.is_alive():
            self._thread.join(0.05)
            now, seen = time.monotonic(), self._exporter.written if self._exporter else 0
            if seen != written:
                written, moved = seen, now
            if now - moved > patience:
                self._trouble = self._trouble or "it is slow"
                break
            if now - began > QUIET and not told and not self._trouble:
                self._show(f"{self._name} is being brought up to date ...")
                told = True
        left = self._left() if self._trouble or self._thread.is_alive() else 0
        remedy = f"`python -m study mlflow {self._log.path.parent}`"
        if left:
            runs = "1 run" if left == 1 else f"{left} runs"
            self._show(f"{self._name} has not been told of {runs} ({self._trouble}); {remedy} delivers them")
        elif self._thread.is_alive():
            what = f"{self._name} has not taken all files of the study"
            self._show(f"{what} ({self._trouble}); {remedy} delivers the others")
            return False
        elif self._exporter is not None and self._exporter.refused:
            self._show(f"{NO_FILES} ({self._exporter.refused}); {remedy} tries again")
        return not left

    def _left(self) -> int:
        """Of how many runs and sweeps something was logged since what was last delivered."""
        names = [line.event or {} for line in read_lines(self._log.path, self._told)]
        return len({event.get("trial_id", event.get("cell")) for event in names} - {None})

    def _follow(self) -> None:
        pause, failures = FIRST_PAUSE, 0
        while True:
            closing = self._closing.is_set()
            end = self._log.path.stat().st_size
            try:
                self._exporter = self._exporter or self._connect()
                began = time.monotonic()
                self._exporter.update()
            except Exception as error:  # whatever it is, training goes on, and it is said
                self._exporter, failures = None, failures + 1
                if failures == 1:
                    continue  # somebody may just have deleted a run that was to be added to
                first, self._trouble = not self._trouble, plain(error)
                if closing:
                    return
                if first:
                    self._show(f"{self._name} cannot be told at present ({self._trouble}); training goes on")
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._told = end
            if self._trouble:
                self._trouble = ""
                self._show(f"{self._name} answers again, and is told what it lacks")
            pause, failures = FIRST_PAUSE, 0
            if closing:
                return
            self._closing.wait(min(REST * (time.monotonic() - began), LONGEST_REST))
            self._log.appended.wait(POLL)
            self._log.appended.clear()


def delivery_of(folder: StudyFolder, log: StudyLog, show: Callable[[str], None] = say) -> Delivery:
    """What shows a study in MLflow while it runs.

    A database file is made here and now, so that no process is started while a thread makes its tables.
    """
    with suppress(UserError):  # the delivery says it
        database = database_path(folder.tracking_uri or default_tracking_uri(folder.path))
        if database is not None:
            create_database(database)

    def connect() -> MlflowExporter:
        uri = folder.tracking_uri or default_tracking_uri(folder.path)
        return MlflowExporter(log.path, uri, Identity(folder.name, folder.study_id))

    return Delivery(log, connect, show)


def deliver(directory: str | Path, tracking_uri: str | None = None, show: Callable[[str], None] = say) -> int:
    """Bring MLflow's pages of a study to what its log says, whatever is there; how many runs were written.

    Its own database is made again where it is damaged; a copy is kept.

    Args:
        directory: the study's folder, which may be read-only where its pages are elsewhere.
        tracking_uri: deliver there, from now on; None: where the study is shown already.
        show: where lines for the user go.

    Raises:
        UserError: no study there, a command that is at work in it, a log that is damaged, or a store that cannot be
            made, read or reached.
    """
    known = study_identity(directory)
    tracking_uri = tracking_uri and checked_uri(tracking_uri)
    log = known.folder / LOG_FILE
    if not log.is_file():
        raise UserError(f"the study {known.name!r} in {directory} has no log.jsonl, so there is nothing to show")
    for _ in read_events(log):
        pass  # a damaged log is said before anything is made of it
    writable = os.access(known.folder, os.W_OK)
    if not writable and (known.study_id is None or database_path(tracking_uri or known.tracking_uri) is not None):
        raise UserError(f"{known.folder} cannot be written; copy it, or give the --tracking-uri of a server")
    with only_one(known.folder) if writable else nobody_at_work(known.folder):
        identity, uri = Identity(known.name, str(known.study_id)), tracking_uri or known.tracking_uri
        if writable:
            folder = StudyFolder(known.folder, tracking_uri=tracking_uri, simulated=None)
            uri = folder.tracking_uri or default_tracking_uri(folder.path)
            identity = Identity(folder.name, folder.study_id)
            if folder.tracking_uri is None:
                _set_aside_damaged(database_path(uri), show)
        exporter = MlflowExporter(log, uri, identity)
        written = exporter.update()
        if writable:
            folder.create()
    show(f"MLflow at {uri} shows all of {known.name}; {written} runs were brought up to date")
    if exporter.refused:
        show(f"{NO_FILES} ({exporter.refused})")
    return written


def what_mlflow_lacks(known: StudyIdentity) -> str | None:
    """One line on what MLflow does not show of a study, with the command that delivers it; None where it shows all.

    Nothing is written, and a server that does not answer is not waited for.
    """
    remedy = f"`python -m study mlflow {known.folder}` delivers it"
    pages = Pages(known.name, str(known.study_id))
    for line in read_lines(known.folder / LOG_FILE):
        if line.event is not None:
            pages.add(line.event)
    pages.take_notes(notes(known.folder))
    count = sum(1 for _ in pages.keys())  # noqa: SIM118 (not a dict)
    if not count:
        return None
    try:
        database = database_path(known.tracking_uri)
        if database is not None and database.exists():
            check_database(database, thorough=True)
        client = open_store(known.tracking_uri, make=False)
        identity = Identity(known.name, str(known.study_id))
        experiment = find_experiment(client, identity, database)
        known_kind = experiment is not None and experiment.tags.get(KIND) == PRESENT_KIND
        shown = read_shown(client, experiment.experiment_id, identity)[0] if experiment and known_kind else {}
    except FileNotFoundError:
        shown = {}
    except Exception as error:  # a note is no reason to end in an error
        return f"what MLflow shows cannot be told ({plain(error)}); {remedy}"
    left = len(lacking(pages, shown))
    return f"MLflow lacks something of {left} of the study's {count} runs and sweeps; {remedy}" if left else None


def _set_aside_damaged(database: Path | None, show: Callable[[str], None]) -> None:
    """Move a database that cannot be read out of the way; a copy is kept."""
    if database is None or not database.exists():
        return
    try:
        check_database(database, thorough=True)
    except UserError as error:
        copy = keep_copy(database, "damaged")
        # What SQLite left beside it would be taken for the new one's.
        for left in (database.with_name(database.name + end) for end in ("-journal", "-wal", "-shm")):
            if left.exists():
                keep_copy(left, "damaged")
                left.unlink()
        database.unlink()
        show(f"{error}. It is made again from the study's log, and the old one kept as {copy.name}")
