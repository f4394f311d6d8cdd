"""The course of a study's cells: all searched and confirmed in one queue, each at its own pace.

A cell's course is a generator of stages (`study.drive.queue`) that reads as it would run by itself: the search, the
second try of what memory did not hold, the confirmation. The queue takes from each as room allows. What waits for a
device of its own is tried when nothing else is left to run, one at a time in a call of Tune's own; what that lets
begin, a confirmation, is then run by all together again.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from study.define.cells import Cell, ConfirmConfig
from study.define.memory_plan import Need
from study.drive.cluster import connect
from study.drive.confirm import confirm
from study.drive.nodes import require_nodes
from study.drive.placement import hosts_here, rooms_of
from study.drive.queue import Lane, Stage, StudyQueue
from study.drive.recorder import Place, TuneRecorder
from study.drive.sweep import SweepResult, remove_pruned, search
from study.drive.tune_run import run_queue
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.record.terminal import say
from study.search.journal import open_journal
from trainers.errors import UserError
from trainers.stop import require_no_stop


@dataclass
class Course:
    """What cells have come to.

    Attributes:
        searches: each cell's search, by its name, in the cells' order.
        confirmations: how each confirmation run ended, by its trial id.
    """

    searches: dict[str, SweepResult] = field(default_factory=dict)
    confirmations: dict[str, str] = field(default_factory=dict)


def run_cells(
    cells: Sequence[Cell],
    settings: ConfirmConfig,
    folder: StudyFolder,
    log: StudyLog,
    needs: Mapping[str, Need],
    *,
    reopen_test: bool = False,
    searched: Callable[[SweepResult], None] = lambda result: None,
) -> Course:
    """Run what the cells still lack of their searches and confirmations; Ray is started where they lack something.

    Args:
        cells: in the order of the study file; the folder has been claimed for them.
        settings: how many configurations of each are confirmed, and with which seeds.
        folder: the study's folder.
        log: the study's log.
        needs: the memory of one run of each cell, by the cell's name.
        reopen_test: a run whose folder is gone may open a test set again that the log says it opened.
        searched: told of each search when it is over.

    Raises:
        UserError: no Ray can be connected, a node cannot run the trials, or a cell's trial fits on none.
        StoppedError: Ctrl-C; the runs that were going on are saved.
    """
    course, places, storage = Course(), dict[str, Place](), open_journal(folder.journal)
    recorder = TuneRecorder(log, places)

    def stages(cell: Cell) -> Generator[Stage]:
        result = course.searches[cell.name] = yield from search(cell, folder, log, storage, places)
        searched(result)
        if settings.k:
            course.confirmations |= yield from confirm(cell, settings, folder, log, storage, places, reopen_test)

    # Every cell's beginning is logged before the first run, so that none seems to have been added after a look at a
    # test set (PROTOCOL §4.7).
    lanes = [Lane(stages(cell)) for cell in cells]

    def set_rooms() -> None:
        rooms = rooms_of([cell.base for cell in cells], hosts_here(), [needs[cell.name] for cell in cells])
        for lane, room in zip(lanes, rooms, strict=True):
            lane.room = room

    def look() -> None:
        with suppress(UserError):  # a node that is gone may come back, and trials wait for it
            set_rooms()

    try:
        if any(lane.stage for lane in lanes):
            say("starting Ray ...")
            connect(groups=any(cell.base.workers > 1 for cell in cells))
            require_nodes(folder.path, [cell.base for cell in cells], say, folder.storage)
            set_rooms()
        while any(lane.stage for lane in lanes):
            together = StudyQueue(lanes, folder.stop_file, cells[0].at_once, look=look)
            queue = together if together.waiting else StudyQueue(lanes, folder.stop_file, alone=True)
            run_queue(queue, recorder, folder.tune, reuse=cells[0].base.workers == 1)
            require_no_stop(folder.stop_file)
            for lane in lanes:
                lane.advance()
    finally:
        remove_pruned(folder, recorder.outcomes)  # one stopped in the middle of a checkpoint may have written since
    course.searches = {cell.name: course.searches[cell.name] for cell in cells}
    return course
