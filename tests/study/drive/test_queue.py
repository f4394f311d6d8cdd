"""Who has the next free place: fair between cells, in the file's order, never more than fits, each at its own pace."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from study.drive.placement import Room
from study.drive.queue import LOOK_SECONDS, Lane, Listed, Stage, StudyQueue


def listed(name: str, count: int, alone: bool = False) -> Listed:
    return Listed([{"trial_id": f"{name}{number}"} for number in range(count)], alone=alone)  # type: ignore[typeddict-item]


def lane(*stages: Stage, room: int = 2) -> Lane:
    made = Lane(iter(stages))
    made.room = Room({"cpu": 1.0}, room)
    return made


def two_phases(name: str, searched: int = 2, confirmed: int = 1, room: int = 2) -> Lane:
    """A cell with a search and a confirmation."""
    return lane(listed(f"{name} search ", searched), listed(f"{name} confirm ", confirmed), room=room)


class Machine:
    """Runs what a queue hands out, without Ray.

    Args:
        queue: the study's.
    """

    def __init__(self, queue: StudyQueue) -> None:
        self.queue = queue
        self.running: dict[str, str] = {}
        self.started: list[str] = []
        self.finished = False

    def fill(self) -> list[str]:
        """Start all that the queue hands out now; what runs then."""
        while True:
            tune_id = f"tune{len(self.started)}"
            asked = self.queue.suggest(tune_id)
            if asked == Searcher.FINISHED:
                self.finished = True
            if asked is None or self.finished:
                return sorted(self.running)
            name = asked["spec"]["trial_id"]
            self.running[name] = tune_id
            self.started.append(name)

    def end(self, name: str) -> list[str]:
        """One of them ends; what runs then."""
        self.queue.conclude(self.running.pop(name), {"outcome": "completed"})
        return self.fill()

    def run(self) -> list[str]:
        """Everything, the first that was started ending first; in the order of the starts."""
        self.fill()
        while self.running:
            self.end(next(iter(self.running)))
        return self.started


def queue(lanes: Sequence[Lane], tmp_path: Path, at_once: int | None = None, alone: bool = False) -> StudyQueue:
    return StudyQueue(lanes, tmp_path / "stop", at_once, alone)


def test_one_at_a_time_runs_cell_after_cell_each_search_followed_by_its_confirmation(tmp_path: Path) -> None:
    lanes = [two_phases("a", room=8), two_phases("b", room=8)]
    assert Machine(queue(lanes, tmp_path, at_once=1)).run() == [
        *("a search 0", "a search 1", "a confirm 0"),
        *("b search 0", "b search 1", "b confirm 0"),
    ]


def test_the_cell_with_the_fewest_running_trials_is_next_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    machine = Machine(queue([lane(listed(name, 9), room=7) for name in "abc"], tmp_path))
    assert machine.fill() == ["a0", "a1", "a2", "b0", "b1", "c0", "c1"]
    assert machine.started[:4] == ["a0", "b0", "c0", "a1"]
    assert machine.end("c0")[-2:] == ["c1", "c2"]
    machine.end("a0")
    assert machine.started[-1] == "a3", "all have two: the file's order decides"


def test_a_confirmation_begins_while_another_cell_still_searches(tmp_path: Path) -> None:
    machine = Machine(queue([two_phases("a", searched=1), two_phases("b", searched=5)], tmp_path))
    assert machine.fill() == ["a search 0", "b search 0"]
    assert machine.end("a search 0") == ["a confirm 0", "b search 0"]


def test_no_confirmation_begins_before_the_last_trial_of_its_search_has_ended(tmp_path: Path) -> None:
    machine = Machine(queue([two_phases("a", room=4)], tmp_path))
    assert machine.fill() == ["a search 0", "a search 1"], "there is room, and nothing that may be run"
    assert machine.end("a search 1") == ["a search 0"]
    assert machine.end("a search 0") == ["a confirm 0"]
    assert not machine.finished
    assert machine.end("a confirm 0") == [] and machine.finished


def test_what_runs_at_once_fits_together_and_smaller_ones_are_not_kept_waiting(tmp_path: Path) -> None:
    """One of the large takes half of the whole, one of the small an eighth."""
    machine = Machine(queue([lane(listed("large", 3), room=2), lane(listed("small", 9), room=8)], tmp_path))
    assert machine.fill() == ["large0", "small0", "small1", "small2", "small3"]
    assert machine.end("small0") == ["large0", "small1", "small2", "small3", "small4"]
    assert machine.end("large0")[:1] == ["large1"]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_run_than_were_asked_for_and_each_once(tmp_path: Path, at_once: int) -> None:
    machine = Machine(queue([two_phases(name, 4, 3, room=5) for name in "ab"], tmp_path, at_once))
    assert len(machine.fill()) == at_once
    started = machine.run()
    assert machine.finished
    expected = [f"{name} {phase}" for name in "ab" for phase in map("search {}".format, range(4))]
    expected += [f"{name} {phase}" for name in "ab" for phase in map("confirm {}".format, range(3))]
    assert sorted(started) == sorted(expected)


def test_what_memory_did_not_hold_waits_until_nothing_else_is_left_and_then_runs_one_at_a_time(tmp_path: Path) -> None:
    lanes = [
        lane(listed("a", 1), listed("a again ", 2, alone=True), listed("a confirm ", 1)),
        lane(listed("b", 3), listed("b again ", 1, alone=True)),
    ]
    together = Machine(queue(lanes, tmp_path))
    assert together.run() == ["a0", "b0", "b1", "b2"] and together.finished
    alone = Machine(queue(lanes, tmp_path, alone=True))
    assert alone.fill() == ["a again 0"]
    assert alone.run() == ["a again 0", "a again 1", "b again 0"] and alone.finished
    assert Machine(queue(lanes, tmp_path)).run() == ["a confirm 0"]


def test_nodes_that_join_or_leave_meanwhile_count(tmp_path: Path) -> None:
    (only,) = lanes = [lane(listed("a", 9), room=2)]
    now, rooms = [0.0], iter([4, 1])

    def look() -> None:
        only.room = Room({"cpu": 1.0}, next(rooms))

    machine = Machine(StudyQueue(lanes, tmp_path / "stop", look=look, clock=lambda: now[0]))
    assert len(machine.fill()) == 2
    now[0] = LOOK_SECONDS
    assert len(machine.fill()) == 4
    now[0] = 2 * LOOK_SECONDS
    assert [len(machine.end(name)) for name in list(machine.running)] == [3, 2, 1, 1]


def test_nothing_is_handed_out_once_a_stop_was_asked_for(tmp_path: Path) -> None:
    machine = Machine(queue([two_phases("a"), two_phases("b")], tmp_path))
    assert len(machine.fill()) == 2
    (tmp_path / "stop").touch()
    assert machine.end("a search 0") == ["b search 0"] and machine.finished
    machine.end("b search 0")
    assert len(machine.started) == 2


def test_an_epoch_and_an_end_reach_the_trials_own_cell(tmp_path: Path) -> None:
    class Kept(Listed):
        def report(self, tune_id: str, result: Any) -> bool:
            return result["epoch"] == 2

    lanes = [lane(Kept([{"trial_id": "a"}])), lane(listed("b", 1))]  # type: ignore[typeddict-item]
    machine = Machine(queue(lanes, tmp_path))
    machine.fill()
    a, b = machine.running["a"], machine.running["b0"]
    assert [machine.queue.report(a, {"epoch": epoch}) for epoch in (1, 2)] == [False, True]
    assert not machine.queue.report(b, {"epoch": 2})
    machine.end("b0")
    lanes[1].advance()
    assert lanes[1].stage is None and lanes[0].running == 1


def test_a_cells_next_stage_is_made_when_the_one_before_is_over() -> None:
    made: list[str] = []

    def stages() -> Iterator[Stage]:
        made.append("search")
        yield listed("s", 1)
        made.append("confirm")
        yield listed("c", 1)

    own = Lane(stages())
    assert own.stage is not None and made == ["search"]
    own.stage.hand_out("tune")
    own.advance()
    assert made == ["search"]
    own.stage.conclude("tune", None, error=False)
    own.advance()
    assert made == ["search", "confirm"]
