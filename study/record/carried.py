"""Going on with a study elsewhere, from its small files alone: which they are, and what is said of it then.

Checkpoints are large and only unfinished runs need them. What a study knows of its ended runs lies in its log and its
search's journal, so that these, committed to git at the end of a sitting, are what the next machine goes on from.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from study.record.file_names import JOURNAL_FILE, LOG_FILE, PREDICTIONS_FILE, RESULTS_FILE, STUDY_FILE, VERDICTS_FILE
from study.record.study_log import INTERRUPTED, TrialRecord
from trainers.checkpoint import best_checkpoint, last_checkpoint

SMALL_FILES = (
    STUDY_FILE,
    LOG_FILE,
    JOURNAL_FILE,
    "pretrained",
    PREDICTIONS_FILE,
    RESULTS_FILE,
    VERDICTS_FILE,
)
"""What of a study's folder is enough to go on with it; the first three it cannot do without."""

_ORIGIN = {"git_commit": "commit", "versions": "versions", "hardware": "machine"}


def differences(events: Iterable[Mapping[str, Any]], now: Mapping[str, str]) -> list[str]:
    """In what this command's origin differs from that of the last one that was at work on the study.

    Args:
        events: the study's log.
        now: `study.record.provenance.provenance`.
    """
    last = None
    for event in events:
        if event["event"] == "session":
            last = event
    if last is None:
        return []
    return [
        f"{words} was {last.get(name)}, is {now[name]}"
        for name, words in _ORIGIN.items()
        if last.get(name) != now[name]
    ]


def begin_anew(trials: Mapping[str, TrialRecord], folder: Path) -> list[str]:
    """The interrupted runs that had ended an epoch and whose checkpoints are not here: they start from nothing."""
    return [
        trial_id
        for trial_id, record in trials.items()
        if record.outcome == INTERRUPTED
        and record.last_epoch > 0
        and not any(file(folder / "runs" / trial_id).exists() for file in (last_checkpoint, best_checkpoint))
    ]


def lines(
    events: Iterable[Mapping[str, Any]],
    trials: Mapping[str, TrialRecord],
    folder: Path,
    now: Mapping[str, str],
    elsewhere: Callable[[str], bool] = lambda trial_id: False,
) -> list[str]:
    """What is said where a study goes on elsewhere than it last was at work, or without its checkpoints.

    Args:
        events, trials, folder: of the study.
        now: this command's origin.
        elsewhere: whether a run whose checkpoint is not in the folder has one in shared storage.
    """
    said = []
    if different := differences(events, now):
        said.append(f"this study goes on elsewhere: {'; '.join(different)}. Each run's record says where it ran")
    if anew := [trial_id for trial_id in begin_anew(trials, folder) if not elsewhere(trial_id)]:
        said.append(
            f"{len(anew)} interrupted runs have no checkpoint here and start from nothing: {', '.join(anew[:3])}"
            + (", ..." if len(anew) > 3 else "")
        )
    return said
