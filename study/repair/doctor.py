"""`python -m study doctor DIR`: what a study's records disagree on, in plain lines; `--repair` brings them together.

Without `--repair` nothing is written, not even a lock. With it, a copy is kept of every file that is replaced or cut;
nothing is removed but the folders of pruned runs. What MLflow lacks is a note beside: its pages can be made again.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from study.drive.session import close_attempts, require_log
from study.mlflow_export.delivery import what_mlflow_lacks
from study.record.file_names import JOURNAL_FILE, LOG_FILE, STUDY_FILE
from study.record.folder import study_identity
from study.record.study_log import StudyLog, damage, fold, keep_copy, read_lines, torn_line
from study.record.terminal import say
from study.record.working_alone import nobody_at_work, only_one
from study.repair import journal_repair
from study.repair.log_repair import log_ends
from study.repair.reconcile import CLOSE, LOG_END, REMOVE_FOLDER, TELL, Finding, Records, counts, disagreements
from study.search.journal_trials import read_searches, search_trials
from trainers.atomic import write_atomically

LOG, JOURNAL = "log", "journal"


def doctor(directory: str | Path, repair: bool = False, show: Callable[[str], None] = say) -> int:
    """Say what disagrees, and repair it where asked to; 0 where all agrees at the end, otherwise 1.

    What MLflow lacks is said too, and counts as no disagreement.

    Raises:
        UserError: no study there, its `study.json` cannot be read, or a command is at work in it.
    """
    known = study_identity(directory)
    folder, name = known.folder, known.name
    require_log(folder)
    with only_one(folder) if repair else nobody_at_work(folder):
        found = examine(folder)
        for finding in found:
            show(finding.what)
        if note := what_mlflow_lacks(known):
            show(f"note: {note}")
        if not found:
            show(f"the records of {name} agree")
            return 0
        if not repair:
            mended = sum(bool(finding.repair) for finding in found)
            show(f"{_counted(found)}; `python -m study doctor {directory} --repair` mends {mended} of them")
            return 1
        _repair(folder, found, show)
        left = examine(folder)
    for finding in left:
        show(f"still: {finding.what}")
    show("the records agree now" if not left else f"left to be mended by hand: {_counted(left)}")
    return 1 if left else 0


def _counted(found: Sequence[Finding]) -> str:
    return f"{len(found)} disagreement" + ("" if len(found) == 1 else "s")


def examine(folder: Path) -> list[Finding]:
    """Everything that disagrees in a study's folder; reads, and writes nothing."""
    log, journal = folder / LOG_FILE, folder / JOURNAL_FILE
    found: list[Finding] = []
    if torn_line(log) is not None:
        found.append(Finding(f"the last line of the study's log {log} is unfinished", LOG))
    found += [Finding(damage(log, line.number), LOG) for line in read_lines(log) if line.event is None]
    events = [line.event for line in read_lines(log) if line.event is not None]
    search = None
    if journal.exists() and (wrong := journal_repair.problems(journal)):
        found += [Finding(line, JOURNAL) for line in wrong]
    else:
        try:
            search = search_trials(read_searches(journal))
        except (ValueError, KeyError, AssertionError, TypeError) as error:
            found.append(Finding(f"the search's journal {journal} cannot be read ({error!r}); restore it from a copy"))
    trials = fold(iter(events))
    records = Records(
        log=trials,
        open_sweeps=_open_sweeps(events),
        search=search,
        tune=_tune(folder / "tune"),
        folders=frozenset(path.name for path in (folder / "runs").glob("*")),
    )
    return [*found, *disagreements(records), *_checkpoints(folder, frozenset(trials))]


def _tune(folder: Path) -> dict[str, str]:
    """Ray Tune's status of each trial that it has a record of."""
    found = {}
    for path in sorted(folder.glob("*/*/trial.json")):
        try:
            found[path.parent.name] = str(json.loads(path.read_text(encoding="utf-8")).get("status"))
        except (OSError, ValueError, AttributeError):
            found[path.parent.name] = "unreadable"
    return found


def _checkpoints(folder: Path, known: frozenset[str]) -> Iterator[Finding]:
    """Checkpoints of the study's runs that are not what was written."""
    from trainers.checkpoint import DamagedError, read_checkpoint

    for path in sorted((folder / "runs").glob("*/checkpoints/*.safetensors")):
        if path.parent.parent.name not in known:
            continue
        try:
            read_checkpoint(path)
        except DamagedError as error:
            yield Finding(f"the checkpoint {path} cannot be used ({error}); put back a copy if there is one")


def _open_sweeps(events: list[dict[str, Any]]) -> list[str]:
    opened: dict[str, None] = {}
    for event in events:
        if event["event"] == "sweep":
            opened[event["cell"]] = None
        elif event["event"] == "sweep_end":
            opened.pop(event["cell"], None)
    return list(opened)


def _repair(folder: Path, found: list[Finding], show: Callable[[str], None]) -> None:
    """Mend what was found: the log first, then the search by it."""
    path, journal = folder / LOG_FILE, folder / JOURNAL_FILE
    wanted = counts(found)
    if wanted[LOG]:
        _repair_log(folder, show)
    log = StudyLog(path, show)
    if wanted[JOURNAL]:
        for line in journal_repair.repair(journal, log.trials()):
            show(line)
    # What was mended so far may show more.
    more = [*found, *disagreements(_search_records(folder, log))]
    if any(finding.repair == LOG_END for finding in more):
        known = _search_records(folder, log).search or {}
        for trial_id in log_ends(log, known, folder / "runs", _identities(folder)):
            show(f"{trial_id} is logged as the search's journal has it")
    if close_attempts(log) or counts(more)[CLOSE]:
        show("what was left running is logged as interrupted")
    if any(finding.repair == TELL for finding in more):
        lost = journal_repair.tell(journal, log.trials(), _objectives(folder), _curves(log))
        show("the search's journal holds what the log says")
        for trial_id in lost:
            why = "its place in the search was lost with the damaged journal"
            log.append(
                "end", trial_id=trial_id, outcome="failed", metrics={}, reason=why, rung=None, device_seconds=None
            )
            show(f"{trial_id} had not ended and counts as failed: {why}")
    for finding in found:
        if finding.repair == REMOVE_FOLDER:
            shutil.rmtree(folder / "runs" / finding.subject, ignore_errors=True)
            show(f"removed runs/{finding.subject}")


def _repair_log(folder: Path, show: Callable[[str], None]) -> None:
    """Drop damaged lines, and no others; an unfinished last one is cut where the log is opened."""
    path = folder / LOG_FILE
    damaged = [line for line in read_lines(path) if line.event is None]
    if not damaged:
        return
    copy = keep_copy(path, "damaged")
    whole = path.read_bytes()
    for line in reversed(damaged):
        whole = whole[: line.begin] + whole[line.end :]
    write_atomically(path, lambda partial: partial.write_bytes(whole))
    numbers = ", ".join(str(line.number) for line in damaged)
    show(f"dropped the damaged lines {numbers} of {path.name} (kept whole in {copy.name})")


def _search_records(folder: Path, log: StudyLog) -> Records:
    """The log and the search as they are now, and nothing else."""
    searches = read_searches(folder / JOURNAL_FILE)
    return Records(log=log.trials(), search=search_trials(searches))


def _curves(log: StudyLog) -> dict[str, dict[int, float]]:
    """Each search trial's validation accuracy by epoch."""
    found: dict[str, dict[int, float]] = {}
    for event in log.events():
        if event["event"] == "epoch" and "val_accuracy" in event["metrics"]:
            found.setdefault(event["trial_id"], {})[int(event["epoch"])] = event["metrics"]["val_accuracy"]
    return found


def _identities(folder: Path) -> dict[str, dict[str, Any]]:
    """What `study.json` says of each cell."""
    return dict(json.loads((folder / STUDY_FILE).read_text(encoding="utf-8")).get("cells", {}))


def _objectives(folder: Path) -> dict[str, int]:
    """How many objectives each cell's search has."""
    return {cell: len(identity.get("objectives") or [""]) for cell, identity in _identities(folder).items()}
