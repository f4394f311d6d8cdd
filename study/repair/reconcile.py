"""Where a study's records disagree: its log, its search's journal, MLflow, Ray Tune's own record and the run folders.

Everything here is a function of what was read (`Records`); nothing is read or written. The log is the truth on runs,
the journal on the search, and MLflow is a view of the log, so most repairs bring another record to what the log says.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from study.record.study_log import INTERRUPTED, RUNNING, TrialRecord
from study.search.journal_trials import SearchTrial

# What `--repair` does of a finding; one that has none is mended by hand.
CLOSE, TELL, RELOG, DELIVER, DELETE_RUN, SHOW, REMOVE_FOLDER = (
    "close", "tell", "relog", "deliver", "delete run", "show", "remove folder",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One disagreement.

    Attributes:
        what: in a plain line.
        repair: what `--repair` does, one of this module's names; empty where it does nothing.
        subject: of which run; or the MLflow run's id where that is what is repaired.
    """

    what: str
    repair: str = ""
    subject: str = ""


@dataclass(frozen=True)
class ShownRun:
    """What MLflow shows of one run.

    Attributes:
        run_id: MLflow's id.
        name: the trial id; for a sweep's parent run, its cell.
        status: its tag `status`.
        mlflow_status: MLflow's own.
        epochs: the last epoch that it has metrics of.
        sweep: whether it is a sweep's parent run.
    """

    run_id: str
    name: str
    status: str
    mlflow_status: str
    epochs: int = 0
    sweep: bool = False


@dataclass(frozen=True)
class Records:
    """All that was read of a study.

    Attributes:
        log: its runs by trial id.
        open_sweeps: cells whose parent run the log has not ended.
        search: search trials by trial id; None where the journal cannot be read.
        shown: MLflow's runs; None where they cannot be read.
        waiting: how many of the log's events MLflow has not been told.
        tune: Ray Tune's status by trial id, of the trials that have one.
        folders: names of the folders below `runs/`.
    """

    log: Mapping[str, TrialRecord]
    open_sweeps: Sequence[str] = ()
    search: Mapping[str, SearchTrial] | None = None
    shown: Sequence[ShownRun] | None = None
    waiting: int = 0
    tune: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()


def disagreements(records: Records) -> list[Finding]:
    """Everything that does not fit together, in the order in which it is to be repaired."""
    return [
        *_left_running(records),
        *_search(records),
        *_waiting(records),
        *_shown(records),
        *_tune(records),
        *_folders(records),
    ]


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
            yield Finding(f"{trial_id} is {known.outcome} in the search's journal; its log lacks that", RELOG, trial_id)


def _waiting(records: Records) -> Iterator[Finding]:
    if records.waiting:
        yield Finding(f"{records.waiting} logged records have not been delivered to MLflow", DELIVER)


def _shown(records: Records) -> Iterator[Finding]:
    if records.shown is None:
        return
    runs = [run for run in records.shown if not run.sweep]
    seen: dict[str, str] = {}
    for run in records.shown:
        key = f"{'sweep' if run.sweep else 'run'} {run.name}"
        if key in seen:
            yield Finding(
                f"MLflow holds the {key} twice: {seen[key]} and {run.run_id}, which is the later",
                DELETE_RUN,
                run.run_id,
            )
        seen.setdefault(key, run.run_id)
    by_name = {run.name: run for run in reversed(runs)}
    for trial_id, trial in records.log.items():
        shown = by_name.get(trial_id)
        outcome = INTERRUPTED if trial.outcome == RUNNING else trial.outcome
        if shown is None:
            if not records.waiting:
                yield Finding(f"{trial_id} is in the log ({trial.outcome}) and not in MLflow", SHOW, trial_id)
        elif records.waiting:
            continue  # what else differs may come with what waits
        elif shown.status != outcome or shown.mlflow_status == "RUNNING":
            yield Finding(
                f"{trial_id} is {outcome}; MLflow shows it as {shown.status} ({shown.mlflow_status})", SHOW, trial_id
            )
        elif shown.epochs < trial.last_epoch:
            yield Finding(f"{trial_id} has {trial.last_epoch} epochs; MLflow shows {shown.epochs}", SHOW, trial_id)
    for run in runs:
        if run.name not in records.log:
            yield Finding(f"MLflow holds the run {run.name}, which the log does not know")
    for run in records.shown:
        if run.sweep and run.mlflow_status == "RUNNING" and not records.waiting:
            yield Finding(f"MLflow shows the sweep of {run.name} as running, and no command is at work", SHOW, run.name)


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
