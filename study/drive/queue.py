"""One queue for a whole study: which cell's run is started next, wherever there is room for one more.

Every cell goes its own way: its search, once more alone what memory did not hold, its confirmation; each of these is a
*stage* (`study.drive.course` makes them). The queue sees the stage that each cell is in. Whenever there is room, the
cell with the fewest running trials has the next one; of equal ones the first in the study file. So cells share the
machine alike, a cell's confirmation begins when its own search is over, and with one trial at a time the order is that
of the file: cell after cell, each search followed by its confirmation. A sampler learns from its own cell alone.

A trial takes 1 / room of the whole, `room` being how many of its like fit (`study.drive.placement`); trials run side by
side as long as their parts come to 1 at most. Where cells need different amounts of memory and the next one's does not
fit, another's that does is started meanwhile.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from study.define.trial_spec import TrialSpec
from study.drive.placement import Room
from trainers.stop import stop_requested

LOOK_SECONDS = 30.0
MOST_AT_ONCE = 10_000
"""Where nothing else limits them; Tune wants a number."""


class Stage(ABC):
    """Runs of one kind, which are over when all have been handed out and have ended.

    Args:
        left: runs to hand out.
        alone: each runs while nothing else does: the second try of what memory did not hold.

    Attributes:
        running: Tune's ids of those that were handed out and have not ended.
    """

    def __init__(self, left: int, *, alone: bool = False) -> None:
        self.left, self.alone = left, alone
        self.running: set[str] = set()

    @property
    def over(self) -> bool:
        return not self.left and not self.running

    def hand_out(self, tune_id: str) -> dict[str, Any]:
        """The next run, as what Tune passes to its trial; holds its `spec`."""
        self.left -= 1
        self.running.add(tune_id)
        return self.next_run(tune_id)

    @abstractmethod
    def next_run(self, tune_id: str) -> dict[str, Any]:
        """What `hand_out` returns."""

    def report(self, tune_id: str, result: Mapping[str, Any]) -> bool:
        """Take a run's epoch, and say whether the run stops there."""
        return False

    def conclude(self, tune_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """A run has ended: by its last report, or by an `error` where its process died too often."""
        self.running.discard(tune_id)


class Listed(Stage):
    """Runs that are known beforehand, in their order."""

    def __init__(self, specs: Sequence[TrialSpec], *, alone: bool = False) -> None:
        super().__init__(len(specs), alone=alone)
        self._waiting = list(specs)

    def next_run(self, tune_id: str) -> dict[str, Any]:
        return {"spec": self._waiting.pop(0)}


class Lane:
    """One cell's way through the queue.

    Args:
        stages: one after the other; each is asked for when the one before is over.
    """

    room: Room
    """What one of its trials takes, and how many fit; set before the queue is asked for one."""

    def __init__(self, stages: Iterator[Stage]) -> None:
        self._stages = stages
        self.stage = next(stages, None)
        """The one that the cell is in; None where nothing is left to do."""

    def advance(self) -> None:
        """Go on to the next stage where the present one is over."""
        while self.stage is not None and self.stage.over:
            self.stage = next(self._stages, None)

    @property
    def running(self) -> int:
        return len(self.stage.running) if self.stage else 0

    @property
    def share(self) -> Fraction:
        """The part of the whole that one trial takes."""
        return Fraction(1, self.room.at_once)


class StudyQueue(Searcher):
    """Ray Tune's search of a whole study, which asks the cells' own; over when no cell has a run of this kind left.

    What ran out of memory beside others is tried again in a call of Tune's own, when every process of the others has
    ended: `alone` says which of the two this is.

    Args:
        lanes: one a cell, in the study file's order.
        stop_file: the path whose existence asks every run to stop; nothing is handed out then.
        at_once: the most trials side by side; None for as many as fit.
        alone: hand out the runs that are tried alone, one at a time, and no others; otherwise the others.
        look: sets the lanes' rooms anew, for nodes that have joined or left; asked every `LOOK_SECONDS`.
        clock: seconds; only differences matter.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        stop_file: Path,
        at_once: int | None = None,
        alone: bool = False,
        look: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._lanes, self._stop_file, self._alone = lanes, stop_file, alone
        self.at_once = 1 if alone else at_once or MOST_AT_ONCE
        """The most trials that ever run side by side, however many fit."""
        self._lane_of: dict[str, Lane] = {}
        self._look, self._clock, self._looked = look, clock, clock()

    @property
    def waiting(self) -> bool:
        """Whether a cell has a run of this kind to hand out."""
        return any(self._ready(lane) for lane in self._lanes)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if stop_requested(self._stop_file):
            return Searcher.FINISHED  # type: ignore[return-value]  # Ray's annotation lacks it
        for lane in self._lanes:
            lane.advance()
        ready = [lane for lane in self._lanes if self._ready(lane)]
        if not ready and not self._lane_of:
            return Searcher.FINISHED  # type: ignore[return-value]
        if not ready or len(self._lane_of) >= self.at_once:
            return None
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._look()
            self._looked = self._clock()
        taken = sum((lane.share for lane in self._lane_of.values()), Fraction(0))
        fitting = [lane for lane in ready if self._alone or taken + lane.share <= 1]
        if not fitting:
            return None
        lane = min(fitting, key=lambda lane: lane.running)  # of equal ones the first
        assert lane.stage is not None
        self._lane_of[trial_id] = lane
        return {**lane.stage.hand_out(trial_id), "resources": lane.room.resources}

    def report(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Pass a trial's epoch to its cell; whether the trial stops there."""
        stage = self._lane_of[trial_id].stage
        return stage is not None and stage.report(trial_id, result)

    def conclude(self, trial_id: str, result: Mapping[str, Any] | None, error: bool = False) -> None:
        """Tell a trial's cell how it has ended, after the study's log was told."""
        stage = self._lane_of.pop(trial_id).stage
        if stage is not None:
            stage.conclude(trial_id, result, error)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """The scheduler has told the cell."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The cell is told by `conclude`, when the log has been."""

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune keeps a copy of its search's state; ours lies in the study's log and journal."""
        Path(checkpoint_path).write_text("see log.jsonl and optuna.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """There is nothing to restore from Tune's copy."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune writes a pickle of its search that nothing reads."""
        return {}

    def _ready(self, lane: Lane) -> bool:
        return lane.stage is not None and lane.stage.left > 0 and lane.stage.alone == self._alone
