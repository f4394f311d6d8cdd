"""Tells MLflow what the study's log says: in order, each event once, from a thread of its own.

The place in the log up to which MLflow knows is kept in `DIR/delivered.json`, with the MLflow run of every trial and
sweep. It is written after the events themselves, so a kill between the two delivers some again, which changes nothing
(`study.mlflow_export.exporter`). Where MLflow cannot be reached, events wait in the log and training goes on.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study.mlflow_export.exporter import Tracker
from study.record.study_log import Line, StudyLog, TrialRecord, read_lines
from study.record.terminal import say
from trainers.atomic import write_json
from trainers.config import TrialConfig
from trainers.errors import UserError

# Seconds: between two looks at the log; after a failed delivery (doubled up to the last); for the position to be saved.
POLL, FIRST_PAUSE, LONGEST_PAUSE, SAVE_EVERY = 0.2, 1.0, 30.0, 1.0
# Seconds that a command waits at its end for what is not delivered yet, as long as MLflow answers; and if it does not.
LAST_TRY, LAST_TRY_UNREACHABLE = 600.0, 15.0
# Seconds of that after which the user is told what is waited for.
QUIET = 3.0
# MLflow's client would retry for minutes what can wait in the log.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines on every run that ends
}
# MLflow refuses tags above 8000 characters; a reason is a line.
LONGEST_REASON, LONGEST_TROUBLE = 1000, 200
TOKEN = "delivered_from"
FORMAT = 1


@dataclass
class Position:
    """What MLflow has been told: `delivered.json`.

    Attributes:
        begin: the byte of the log at which the next event begins.
        runs, sweeps: MLflow run ids by trial id and by cell.
        origin: where results come from (`study.record.provenance`), as the last delivered `session` said.
        token: stands in a tag of the MLflow experiment too; where it does not, the experiment is another or was lost,
            and everything is delivered to it from the log's beginning.
    """

    begin: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    sweeps: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def read(cls, path: Path) -> "Position | None":
        """The position in a file; None where there is none or it cannot be read, so that all is delivered again."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{key: content[key] for key in ("begin", "runs", "sweeps", "origin", "token")})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the file, whole or not at all."""
        write_json(path, {"format": FORMAT, **asdict(self)}, durable=False)


class Delivery:
    """Follows a study's log and delivers its events to MLflow.

    Args:
        log: the study's log.
        path: `delivered.json`.
        connect: opens the tracker; raises where MLflow cannot be reached.
        show: where lines for the user go.
    """

    def __init__(
        self, log: StudyLog, path: Path, connect: Callable[[], Tracker], show: Callable[[str], None] = say
    ) -> None:
        self._log, self._path, self._connect, self._show = log, path, connect, show
        known = Position.read(path)
        self.resumes = known is not None
        """Whether the study has been recorded before."""
        self._position = known or Position()
        if self._position.begin > log.path.stat().st_size:  # the log was put back from an older copy
            self._position.begin = 0
        self._old = log.path.stat().st_size  # what lies before may have been delivered by a process that was killed
        self._tracker: Tracker | None = None
        self._saved = time.monotonic()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble = ""
        """Why nothing can be delivered at present; empty while it can."""
        os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries are not the user's news

    @property
    def runs(self) -> Mapping[str, str]:
        """The MLflow run of each trial that was delivered, by trial id."""
        return self._position.runs

    def open(self) -> None:
        """Connect to MLflow now. Raises what `connect` raises."""
        tracker = self._connect()
        token = tracker.experiment_tag(TOKEN)
        if token != self._position.token:
            if self._position.begin:
                self._show(f"{tracker.tracking_uri} lacks this study's records; they are made again from its log")
            self._position = Position()
            self._old = self._log.path.stat().st_size
            self._save()
            tracker.set_experiment_tag(TOKEN, self._position.token)
        self._tracker = tracker

    def start(self) -> None:
        """Deliver from now on, in the background."""
        self._thread = threading.Thread(target=self._follow, name="delivery", daemon=True)
        self._thread.start()

    def flush(self, seconds: float = LAST_TRY) -> int:
        """Wait until everything logged so far is delivered; returns how many events still wait.

        Where MLflow does not answer, one more try is made, and waited for at most `LAST_TRY_UNREACHABLE` seconds.
        """
        if self._thread is None:
            self.catch_up()
            return self.waiting()
        deadline = time.monotonic() + seconds
        patience: float | None = None
        tell_at: float | None = time.monotonic() + QUIET
        self._wake.set()
        while self._position.begin < self._log.path.stat().st_size and self._thread.is_alive():
            now = time.monotonic()
            patience = (patience or now + LAST_TRY_UNREACHABLE) if self.trouble else None
            if now > min(deadline, patience or deadline):
                break
            if tell_at is not None and now > tell_at and not self.trouble:
                self._show(f"{self.waiting()} records are still to be delivered to MLflow ...")
                tell_at = None
            time.sleep(0.02)
        return self.waiting()

    def close(self) -> int:
        """A last try, bounded, then end the thread; says so where events still wait, and returns how many."""
        left = self.flush()
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        if left:
            self._show(
                f"{left} records wait in {self._log.path} for MLflow ({self.trouble}); the same command or "
                f"`python -m study doctor {self._log.path.parent} --repair` delivers them"
            )
        return left

    def waiting(self) -> int:
        """How many events MLflow has not been told."""
        return sum(1 for _ in read_lines(self._log.path, self._position.begin))

    def catch_up(self) -> int:
        """Deliver everything that is in the log now; returns how many events that were. Raises what MLflow raises."""
        if self._tracker is None:
            self.open()
        count = 0
        try:
            for line in read_lines(self._log.path, self._position.begin):
                if line.event is not None:
                    self._deliver(line)
                self._position.begin = line.end
                count += 1
                self._answers()
                if time.monotonic() - self._saved > SAVE_EVERY:
                    self._save()
        finally:
            if count:
                self._save()
        return count

    def _follow(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                count = self.catch_up()
            except Exception as error:  # whatever it is, training goes on, and it is said
                self._tracker = None
                self._old = self._log.path.stat().st_size  # what failed may have reached the server all the same
                first, self.trouble = not self.trouble, _plain(error)
                if first:
                    self._show(f"MLflow cannot be told at present ({self.trouble}); training goes on, records wait")
                self._wake.wait(pause)
                self._wake.clear()
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._answers()
            if not count:
                self._log.appended.wait(POLL)
                self._log.appended.clear()

    def _answers(self) -> None:
        if self.trouble:
            self.trouble = ""
            self._show("MLflow answers again; the records that waited are being delivered")

    def _deliver(self, line: Line) -> None:
        event, tracker = line.event or {}, self._tracker
        assert tracker is not None
        name, at = event["event"], float(event["at"])
        fresh = line.begin >= self._old
        if name == "session":
            self._position.origin = {key: str(event[key]) for key in ("git_commit", "versions", "hardware", "command")}
        elif name == "sweep":
            cell = event["cell"]
            self._position.sweeps[cell] = tracker.sweep_run(
                cell, {**self._position.origin, **event["tags"]}, event["params"],
                known=self._position.sweeps.get(cell), fresh=fresh, at=at,
            )  # fmt: skip
        elif name == "sweep_end" and event["cell"] in self._position.sweeps:
            tags = dict(event["tags"])
            tracker.finish(self._position.sweeps[event["cell"]], tags.pop("status", "completed"), tags=tags, at=at)
        elif name == "start":
            self._start(tracker, event, fresh, at)
        elif (run_id := self._position.runs.get(event.get("trial_id", ""))) is not None:
            self._run_event(tracker, run_id, event, at)

    def _start(self, tracker: Tracker, event: Mapping[str, Any], fresh: bool, at: float) -> None:
        trial_id, config = event["trial_id"], TrialConfig.from_dict(event["config"])
        tags = {
            **self._position.origin,
            "dataset": config.dataset,
            "model": config.model,
            "algorithm": config.algorithm,
            "method": event["method"],
            "phase": event["phase"],
            "seed": str(config.seed),
            **event["tags"],
        }
        self._position.runs[trial_id] = tracker.trial_run(
            trial_id, self._position.sweeps.get(event["cell"]), config.to_dict(), tags,
            known=self._position.runs.get(trial_id), fresh=fresh, at=at,
        )  # fmt: skip

    def _run_event(self, tracker: Tracker, run_id: str, event: Mapping[str, Any], at: float) -> None:
        name = event["event"]
        if name == "epoch":
            tracker.log_epoch(run_id, event["metrics"], int(event["epoch"]), at)
        elif name == "attempt_end":
            reason = f"{event['how']}: {event['reason']}" if event["reason"] else event["how"]
            tracker.finish(run_id, "interrupted", tags={"reason": reason[:LONGEST_REASON]}, at=at)
        elif name == "end":
            tags = {**account(self._log.trials()[event["trial_id"]]), "reason": event["reason"][:LONGEST_REASON]}
            if event["rung"] is not None:
                tags["rung"] = str(event["rung"])
            tracker.finish(run_id, event["outcome"], event["metrics"], tags, at)
        elif name == "test_opened":
            record = self._log.trials()[event["trial_id"]]
            tracker.set_tags(run_id, {key: account(record)[key] for key in ("test_opened", "test_forced")})

    def _save(self) -> None:
        try:
            self._position.write(self._path)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written ({error.strerror or error})") from error
        self._saved = time.monotonic()


def _plain(error: Exception) -> str:
    """The reason for a failed delivery in one line; the client's own runs to several for a refused connection."""
    text = f"{error}".split("\n")[0] or type(error).__name__
    if any(sign in text for sign in ("Max retries exceeded", "Connection refused", "Connection aborted", "timed out")):
        return "its server does not answer"
    return text if len(text) <= LONGEST_TROUBLE else text[: LONGEST_TROUBLE - 1] + "…"


def undelivered(folder: Path) -> int:
    """How many of a study's logged events MLflow has not been told; reads, and writes nothing."""
    known = Position.read(folder / "delivered.json")
    return sum(1 for _ in read_lines(folder / "log.jsonl", known.begin if known else 0))


def account(record: TrialRecord) -> dict[str, str]:
    """What a run has used, as tags."""
    return {
        "attempts": str(record.attempts),
        "epochs_used": str(record.epochs_used),
        "device_seconds": f"{record.device_seconds:.3f}",
        "test_opened": str(record.test_opened),
        "test_forced": str(record.test_forced),
    }
