"""A search's journal that a crash or a bad disk has damaged: what is wrong with it, and how most of it is saved.

Optuna reads a journal line by line and cannot pass one that it cannot read; it reads over an unfinished last line, but
the next line would be joined to it. Trials are numbered by their order in the file, so a lost line may shift all later
ones: what is kept behind a damaged line is kept only if every trial still is the one that the log knows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.record.study_log import ENDED, TrialRecord, cut_torn_line, keep_copy, torn_line
from study.search.journal_trials import METRICS, read_searches, search_trials, trial_id
from trainers.atomic import write_atomically

STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
"""What a search optimizes, by the place among its objectives, and in which direction."""
INFEASIBLE = "memory"
"""The constraint that an infeasible trial violates."""


def damaged_line(journal: Path) -> int | None:
    """The number of the first finished line that is no record of Optuna's; None where all are."""
    with journal.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if text.endswith(b"\n") and not _is_record(text):
                return number
    return None


def problems(journal: Path) -> list[str]:
    """What is wrong with a journal, in words; empty where it can be read and added to."""
    found = []
    if torn_line(journal) is not None:
        found.append(f"the last line of the search's journal {journal} is unfinished")
    if (number := damaged_line(journal)) is not None:
        found.append(f"line {number} of the search's journal {journal} is damaged")
    return found


def repair(journal: Path, log: Mapping[str, TrialRecord]) -> list[str]:
    """Make a damaged journal whole; a copy of it is kept. Returns what was done, in words.

    An unfinished last line is cut off. Of damaged lines in the middle, each is left out if every trial of the rest is
    the one that the log knows under its number; otherwise the whole part before the first is kept.
    """
    done = []
    if (torn := cut_torn_line(journal)) is not None:
        done.append(f"cut the unfinished last line off {journal.name} (kept in {torn.name})")
    number = damaged_line(journal)
    if number is None:
        return done
    copy = keep_copy(journal, "damaged")
    lines = journal.read_bytes().splitlines(keepends=True)
    rest = b"".join(line for line in lines if _is_record(line))

    def mend(partial: Path) -> None:
        partial.write_bytes(rest)
        if _agrees(partial, log):
            done.append(f"left out the damaged lines of {journal.name} (kept whole in {copy.name})")
        else:
            partial.write_bytes(b"".join(lines[: number - 1]))
            done.append(f"kept the {number - 1} whole lines at the start of {journal.name} (all of it in {copy.name})")

    write_atomically(journal, mend)
    return done


def tell(
    journal: Path,
    log: Mapping[str, TrialRecord],
    objectives: Mapping[str, int],
    curves: Mapping[str, Mapping[int, float]],
) -> list[str]:
    """Bring a journal to what the log says of search trials: outcomes that it lacks, and trials that it lacks.

    Args:
        journal: the file; made where there is none.
        log: the study's runs.
        objectives: how many of `METRICS` a cell's search optimizes, by cell; 1 where it does not say.
        curves: by trial id, each logged epoch's validation accuracy, which the pruner goes by.

    Returns:
        The ids of trials that the log has as not ended and that the journal lacks: where in the search they stood is
        lost.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    cells = sorted({trial.cell for trial in log.values() if trial.phase == "search" and trial.cell})
    lost: list[str] = []
    for cell in cells:
        study = optuna.create_study(
            storage=storage, study_name=cell, load_if_exists=True, directions=DIRECTIONS[: objectives.get(cell, 1)]
        )
        own = {name: trial for name, trial in log.items() if trial.phase == "search" and trial.cell == cell}
        for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = own.get(trial_id(cell, frozen.number))
            if record is not None and record.ended:
                _end(study, frozen, record)
        known = len(study.get_trials(deepcopy=False))
        for number in range(known, 1 + max((int(name.rsplit("-", 1)[1]) for name in own), default=-1)):
            record = own.get(trial_id(cell, number))
            if record is None or not record.ended:
                lost += [record.trial_id] if record else []
            curve = curves.get(trial_id(cell, number), {})
            study.add_trial(_template(record, _distributions(study), len(study.directions), curve))
    return lost


def _end(study: optuna.Study, frozen: FrozenTrial, record: TrialRecord) -> None:
    trial = optuna.Trial(study, frozen._trial_id)
    trial.set_user_attr("outcome", record.outcome)
    if record.outcome == "infeasible":
        trial.set_constraint(INFEASIBLE, 1.0)
    values = _values(record, len(study.directions)) if record.outcome == "completed" else None
    study.tell(trial, values, state=STATES[record.outcome])


def _template(
    record: TrialRecord | None,
    distributions: Mapping[str, BaseDistribution],
    objectives: int,
    curve: Mapping[int, float],
) -> FrozenTrial:
    """A trial as the log knows it; one that it does not know, or that had not ended, counts as failed."""
    outcome = record.outcome if record is not None and record.outcome in ENDED else "failed"
    config = record.config if record else {}
    params = {name: config[name] for name in distributions if config.get(name) is not None}
    params = {name: value for name, value in params.items() if _holds(distributions[name], value)}
    attributes: dict[str, Any] = {"outcome": outcome}
    if record is not None:
        attributes["config"] = json.dumps(config, sort_keys=True)
    values = _values(record, objectives) if record is not None and outcome == "completed" else None
    if outcome == "pruned" and curve and objectives == 1:
        values = [curve[max(curve)]]  # as Optuna itself ends a pruned trial
    return create_trial(
        state=STATES[outcome],
        values=values,
        intermediate_values=dict(curve),
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=attributes,
    )


def _values(record: TrialRecord, objectives: int) -> list[float]:
    return [float(record.metrics[name]) for name in METRICS[:objectives]]


def _distributions(study: optuna.Study) -> dict[str, BaseDistribution]:
    """The ranges of the search, from the trials that are known."""
    found: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        found.update(trial.distributions)
    return found


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _agrees(journal: Path, log: Mapping[str, TrialRecord]) -> bool:
    """Whether every logged search trial is in this journal under its number, with its configuration."""
    try:
        searches = search_trials(read_searches(journal))
    except (ValueError, KeyError, AssertionError, TypeError):
        return False
    own = {name: trial for name, trial in log.items() if trial.phase == "search"}
    return all(name in searches and searches[name].config in (None, trial.config) for name, trial in own.items())


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record and "worker_id" in record
