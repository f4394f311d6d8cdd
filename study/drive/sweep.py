"""One sweep is the search of one cell: data set, model and method.

It runs as many trials as the budget still lacks: those recorded in the study's journal count, whatever call ran them,
so a sweep that was stopped goes on and one with a larger budget is extended.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.storages import JournalStorage

from search_spaces import edge_notes
from study.define.cells import Cell
from study.define.offer import sampler_tag
from study.drive.disk import disk_line
from study.drive.queue import Stage
from study.drive.recorder import Place
from study.drive.tune_state import write_missing
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.record.terminal import Progress, describe, percent, say
from study.search.front import accuracy, best_trials, pareto_front
from study.search.journal_search import (
    JournalSearch,
    ended,
    interrupted,
    open_search,
    search_trial_id,
    settle,
    startup_trials,
    waiting_alone,
)
from trainers.config import TrialConfig

# The search's own note, in its journal, of the largest number of trials that it ever ran side by side.
SIDE_BY_SIDE = "side_by_side"


@dataclass(frozen=True)
class SweepResult:
    """What a cell's search has come to, over all the calls that ran parts of it.

    Attributes:
        cell: whose search.
        outcomes: how many trials ended in each way.
        best: the best trial's configuration; None where no trial completed.
        best_value: its validation accuracy after the last epoch.
        edges: the values of the best trial that lie at the edge of their range, in words.
        notes: what else a reader should know of the result.
        side_by_side: the largest number of its trials that ran at once; with more than 1 the search may not be
            repeatable.
        failures: where no trial completed, why not.
    """

    cell: Cell
    outcomes: dict[str, int]
    best: TrialConfig | None
    best_value: float | None
    edges: list[str]
    notes: list[str]
    side_by_side: int
    failures: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The sweep's report."""
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        if self.best is None:
            return [f"{self.cell.name}: no trial completed ({counted})", *(f"  {line}" for line in self.failures)]
        found = f"{self.cell.name}: best validation accuracy {percent(self.best_value)} with {describe(self.best)}"
        return [f"{found} ({counted})", *(f"  note: {note}" for note in [*self.edges, *self.notes])]


class Searching(Stage):
    """Trials of a cell's search, as its sampler asks for them.

    Args:
        search: the journal's side.
        study: the same search, which keeps the largest number of its trials that ever ran side by side.
        trials: how many.
        placed: takes each trial's id, before it starts.
        alone: they are tried once more, alone.
    """

    def __init__(
        self,
        search: JournalSearch,
        study: optuna.Study,
        trials: int,
        placed: Callable[[str], None],
        alone: bool = False,
    ) -> None:
        super().__init__(trials, alone=alone)
        self._search, self._study, self._placed = search, study, placed

    def next_run(self, tune_id: str) -> dict[str, Any]:
        note_side_by_side(self._study, len(self.running))
        asked = self._search.suggest(tune_id)
        assert asked is not None
        self._placed(asked["spec"]["trial_id"])
        return asked

    def report(self, tune_id: str, result: Mapping[str, Any]) -> bool:
        return self._search.report(tune_id, result)

    def conclude(self, tune_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        super().conclude(tune_id, result, error)
        self._search.conclude(tune_id, result, error)


def note_side_by_side(study: optuna.Study, trials: int) -> None:
    """Keep the largest number of a search's own trials that ever ran at once, whatever command ran them."""
    if trials > study.user_attrs.get(SIDE_BY_SIDE, 0):
        study.set_user_attr(SIDE_BY_SIDE, trials)


def search(
    cell: Cell, folder: StudyFolder, log: StudyLog, storage: JournalStorage, places: MutableMapping[str, Place]
) -> Generator[Stage, None, SweepResult]:
    """Run the trials that the cell's budget still lacks, and report on all of them.

    Args:
        cell: what is searched, with its budget.
        folder: the study's folder, which has been claimed for this cell.
        log: the study's log.
        storage: the study's journal.
        places: takes where each trial belongs, by its id.

    Yields:
        The search's stages. What comes before the first has been done when that is asked for, and so on.
    """
    study = open_search(cell, storage)
    records = log.trials()
    settle(study, cell, records)
    open_sweep(cell, folder, log, study)
    earlier = ended(study)
    over = {search_trial_id(cell, trial.number): trial.user_attrs.get("outcome", "failed") for trial in earlier}
    write_missing(folder.tune, over, {trial_id: record.attempts for trial_id, record in records.items()})
    remove_pruned(folder, over)
    # What was begun is brought to its end, even where the budget has shrunk since.
    missing = max(cell.trials - len(earlier) - len(waiting_alone(study)), len(interrupted(study)))
    if missing or waiting_alone(study):
        say(
            f"[{cell.name}] {missing + len(waiting_alone(study))} trials to run"
            + (f", {len(earlier)} are there already" if earlier else "")
        )
        best = best_trials(study, 1)
        progress = Progress(cell.name, cell.trials, ended=len(earlier), best=accuracy(best[0]) if best else None)
        place = Place(progress, cell.name, cell.repeat_tag)
        # A command of an earlier release that was killed could not say how many it ran at once.
        note_side_by_side(study, len(interrupted(study)))
        if missing:
            ask = JournalSearch(cell, storage, folder)
            yield Searching(ask, study, missing, lambda trial_id: places.update({trial_id: place}))
        if alone := len(waiting_alone(study)):
            say(f"[{cell.name}] {alone} trials ran out of memory; each is tried once more, alone")
            ask = JournalSearch(cell, storage, folder, alone=True)
            yield Searching(ask, study, alone, lambda trial_id: places.update({trial_id: place}), alone=True)
    else:
        say(f"[{cell.name}] {len(earlier)} of {cell.trials} trials are there already; nothing to run")
    say(f"[{cell.name}] {disk_line(folder, [search_trial_id(cell, trial.number) for trial in ended(study)])}")
    result = summarize(cell, study)
    if result.best is None:
        result = replace(result, failures=tuple(failures(cell, folder, log)))
    edges = f"{cell.name}: {'; '.join(result.edges)}" if result.edges else ""
    log.append("sweep_end", cell=cell.name, tags={"range_edges": edges, "side_by_side": str(result.side_by_side)})
    return result


def remove_pruned(folder: StudyFolder, outcomes: Mapping[str, str]) -> None:
    """Remove the folders of pruned runs that are still there, or are again."""
    for trial_id, outcome in outcomes.items():
        if outcome == "pruned":
            shutil.rmtree(folder.run_dir(trial_id), ignore_errors=True)


def open_sweep(cell: Cell, folder: StudyFolder, log: StudyLog, study: optuna.Study) -> None:
    """Log that a cell's parent run is open, with what the cell is offered and how it is searched."""
    tags = {
        "dataset": cell.base.dataset,
        "model": cell.base.model,
        "algorithm": cell.base.algorithm,
        "method": cell.method,
        "trials": str(cell.trials),
        "simulated": folder.simulated,
        "objectives": json.dumps(list(cell.search.objectives)),
        **cell.repeat_tag,
        "sampler": sampler_tag(cell.search.sampler, startup_trials(study, cell)),
    }
    if (offered := folder.offered(cell.name)) is not None:
        tags["offered"] = json.dumps(offered)
    if workload := folder.workload(cell.name):
        tags["workload"] = json.dumps(workload)
    log.append("sweep", cell=cell.name, tags=tags, params=cell.identity())


def failures(cell: Cell, folder: StudyFolder, log: StudyLog) -> list[str]:
    """Why the trials of a cell did not complete: each reason once, with how many had it and one of them by name."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for trial_id, record in log.trials().items():
        if record.cell == cell.name and record.phase == "search" and record.outcome != "completed":
            reasons.setdefault((record.outcome, record.reason or "no reason was given"), []).append(trial_id)
    lines = []
    for (outcome, reason), trial_ids in reasons.items():
        traceback = folder.run_dir(trial_ids[0]) / "error.txt"
        where = f"; its traceback: {traceback}" if traceback.exists() else ""
        lines.append(f"{len(trial_ids)} {outcome}: {reason} ({trial_ids[0]}{where})")
    return lines


def summarize(cell: Cell, study: optuna.Study) -> SweepResult:
    """The report on a cell's search, from its journal alone."""
    outcomes = dict(Counter(trial.user_attrs.get("outcome", "failed") for trial in ended(study)))
    side_by_side = int(study.user_attrs.get(SIDE_BY_SIDE, 0))
    best = best_trials(study, 1)
    if not best:
        return SweepResult(cell, outcomes, None, None, [], [], side_by_side)
    config = TrialConfig.recorded(json.loads(best[0].user_attrs["config"]))
    edges = edge_notes(best[0].params, best[0].distributions)
    return SweepResult(
        cell,
        outcomes,
        config,
        accuracy(best[0]),
        edges,
        [*_tie_note(cell, study), *_front_notes(cell, study)],
        side_by_side,
    )


def _tie_note(cell: Cell, study: optuna.Study) -> list[str]:
    """Says so where another trial reached the same best values, since then the earlier one was taken by rule alone."""
    first, *others = best_trials(study, 10)
    tied = [search_trial_id(cell, trial.number) for trial in others if trial.values == first.values]
    return [f"{', '.join(tied)} reached the same value; the earlier trial counts as the best"] if tied else []


def _front_notes(cell: Cell, study: optuna.Study) -> list[str]:
    """Of a search with several objectives, the trials that no other beats in all of them."""
    if len(cell.search.objectives) == 1:
        return []
    notes = ["the Pareto front of validation accuracy and peak memory:"]
    for trial in sorted(pareto_front(study), key=lambda trial: -accuracy(trial)):
        config = TrialConfig.recorded(json.loads(trial.user_attrs["config"]))
        memory = {name: getattr(config, name) for name in cell.searched_memory()}
        settings = "".join(f", {name} {value}" for name, value in memory.items())
        notes.append(
            f"{search_trial_id(cell, trial.number)}: {percent(accuracy(trial))}, {trial.values[1] / 2**20:.1f} MiB, "
            f"{describe(config)}{settings}"
        )
    return notes
