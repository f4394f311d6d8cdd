"""Where a study's records disagree: its log, its search's journal, Ray Tune's own record and the run folders.

Everything here is a function of what was read (`Records`); nothing is read or written. The log is the truth on runs and
the journal on the search, so most repairs bring another record to what the log says.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from study.record.study_log import RUNNING, TrialRecord
from study.search.journal_trials import SearchTrial

# What `--repair` does of a finding; one that has none is mended by hand.
CLOSE, TELL, LOG_END, REMOVE_FOLDER = "close", "tell", "log end", "remove folder"


@dataclass(frozen=True)
class Finding:
    """One disagreement.

    Attributes:
        what: in a plain line.
        repair: what `--repair` does, one of this module's names; empty where it does nothing.
        subject: of which run.
    """

    what: str
    repair: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Records:
    """All that was read of a study.

    Attributes:
        log: its runs by trial id.
        open_sweeps: cells whose parent run the log has not ended.
        search: search trials by trial id; None where the journal cannot be read.
        tune: Ray Tune's status by trial id, of the trials that have one.
        folders: names of the folders below `runs/`.
    """

    log: Mapping[str, TrialRecord]
    open_sweeps: Sequence[str] = ()
    search: Mapping[str, SearchTrial] | None = None
    tune: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()


def disagreements(records: Records) -> list[Finding]:
    """Everything that does not fit together, in the order in which it is to be repaired."""
    return [*_left_running(records), *_search(records), *_tune(records), *_folders(records)]


def _left_running(records: Records) -> Iterator[Finding]:
    for trial_id, trial in records.log.items():
        if trial.outcome == RUNNING:
            yield Finding(f"{trial_id} is logged as running, and no command is at work", CLOSE, trial_id)
    for cell in records.open_sweeps:
        yield Finding(f"the sweep of {cell} is logged as running, and no command is at work", CLOSE, cell)


def _search(records: Records) -> Iterator[Finding]:
    if records.search is None:
        return
    for trial_id, trial in records.log.items():
        if trial.phase != "search":
            continue
        known = records.search.get(trial_id)
        if known is None:
            yield Finding(f"{trial_id} is in the log ({trial.outcome}) and not in the search's journal", TELL, trial_id)
        elif trial.ended and known.outcome == RUNNING:
            yield Finding(f"{trial_id} is {trial.outcome}; the search's journal has it as running", TELL, trial_id)
        elif trial.ended and known.outcome != trial.outcome:
            yield Finding(f"{trial_id} is {trial.outcome} in the log and {known.outcome} in the search's journal")
    for trial_id, known in records.search.items():
        record = records.log.get(trial_id)
        if known.outcome != RUNNING and (record is None or not record.ended):
            what = f"{trial_id} is {known.outcome} in the search's journal; its log lacks that"
            yield Finding(what, LOG_END, trial_id)


def _tune(records: Records) -> Iterator[Finding]:
    for trial_id, status in records.tune.items():
        trial = records.log.get(trial_id)
        if trial is None:
            yield Finding(f"Ray Tune's record has {trial_id} ({status}), which the log does not know")


def _folders(records: Records) -> Iterator[Finding]:
    for name in sorted(records.folders):
        trial = records.log.get(name)
        if trial is None:
            yield Finding(f"runs/{name} belongs to no run that the log knows")
        elif trial.outcome == "pruned":
            yield Finding(f"runs/{name} was left over by a pruned run", REMOVE_FOLDER, name)


def counts(findings: Sequence[Finding]) -> Counter[str]:
    """How many findings there are of each repair."""
    return Counter(finding.repair for finding in findings)
