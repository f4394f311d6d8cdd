"""All cells of a study share the machine: their trials overlap, and each is confirmed as soon as its search is over."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from study.define.cells import Cell, ConfirmConfig, ResourcesConfig, SearchConfig, make_cell
from study.define.memory_plan import Need
from study.drive import course, tune_run
from study.drive.course import run_cells
from study.drive.queue import StudyQueue
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.search.journal_search import ended, open_journal, open_search
from trainers.errors import StoppedError
from trainers.memory.report import CATEGORIES, MemoryReport
from trainers.stop import request_stop

CONFIRM = ConfirmConfig(k=1, seeds=(11,))
SEARCHED, CONFIRMED = "{}-search-{:04d}", "{}-confirm-{:04d}-s11"


def cell(method: str, trials: int, at_once: int | None = None) -> Cell:
    return make_cell(
        "Digits",
        "MLP",
        method,
        fixed={"epochs": 1, "hid_dim": 8, "depth": 2, "batch_size": 96, "image_size": 8},
        search=SearchConfig(trials=trials, asha=None),
        resources=ResourcesConfig(at_once=at_once, device="cpu"),
    )


def needs_of(*cells: Cell) -> dict[str, Need]:
    return {cell.name: Need(cell.name, MemoryReport(**dict.fromkeys(CATEGORIES, 0)), 1) for cell in cells}


def claimed(path: Path, *cells: Cell) -> tuple[StudyFolder, StudyLog]:
    folder = StudyFolder(path)
    for one in cells:
        folder.claim({one.name: one.identity()})
    return folder, StudyLog(folder.log, lambda line: None)


def events(log: StudyLog, *names: str) -> list[str]:
    """Starts, ends and sweeps in their order: `start a`, `end a`."""
    return [f"{e['event']} {e.get('trial_id') or e['cell']}" for e in log.events() if e["event"] in names]


class Played:
    """Instead of `run_queue`: runs what the queue hands out, one after the other, by the recorder and the queue alone.

    Args:
        outcomes: by trial id, how each of its tries ends; `completed` where there is none left.
    """

    def __init__(self, **outcomes: list[str]) -> None:
        self.outcomes = {name.replace("_", "-"): list(tries) for name, tries in outcomes.items()}
        self.calls: list[list[str]] = []
        self.connected = 0

    def connect(self, **options: Any) -> None:
        self.connected += 1

    def __call__(self, queue: StudyQueue, recorder: Any, tune_folder: Path, *, reuse: bool) -> None:
        ran: list[str] = []
        self.calls.append(ran)
        running: list[tuple[str, Any]] = []
        while True:
            asked: Any = queue.suggest(f"tune{len(ran)}")
            if isinstance(asked, dict):
                recorder.start(asked["spec"])
                running.append((f"tune{len(ran)}", asked["spec"]))
                ran.append(asked["spec"]["trial_id"])
            elif running:
                self._end(queue, recorder, *running.pop(0))
            else:
                return

    def _end(self, queue: StudyQueue, recorder: Any, tune_id: str, spec: Any) -> None:
        tries = self.outcomes.get(spec["trial_id"]) or ["completed"]
        outcome = tries.pop(0)
        values = {"epoch": 1, "val_accuracy": 0.5, "peak_memory_bytes": 1, "device_seconds": 1.0}
        last = {**values, "outcome": outcome, **({"test_accuracy": 0.5} if spec["phase"] == "confirm" else {})}
        if outcome == "stopped":
            request_stop(Path(spec["stop_file"]))
            recorder.attempt_end(spec, "interrupted")
        elif outcome == "out_of_memory" and not spec["alone"]:
            recorder.attempt_end(spec, outcome, "no room")
        else:
            recorder.epoch(spec, values)
            recorder.end(spec, "infeasible" if outcome == "out_of_memory" else outcome, last)
        queue.conclude(tune_id, last, error=outcome == "failed")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played()
    monkeypatch.setattr(course, "run_queue", played)
    monkeypatch.setattr(course, "connect", played.connect)
    monkeypatch.setattr(course, "require_nodes", lambda *given: None)
    return played


def test_one_at_a_time_runs_cell_after_cell_and_every_beginning_is_logged_before_the_first_run(
    tmp_path: Path, played: Played
) -> None:
    """What began after a test set was opened would be disclosed as added after a look (PROTOCOL §4.7)."""
    cells = [cell("bop", 2, at_once=1), cell("binary", 1, at_once=1)]
    folder, log = claimed(tmp_path, *cells)
    told: list[str] = []
    found = run_cells(
        cells, CONFIRM, folder, log, needs_of(*cells), searched=lambda result: told.append(result.cell.name)
    )
    bop, binary = (one.name for one in cells)
    assert played.calls == [
        [
            *(SEARCHED.format(bop, 0), SEARCHED.format(bop, 1), CONFIRMED.format(bop, 0)),
            *(SEARCHED.format(binary, 0), CONFIRMED.format(binary, 0)),
        ]
    ]
    assert events(log, "sweep", "start")[:3] == [f"sweep {bop}", f"sweep {binary}", f"start {SEARCHED.format(bop, 0)}"]
    assert told == [bop, binary] == list(found.searches)
    assert found.confirmations == {CONFIRMED.format(name, 0): "completed" for name in (bop, binary)}
    assert [result.side_by_side for result in found.searches.values()] == [1, 1]
    assert not log.open_sweeps()
    again = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert len(played.calls) == played.connected == 1 and again == found, "nothing is left to run"


def test_a_study_of_before_there_was_one_queue_goes_on(tmp_path: Path, played: Played) -> None:
    """It was stopped when every search was over and one cell confirmed."""
    cells = [cell("bop", 2, at_once=1), cell("binary", 1, at_once=1)]
    folder, log = claimed(tmp_path, *cells)
    run_cells(cells, ConfirmConfig(k=0), folder, log, needs_of(*cells))
    run_cells(cells[:1], CONFIRM, folder, log, needs_of(*cells))
    found = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert played.calls[2] == [CONFIRMED.format(cells[1].name, 0)]
    assert len(found.confirmations) == 2


def test_what_memory_did_not_hold_is_tried_alone_once_all_else_has_run_and_then_is_infeasible(
    tmp_path: Path, played: Played
) -> None:
    """PROTOCOL §4.3. The cell's confirmation waits for it, no other cell does."""
    cells = [cell("bop", 2, at_once=1), cell("binary", 1, at_once=1)]
    bop, binary = (one.name for one in cells)
    again, confirmed = SEARCHED.format(bop, 0), CONFIRMED.format(bop, 1)
    played.outcomes = {again: ["out_of_memory"] * 2, confirmed: ["out_of_memory"] * 2}
    folder, log = claimed(tmp_path, *cells)
    found = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert played.calls == [
        [again, SEARCHED.format(bop, 1), SEARCHED.format(binary, 0), CONFIRMED.format(binary, 0)],
        [again],
        [confirmed],
        [confirmed],
    ]
    assert found.searches[bop].outcomes == {"infeasible": 1, "completed": 1}
    assert found.confirmations == {CONFIRMED.format(binary, 0): "completed", confirmed: "infeasible"}
    run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert len(played.calls) == 4, "an infeasible run is over"


def test_a_trial_whose_process_died_too_often_has_failed_and_all_else_goes_on(tmp_path: Path, played: Played) -> None:
    cells = [cell("bop", 2), cell("binary", 1)]
    died, confirmed = SEARCHED.format(cells[0].name, 0), CONFIRMED.format(cells[1].name, 0)
    played.outcomes = {died: ["failed"], confirmed: ["failed"]}
    folder, log = claimed(tmp_path, *cells)
    found = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert found.searches[cells[0].name].outcomes == {"failed": 1, "completed": 1}
    assert found.confirmations == {CONFIRMED.format(cells[0].name, 1): "completed", confirmed: "failed"}
    run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert played.calls[1:] == [[confirmed]], "a failed confirmation is tried again by the next command"


def test_a_stop_ends_all_cells_and_the_same_call_goes_on_with_the_same_trials(tmp_path: Path, played: Played) -> None:
    cells = [cell("bop", 3, at_once=2), cell("binary", 3, at_once=2)]
    stopped = SEARCHED.format(cells[0].name, 1)
    played.outcomes = {stopped: ["stopped"]}
    folder, log = claimed(tmp_path, *cells)
    with pytest.raises(StoppedError):
        run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert not any("confirm" in name for name in played.calls[0])
    folder.stop_file.unlink()
    found = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert stopped in played.calls[1]
    assert {name: result.outcomes for name, result in found.searches.items()} == {
        one.name: {"completed": 3} for one in cells
    }
    assert len(found.confirmations) == 2
    ends = events(log, "end")
    assert len(ends) == len(set(ends)) == 8


def test_each_sampler_learns_from_its_own_cell_alone(tmp_path: Path, played: Played) -> None:
    """A cell asks for the same configurations beside others as it does by itself, as long as it has one at a time."""
    cells = [cell("bop", 12, at_once=2), cell("real-SGD", 12, at_once=2)]
    folder, log = claimed(tmp_path / "both", *cells)
    found = run_cells(cells, ConfirmConfig(k=0), folder, log, needs_of(*cells))
    assert [result.side_by_side for result in found.searches.values()] == [1, 1]
    for one in cells:
        by_itself, own_log = claimed(tmp_path / one.method, one)
        alone = dataclasses.replace(one, at_once=1)
        run_cells([alone], ConfirmConfig(k=0), by_itself, own_log, needs_of(one))
        asked = [[t.params for t in ended(open_search(one, open_journal(f.journal)))] for f in (folder, by_itself)]
        assert asked[0] == asked[1] and len(asked[0]) == 12


@pytest.mark.integration
@pytest.mark.usefixtures("running_ray")
def test_trials_of_two_cells_overlap_and_one_is_confirmed_while_the_other_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a real Ray Tune. Each trial waits for the one that must run beside it, and fails where that never comes."""
    cells = [cell("bop", 1), cell("binary", 2)]
    bop, binary = (one.name for one in cells)
    waits_for = {
        SEARCHED.format(bop, 0): SEARCHED.format(binary, 0),
        SEARCHED.format(binary, 0): CONFIRMED.format(bop, 0),
    }
    places = str(tmp_path)

    def run_trial(tune_config: dict[str, Any]) -> None:  # travels by value
        import time
        from pathlib import Path

        from ray import tune

        own = tune_config["spec"]["trial_id"]
        Path(places, f"{own}.began").touch()
        other, last = waits_for.get(own), time.monotonic() + 120
        while other and not Path(places, f"{other}.began").exists() and time.monotonic() < last:
            time.sleep(0.05)
        values = {"epoch": 1, "val_accuracy": 0.5, "peak_memory_bytes": 1, "device_seconds": 1.0}
        tune.report(values)
        met = not other or Path(places, f"{other}.began").exists()
        test = {"test_accuracy": 0.5} if "-confirm-" in own else {}
        tune.report({**values, **test, "outcome": "completed" if met else "failed"})

    monkeypatch.setattr(tune_run, "run_trial", run_trial)
    folder, log = claimed(tmp_path / "study", *cells)
    found = run_cells(cells, CONFIRM, folder, log, needs_of(*cells))
    assert [result.outcomes for result in found.searches.values()] == [{"completed": 1}, {"completed": 2}]
    assert set(found.confirmations.values()) == {"completed"} and len(found.confirmations) == 2
    order = events(log, "start", "end")
    assert order.index(f"start {SEARCHED.format(binary, 0)}") < order.index(f"end {SEARCHED.format(bop, 0)}")
    assert order.index(f"start {CONFIRMED.format(bop, 0)}") < order.index(f"end {SEARCHED.format(binary, 0)}")
    assert not list((tmp_path / "study" / "tune").rglob("call"))
