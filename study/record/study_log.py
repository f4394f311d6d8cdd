"""The study's log, `DIR/log.jsonl`: everything that happened in a study, one JSON object a line, in order.

It is the truth on which runs started, what each epoch measured, how each attempt and each run ended, and how often the
test set was opened. A line is `{"at": unix seconds, "event": NAME, ...}`; `FIELDS` says what an event of each name
holds. Lines are only ever added, by one command at a time (`study.record.working_alone`). MLflow is told from here
(`study.mlflow_export.delivery`), so it may be away a while.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from study.record import display
from study.record.terminal import say
from trainers.clock import stamp
from trainers.errors import UserError

FIELDS: dict[str, tuple[str, ...]] = {
    # a command that runs something: where its results come from
    "session": ("command", "git_commit", "versions", "hardware"),
    # a cell's parent run is opened, or opened again; and it ends
    "sweep": ("cell", "tags", "params"),
    "sweep_end": ("cell", "tags"),
    # a run starts, or goes on in another attempt; `cell` is None for a run of `train`
    "start": ("trial_id", "cell", "phase", "method", "config", "tags", "attempt"),
    # an epoch that the log lacks so far; and one that was trained once more, after a checkpoint was lost
    "epoch": ("trial_id", "epoch", "metrics", "device_seconds"),
    "retrained": ("trial_id", "epoch", "device_seconds"),
    # an attempt ends and the run does not: interrupted, died, out_of_memory, disk_full,
    # data_changed or storage_unreachable
    "attempt_end": ("trial_id", "how", "reason", "device_seconds"),
    # the run ends; `rung` is the epoch at which it was pruned, otherwise None
    "end": ("trial_id", "outcome", "metrics", "reason", "rung", "device_seconds"),
    "test_opened": ("trial_id", "forced", "accuracy"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    # each binary layer's share of weights that differ from the run's start
    "end": ("flipped_by_layer",),
    # the text of the study file that the command was given
    "session": ("study_file",),
    # which test set that was (`PreparedData.test_set`) and how many images it has, where the run's answers are kept
    "test_opened": ("test_set", "images"),
}
# These are on disk, not only in the system's memory, before the study goes on.
DURABLE = ("start", "attempt_end", "end", "test_opened")
ENDED = ("completed", "pruned", "diverged", "failed", "infeasible")
"""The outcomes of runs that are over."""
RUNNING, INTERRUPTED = "running", "interrupted"


class Line(NamedTuple):
    """A line of a log: its number (1 where reading began), its place in bytes, and its event; None where damaged."""

    number: int
    begin: int
    end: int
    event: dict[str, Any] | None


@dataclass
class TrialRecord:
    """What the log says of one run, in a size that does not grow with its epochs.

    Attributes:
        trial_id, cell, phase, method, config, tags: as in its first `start`.
        outcome: `running`, `interrupted` or one of `ENDED`.
        how: how its last attempt ended, where that was not the run's end; otherwise empty.
        reason: why it ended so.
        rung: the epoch at which it was pruned.
        attempts: how often it was started.
        out_of_memory: how many of its attempts ended for lack of memory.
        last_epoch: the last epoch that is logged.
        metrics: those of the last epoch, and of the end.
        epochs_used: epochs trained, those that were trained twice included.
        device_seconds: seconds x workers over all attempts, as far as they were reported.
        test_opened, test_forced: how often the test set was opened, and how often of these against the rule.
        test_set, test_images: which one that was, and its size; None where that is not recorded.
        flipped_by_layer: each binary layer's share of weights that differ from the run's start; empty where unknown.
    """

    trial_id: str
    cell: str | None
    phase: str
    method: str
    config: dict[str, Any]
    tags: dict[str, str]
    outcome: str = RUNNING
    how: str = ""
    reason: str = ""
    rung: int | None = None
    attempts: int = 0
    out_of_memory: int = 0
    last_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    epochs_used: int = 0
    test_opened: int = 0
    test_forced: int = 0
    test_set: str | None = None
    test_images: int | None = None
    flipped_by_layer: dict[str, float] = field(default_factory=dict)
    _earlier_seconds: float = 0.0
    _attempt_seconds: float = 0.0

    @property
    def device_seconds(self) -> float:
        return self._earlier_seconds + self._attempt_seconds

    @property
    def ended(self) -> bool:
        return self.outcome in ENDED


class StudyLog:
    """Opens a study's log for reading and adding to it, and makes it where there is none.

    A last line that a kill or a full disk left unfinished is cut off; a copy of it is kept beside the log, and said.

    Args:
        path: the file.
        show: where a line for the user goes.

    Raises:
        UserError: the file cannot be read or written, or a line in the middle of it is damaged.
    """

    def __init__(self, path: str | Path, show: Callable[[str], None] = say) -> None:
        self.path = Path(path)
        self._thread = threading.Lock()
        self.appended = threading.Event()
        """Set whenever a line was added; for a reader that follows the log to clear."""
        try:
            self.path.touch()
            if (kept := cut_torn_line(self.path)) is not None:
                show(f"the last line of {self.path} was unfinished and is cut off (kept in {kept.name})")
            self._trials: dict[str, TrialRecord] = {}
            self._sweeps: dict[str, None] = {}
            for event in self.events():
                self._add(event)
        except OSError as error:
            raise UserError(f"the study's log {self.path} cannot be opened ({error.strerror or error})") from error

    def __reduce__(self) -> tuple[type["StudyLog"], tuple[Path]]:
        return StudyLog, (self.path,)  # Ray Tune writes down the callbacks that it was given

    def append(self, event: str, **fields: Any) -> None:
        """Add one event: whole or, where the disk is full, not at all.

        Raises:
            ValueError: the fields are not those of `FIELDS[event]`.
            UserError: the line cannot be written.
        """
        if set(fields).difference(OPTIONAL.get(event, ())) != set(FIELDS[event]):
            raise ValueError(f"a {event} event holds {FIELDS[event]}, not {tuple(fields)}")
        entry = {"at": stamp(), "event": event, **fields}
        line = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        with self._thread:
            try:
                self._write(line, durable=event in DURABLE)
            except OSError as error:
                raise UserError(
                    f"the study's log {self.path} cannot be written ({error.strerror or error}); make room, or the "
                    "file writable, and give the same command again: it goes on from here"
                ) from error
            self._add(entry)
        display.current().event(entry)
        self.appended.set()

    def events(self) -> Iterator[dict[str, Any]]:
        """Everything that happened, in order. Raises `UserError` at a damaged line, with its number."""
        return read_events(self.path)

    def trials(self) -> dict[str, TrialRecord]:
        """Each run's state, by trial id, in the order of their first starts. It is the log's own: not to be changed."""
        return self._trials

    def open_sweeps(self) -> list[str]:
        """The cells whose parent run was opened and has not ended."""
        return list(self._sweeps)

    def _add(self, event: Mapping[str, Any]) -> None:
        add(self._trials, event)
        if event["event"] == "sweep":
            self._sweeps[event["cell"]] = None
        elif event["event"] == "sweep_end":
            self._sweeps.pop(event["cell"], None)

    def _write(self, line: bytes, durable: bool) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    os.write(descriptor, line[written:])  # says why there was no room for all of it
                if durable:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def read_lines(path: Path, begin: int = 0) -> Iterator[Line]:
    """The finished lines of a log from byte `begin` to its present end, numbered from there.

    A last line without its line break is not given: it is still being written, or was never finished.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(begin)
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                return
            end = begin + len(text)
            yield Line(number, begin, end, _parsed(text))
            begin = end


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, in order. Raises `UserError` at a damaged line, with its number."""
    for line in read_lines(path):
        if line.event is None:
            raise UserError(damage(path, line.number))
        yield line.event


def torn_line(path: Path) -> tuple[int, bytes] | None:
    """Where the unfinished last line of a log begins, and what there is of it; None where the log ends whole."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        size = end = file.seek(0, os.SEEK_END)
        tail = b""
        while end > 0 and b"\n" not in tail:
            start = max(0, end - 65536)
            file.seek(start)
            tail = file.read(end - start) + tail
            end = start
    torn = tail[tail.rfind(b"\n") + 1 :]
    return (size - len(torn), torn) if torn else None


def cut_torn_line(path: Path) -> Path | None:
    """Cut off a file's unfinished last line; the path of the copy that is kept of it, None where there was none."""
    found = torn_line(path)
    if found is None:
        return None
    begin, text = found
    copy = keep_copy(path, "torn", text)
    os.truncate(path, begin)
    return copy


def keep_copy(path: Path, why: str, content: bytes | None = None) -> Path:
    """Keep a file's content (or the part given) beside it as `NAME.WHY-1`, `-2`, ...; returns the copy's path."""
    number = 1
    while (copy := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    with copy.open("xb") as file:
        file.write(path.read_bytes() if content is None else content)
        file.flush()
        os.fsync(file.fileno())
    return copy


def damage(path: Path, number: int) -> str:
    """The line that says a log is damaged."""
    return (
        f"line {number} of the study's log {path} is damaged; `python -m study doctor {path.parent} --repair` keeps a "
        "copy of the log and drops that line alone"
    )


def fold(events: Iterator[dict[str, Any]]) -> dict[str, TrialRecord]:
    """Each run's state after these events, by trial id."""
    trials: dict[str, TrialRecord] = {}
    for event in events:
        add(trials, event)
    return trials


def add(trials: dict[str, TrialRecord], event: Mapping[str, Any]) -> None:
    """Bring the runs' states forward by one event; one of a run whose start is lost (a dropped line) is passed over."""
    name = event["event"]
    if name == "start" and event["trial_id"] not in trials:
        known = ("trial_id", "cell", "phase", "method", "config", "tags")
        trials[event["trial_id"]] = TrialRecord(**{key: event[key] for key in known})
    trial = trials.get(event.get("trial_id", ""))
    if trial is None:
        return
    if event.get("device_seconds") is not None:
        trial._attempt_seconds = max(trial._attempt_seconds, float(event["device_seconds"]))
    if name == "start":
        trial._earlier_seconds, trial._attempt_seconds = trial.device_seconds, 0.0
        trial.attempts = max(trial.attempts + 1, int(event["attempt"]))
        trial.outcome, trial.how, trial.reason, trial.rung = RUNNING, "", "", None
    elif name == "epoch":
        trial.epochs_used += 1
        if event["epoch"] > trial.last_epoch:
            trial.last_epoch, trial.metrics = int(event["epoch"]), dict(event["metrics"])
    elif name == "retrained":
        trial.epochs_used += 1
    elif name == "attempt_end":
        trial.outcome, trial.how, trial.reason = INTERRUPTED, event["how"], event["reason"]
        trial.out_of_memory += event["how"] == "out_of_memory"
    elif name == "end":
        trial.outcome, trial.how, trial.reason, trial.rung = event["outcome"], "", event["reason"], event["rung"]
        trial.metrics = {**trial.metrics, **event["metrics"]}
        trial.flipped_by_layer = dict(event.get("flipped_by_layer") or {})
    elif name == "test_opened":
        trial.test_opened += 1
        trial.test_forced += bool(event["forced"])
        trial.test_set, trial.test_images = event.get("test_set"), event.get("images")


def _parsed(text: bytes) -> dict[str, Any] | None:
    """The event of a line; None unless it is one, with all its fields. A name that is not known is let pass."""
    try:
        event = json.loads(text)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or "at" not in event:
        return None
    return event if all(name in event for name in FIELDS.get(event["event"], ())) else None
