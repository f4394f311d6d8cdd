"""How far a study has come, read from its folder by anybody at any time: what is done, what runs, what is left.

Read are `study.json` (which cells there are and what each is offered), `log.jsonl` (what happened), the lock (whether a
command is at work) and, of the runs that go on, what they say in their folders. Nothing is written, so a read-only
mount or another user's study will do. A reader keeps its place in the log: asked again, it reads only what was added
since, so that a live view costs next to nothing.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from study.record.file_names import LOG_FILE
from study.record.folder import study_content
from study.record.study_log import ENDED, INTERRUPTED, RUNNING, TrialRecord, add, read_lines
from study.record.working_alone import at_work
from trainers.activity import Doing, doing

# Runs that must have ended in a session before it says how long the rest will take.
LEAST_ENDED = 3
# Outcomes of a confirmation that is not tried again; a failed one is, by the next command.
_CONFIRMED = ("completed", "diverged", "infeasible")

NOT_STARTED, AT_WORK, FINISHED, STOPPED, UNCLEAR = "not started", "running", "finished", "interrupted", "unclear"
"""What a study may be: `unclear` where its disk has no locks, so that nobody can tell whether a command is at work."""


@dataclass(frozen=True)
class PhaseState:
    """One phase of a cell, its search or its confirmation.

    Attributes:
        planned: runs that it is to have; None where that is not recorded.
        outcomes: how many of its runs are in each state: running, interrupted, or how they ended.
        left: runs that are not over yet, the running ones included.
    """

    planned: int | None
    outcomes: Mapping[str, int]
    left: int

    @property
    def over(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome in ENDED)

    def as_dict(self) -> dict[str, Any]:
        return {"planned": self.planned, "over": self.over, "left": self.left, "outcomes": dict(self.outcomes)}


@dataclass(frozen=True)
class CellState:
    """One cell: its name, its two phases, and the best validation accuracy of a completed search trial (0..1)."""

    name: str
    search: PhaseState
    confirm: PhaseState
    best: float | None


@dataclass(frozen=True)
class RunningRun:
    """A run that was going on when the log was read, or when the command died that ran it.

    Attributes:
        trial_id, cell, phase, config: as in the log.
        epoch, epochs: how many are done, and how many it is to have; None where its configuration does not say.
        val_accuracy: after the last of them, 0..1.
        since: seconds since 1970 when this attempt began.
        doing: how far it is within an epoch or an evaluation, as it says itself; None where it does not.
    """

    trial_id: str
    cell: str | None
    phase: str
    config: Mapping[str, Any]
    epoch: int
    epochs: int | None
    val_accuracy: float | None
    since: float
    doing: Doing | None = None

    def as_dict(self) -> dict[str, Any]:
        names = ("trial_id", "cell", "phase", "epoch", "epochs", "val_accuracy", "since")
        return {**{name: getattr(self, name) for name in names}, "doing": asdict(self.doing) if self.doing else None}


@dataclass(frozen=True)
class StudyState:
    """A study at one moment. Times are seconds since 1970, durations seconds.

    Attributes:
        study, folder: its name and where it lies.
        state: not started, running, finished, interrupted or unclear.
        command: the last command that ran something there.
        since: when that began.
        last: when something was last recorded.
        cells: in the order in which they are run.
        alone: runs outside of any cell (`python -m study train`) by state.
        running: the runs that go on; where no command is at work, those that it left so.
        ended_since: runs that ended since the command began.
        seconds_left: how long the rest will take, at the pace so far; None where too little has ended to tell.
        damaged: damaged lines of the log, which were passed over.
        simulated: how its runs are simulated; empty where they train.
    """

    study: str
    folder: Path
    state: str
    command: str | None
    since: float | None
    last: float | None
    cells: tuple[CellState, ...]
    alone: Mapping[str, int]
    running: tuple[RunningRun, ...]
    ended_since: int
    seconds_left: float | None
    damaged: int
    simulated: str

    @property
    def over(self) -> int:
        of_cells = sum(cell.search.over + cell.confirm.over for cell in self.cells)
        return of_cells + sum(self.alone.get(outcome, 0) for outcome in ENDED)

    @property
    def left(self) -> int:
        return _left(self.cells, self.alone)

    def runs_a_minute(self, now: float) -> float | None:
        """Runs that ended a minute since the command began; None before the first."""
        if self.since is None or not self.ended_since:
            return None
        end = now if self.state == AT_WORK else self.last or now
        return 60 * self.ended_since / max(end - self.since, 1e-3)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `--json`."""
        names = ("study", "state", "simulated", "command", "since", "last", "over", "left", "ended_since")
        return {
            **{name: getattr(self, name) for name in names},
            "folder": str(self.folder),
            "seconds_left": self.seconds_left,
            "damaged_lines": self.damaged,
            "cells": [
                {
                    "cell": cell.name,
                    "best_val_accuracy": cell.best,
                    "search": cell.search.as_dict(),
                    "confirm": cell.confirm.as_dict(),
                }
                for cell in self.cells
            ],
            "alone": dict(self.alone),
            "running": [run.as_dict() for run in self.running],
        }


@dataclass
class _Session:
    """The last command that ran something."""

    command: str | None = None
    since: float | None = None
    ended: int = 0
    seconds_before: float = 0.0


@dataclass
class StateReader:
    """Reads a study's state, again and again where asked to.

    Args:
        folder: the study's.
        asked: whether a command is at work there; None where that cannot be told.

    Raises:
        UserError: no study in the folder, or a `study.json` that cannot be read.
    """

    folder: Path
    asked: Callable[[Path], bool | None] = at_work
    _trials: dict[str, TrialRecord] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    _session: _Session = field(default_factory=_Session)
    _last: float | None = None
    _damaged: int = 0
    _place: int = 0

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        study_content(self.folder)

    def read(self, now: float | None = None) -> StudyState:
        """The state now: what was added to the log since the last call is read."""
        working = self.asked(self.folder)  # before the log, so that what is seen at work has not ended long ago
        plan = study_content(self.folder)
        for line in read_lines(self.folder / LOG_FILE, self._place):
            self._place = line.end
            if line.event is None:
                self._damaged += 1
            else:
                self._take(line.event)
        by_cell: dict[str | None, list[TrialRecord]] = {}
        for trial in self._trials.values():
            by_cell.setdefault(trial.cell, []).append(trial)
        cells = tuple(self._cell(name, plan, by_cell.get(name, [])) for name in self._cells_of(plan, by_cell))
        alone = Counter(trial.outcome for trial in by_cell.get(None, []))
        running = tuple(self._running(t) for t in self._trials.values() if t.outcome in (RUNNING, INTERRUPTED))
        if self._session.since is None:
            state = AT_WORK if working else NOT_STARTED
        elif working:
            state = AT_WORK
        elif not _left(cells, alone):
            state = FINISHED
        else:
            state = UNCLEAR if working is None else STOPPED
        seconds_left = None
        if state == AT_WORK:
            seconds_left = self._seconds_left(cells, by_cell, time.time() if now is None else now)
        return StudyState(
            study=plan["name"],
            folder=self.folder,
            state=state,
            command=self._session.command,
            since=self._session.since,
            last=self._last,
            cells=cells,
            alone=alone,
            running=running,
            ended_since=self._session.ended,
            seconds_left=seconds_left,
            damaged=self._damaged,
            simulated=str(plan.get("simulated") or ""),
        )

    def doings(self) -> list[tuple[str, Doing]]:
        """What the runs that go on say that they are doing now, by trial id."""
        return [(run.trial_id, run.doing) for run in self.read().running if run.doing]

    def _take(self, event: Mapping[str, Any]) -> None:
        add(self._trials, event)
        kind = event["event"]
        self._last = float(event["at"])
        if kind == "session":
            seconds = sum(trial.device_seconds for trial in self._trials.values())
            self._session = _Session(event["command"], self._last, 0, seconds)
        elif kind == "sweep":
            self._tags[event["cell"]] = event["tags"]
        elif kind == "start":
            self._began[event["trial_id"]] = self._heard[event["trial_id"]] = self._last
        elif kind == "epoch":
            self._heard[event["trial_id"]] = self._last
        elif kind == "end":
            self._session.ended += 1

    def _cells_of(self, plan: Mapping[str, Any], logged: Iterable[str | None]) -> list[str]:
        """Cells as they were opened, then those that still wait, then those that only runs name."""
        planned = plan.get("cells") or {}
        return [name for name in dict.fromkeys([*self._tags, *planned, *logged]) if name is not None]

    def _cell(self, name: str, plan: Mapping[str, Any], runs: Iterable[TrialRecord]) -> CellState:
        history = (plan.get("offered") or {}).get(name) or [{}]
        offered: Mapping[str, Any] = history[-1]
        searched = [trial for trial in runs if trial.phase == "search"]
        confirming = [trial for trial in runs if trial.phase == "confirm"]
        tagged = str(self._tags.get(name, {}).get("trials", ""))  # 1 where there is nothing to search
        trials = int(tagged) if tagged.isdigit() else offered.get("trials")
        search = _phase(searched, trials, ENDED)
        completed = [trial for trial in searched if trial.outcome == "completed"]
        k, seeds = int(offered.get("k") or 0), list(offered.get("seeds") or ())
        if trials is not None and not search.left:
            wanted = {f"{name}-confirm-{number:04d}-s{seed}" for number in _best(completed, k) for seed in seeds}
            several = len(json.loads(self._tags.get(name, {}).get("objectives") or "[]")) > 1
            planned = len(wanted)
            # Of a search with two objectives the log alone does not say which configurations are confirmed.
            counted = confirming if several else [trial for trial in confirming if trial.trial_id in wanted]
        else:
            planned, counted = k * len(seeds), confirming
        confirm = _phase(counted, planned if offered else None, _CONFIRMED)
        values = [trial.metrics["val_accuracy"] for trial in completed if "val_accuracy" in trial.metrics]
        return CellState(name, search, confirm, max(values, default=None))

    def _running(self, trial: TrialRecord) -> RunningRun:
        return RunningRun(
            trial.trial_id,
            trial.cell,
            trial.phase,
            trial.config,
            trial.last_epoch,
            trial.config.get("epochs"),
            trial.metrics.get("val_accuracy"),
            self._began[trial.trial_id],
            doing(self.folder / "runs" / trial.trial_id, self._heard[trial.trial_id]),
        )

    def _seconds_left(
        self, cells: Iterable[CellState], by_cell: Mapping[str | None, Sequence[TrialRecord]], now: float
    ) -> float | None:
        """The device-seconds that the rest will take, each run as the like of it took, at the session's pace.

        Runs of this phase and cell tell best, then those of the cell, then those of the study. A confirmation is never
        stopped early, so only runs that went to their end tell of one.
        """
        session = self._session
        spent = sum(trial.device_seconds for trial in self._trials.values()) - session.seconds_before
        if session.since is None or session.ended < LEAST_ENDED or spent <= 0:
            return None
        over = [trial for trial in self._trials.values() if trial.ended and trial.cell is not None]
        completed = [trial for trial in over if trial.outcome == "completed"] or over
        general = {"search": _mean_seconds(over), "confirm": _mean_seconds(completed)}
        wanted = 0.0
        for cell in cells:
            own = by_cell.get(cell.name, ())
            for phase, state in (("search", cell.search), ("confirm", cell.confirm)):
                if not state.left:
                    continue
                ended = [trial for trial in own if trial.ended and (phase == "search" or trial.outcome == "completed")]
                like = [trial for trial in ended if trial.phase == phase] or ended
                each = _mean_seconds(like) if like else general[phase]
                going = [trial for trial in own if trial.phase == phase and trial.outcome == RUNNING]
                wanted += state.left * each - sum(min(trial.device_seconds, each) for trial in going)
        return wanted * max(now - session.since, 1e-3) / spent


def _left(cells: Iterable[CellState], alone: Mapping[str, int]) -> int:
    of_cells = sum(cell.search.left + cell.confirm.left for cell in cells)
    return of_cells + alone.get(RUNNING, 0) + alone.get(INTERRUPTED, 0)


def _mean_seconds(trials: Sequence[TrialRecord]) -> float:
    return fmean(trial.device_seconds for trial in trials) if trials else 0.0


def _phase(runs: Iterable[TrialRecord], planned: int | None, final: tuple[str, ...]) -> PhaseState:
    outcomes = Counter(trial.outcome for trial in runs)
    going = outcomes[RUNNING] + outcomes[INTERRUPTED]
    over = sum(outcomes[outcome] for outcome in final)
    return PhaseState(planned, outcomes, going if planned is None else max(planned - over, going))


def _best(completed: Iterable[TrialRecord], k: int) -> list[int]:
    """The numbers of the `k` best search trials, by `study.search.front`'s rule: of equal ones the earlier."""
    numbered = []
    for trial in completed:
        found = re.search(r"-search-(\d+)$", trial.trial_id)
        if found and "val_accuracy" in trial.metrics:
            numbered.append((-trial.metrics["val_accuracy"], int(found[1])))
    return [number for _, number in sorted(numbered)[:k]]
