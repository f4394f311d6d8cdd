"""Puts back into a study's log what other records know of a run: the search's journal and the run's checkpoint.

A search trial's end stands in the log before the journal is told of it, so this is needed only where the log has lost
lines since.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.record.metrics import recordable
from study.record.study_log import StudyLog
from study.search.journal_trials import SearchTrial


def log_ends(
    log: StudyLog, search: Mapping[str, SearchTrial], runs: Path, identities: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Log the search trials that have ended and whose end the log lacks, with the epochs that their checkpoints know.

    Args:
        log: the study's log.
        search: what the journal says of each search trial, by trial id.
        runs: the folder of the runs' folders.
        identities: by cell, what `study.json` says of it.

    Returns:
        The ids of the trials that were logged. One whose configuration nothing knows is left out.
    """
    from trainers.checkpoint import recorded_history

    done = []
    for trial_id, known in search.items():
        record = log.trials().get(trial_id)
        if known.outcome == "running" or (record is not None and record.ended):
            continue
        if record is None:
            if known.config is None:
                continue
            cell = trial_id.rsplit("-search-", 1)[0]
            method = str(identities.get(cell, {}).get("method", known.config.get("algorithm", "")))
            origin = {"cell": cell, "phase": "search", "method": method, "config": dict(known.config)}
            log.append("start", trial_id=trial_id, tags={}, attempt=1, **origin)
            record = log.trials()[trial_id]
        for metrics in recorded_history(runs / trial_id):
            if metrics["epoch"] > record.last_epoch:
                epoch, kept = int(metrics["epoch"]), recordable(metrics)
                log.append("epoch", trial_id=trial_id, epoch=epoch, metrics=kept, device_seconds=None)
        rung = record.last_epoch if known.outcome == "pruned" else None
        why = "as the search's journal has it"
        fields = {"metrics": dict(known.metrics), "reason": why, "rung": rung, "device_seconds": None}
        log.append("end", trial_id=trial_id, outcome=known.outcome, **fields)
        done.append(trial_id)
    return done
