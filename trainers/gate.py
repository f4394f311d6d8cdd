"""The gate before the test set: it is opened once a run, and that it was opened is on disk before any number is.

What was seen cannot be unseen: a test accuracy that somebody looked at and did not like must not be measured again as
if it were the first time. So `test_opening.json` in the run's folder says, in this order, that the test set is being
opened, and then what came out:

| what the folder and the study's log say | then |
| --- | --- |
| never opened | opened |
| being opened: the run was killed before anybody saw a number | opened, recorded as continued |
| opened | what came out then, without opening |
| opened, by the log, and the folder does not know of it | refused |
| the record is damaged | refused |

Only force opens it again, and every forced opening is recorded with its time.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.atomic import write_json
from trainers.attempt import Attempt
from trainers.clock import stamp
from trainers.errors import UserError
from trainers.progress import Metrics
from trainers.replicas import Replicas

OPENING, OPENED = "opening", "opened"

_FIGURES = "test_"  # what was measured: the record's entries that begin so; test_accuracy is always among them
_REPEAT, _OPEN, _REFUSE_UNKNOWN, _REFUSE_DAMAGED = range(4)


def record_of(run_dir: Path) -> Path:
    """Where a run's folder says how often its test set was opened, and what came out."""
    return run_dir / "test_opening.json"


def measured_once(
    run_dir: Path,
    replicas: Replicas,
    attempt: Attempt,
    measure: Callable[[], Metrics],
    keep: Callable[[], None] = lambda: None,
) -> Metrics:
    """The test set's figures: measured if the gate lets through, otherwise what was measured before.

    Args:
        run_dir: the run's folder.
        replicas: this worker's place; all of them come here together, and worker 0 decides.
        attempt: what the study's log says of earlier openings, and whether to open the test set again.
        measure: gives test_accuracy and what stands beside it, all workers together.
        keep: brings the record to where it outlives this machine; called whenever it was written.

    Returns:
        The figures measured, and `test_forced` where this attempt opened the test set by force.

    Raises:
        UserError: it was opened before, and what came out is not known any more.
    """
    record: dict[str, Any] = {}
    step = _REPEAT
    if replicas.rank == 0:
        step, record = _decide(run_dir, attempt)
    step = replicas.maximum(step)
    if step in (_REFUSE_UNKNOWN, _REFUSE_DAMAGED):
        raise UserError(_refusal(step, run_dir, attempt))
    if step == _OPEN:
        if replicas.rank == 0:
            write_json(record_of(run_dir), record)
            keep()
        replicas.barrier()  # nobody reads an image of the test set before it is on disk
        figures = measure()
        if replicas.rank == 0:
            record = {**record, **figures, "state": OPENED}
            write_json(record_of(run_dir), record)
            keep()
        replicas.barrier()
    return measured_before(run_dir, attempt)


def measured_before(run_dir: Path, attempt: Attempt) -> Metrics:
    """What the run's test set came to when it was opened; empty where it was not."""
    try:
        record = _read(record_of(run_dir)) or {}
    except ValueError:
        return {}
    if record.get("state") != OPENED:
        return {}
    forced = any(opening["forced"] and opening["at"] >= attempt.began for opening in record["openings"])
    return {**_figures(record), **({"test_forced": True} if forced else {})}


def _decide(run_dir: Path, attempt: Attempt) -> tuple[int, dict[str, Any]]:
    """What to do, and the record to write before it is done."""
    try:
        record = _read(record_of(run_dir))
    except ValueError:
        return (_OPEN, _opening([], forced=True)) if attempt.reopen_test else (_REFUSE_DAMAGED, {})
    if record is None:
        known = attempt.test_openings > 0
        if known and not attempt.reopen_test:
            return _REFUSE_UNKNOWN, {}
        return _OPEN, _opening([], forced=known)
    openings = record["openings"]
    if record["state"] == OPENING:
        return _OPEN, {**record, "openings": [*openings[:-1], {**openings[-1], "continued": True}]}
    # A run whose workers died is started again within one attempt, which was forced once.
    if attempt.reopen_test and not any(opening["forced"] and opening["at"] >= attempt.began for opening in openings):
        return _OPEN, _opening(openings, forced=True)
    return _REPEAT, {}


def _opening(earlier: list[dict[str, Any]], forced: bool) -> dict[str, Any]:
    return {"state": OPENING, "openings": [*earlier, {"at": stamp(), "forced": forced, "continued": False}]}


def _figures(record: Metrics) -> Metrics:
    return {name: figure for name, figure in record.items() if name.startswith(_FIGURES)}


def _read(path: Path) -> dict[str, Any] | None:
    """A run's record; None where there is none. Raises ValueError where it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    try:
        record = json.loads(text)
        whole = record["state"] in (OPENING, OPENED) and bool(record["openings"])
        whole = whole and all(isinstance(opening["forced"], bool) for opening in record["openings"])
        whole = whole and all(isinstance(opening["at"], (int, float)) for opening in record["openings"])
        if record["state"] == OPENED:
            figures = _figures(record)
            whole = whole and "test_accuracy" in figures
            whole = whole and all(isinstance(figure, float) and 0 <= figure <= 1 for figure in figures.values())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no record of openings ({error!r})") from error
    if not whole:
        raise ValueError(f"{path} is no record of openings")
    return dict(record)


def _refusal(step: int, run_dir: Path, attempt: Attempt) -> str:
    path = record_of(run_dir)
    if step == _REFUSE_DAMAGED:
        known = f"{path} is damaged, so it is not known whether this run's test set was opened, and what came out"
    else:
        times = f"{attempt.test_openings} time" + ("s" if attempt.test_openings > 1 else "")
        known = f"the study's log says that this run's test set was opened {times}, and {path} with its figures is gone"
    return f"{known}; put the file back, or open the test set again with --reopen-test, which is recorded"
