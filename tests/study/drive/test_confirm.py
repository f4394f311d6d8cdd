"""A confirmation that memory does not hold beside others is tried alone, and then is infeasible (PROTOCOL §4.3)."""

from pathlib import Path
from typing import Any

import pytest

from study.drive import confirm as confirming
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from tests.study.small_study import load


def test_a_run_out_of_memory_is_tried_alone_once_and_then_is_infeasible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load(tmp_path, cells=[{"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary"]}])
    folder = StudyFolder(tmp_path / "study", name="s").create()
    log = StudyLog(folder.log, lambda line: None)
    (cell,) = study.cells
    calls: list[tuple[list[str], list[bool], Any]] = []

    def planned(cell: Any, settings: Any, folder: StudyFolder) -> list[Any]:
        names = [confirming.confirm_trial_id(cell, 0, seed) for seed in (11, 12)]
        return [
            (confirming.trial_spec(name, "confirm", "binary", cell.base, folder.run_dir(name)), {}) for name in names
        ]

    def run_listed(specs: Any, config: Any, recorder: Any, state: Any, need: Any, at_once: Any = None) -> int:
        calls.append(([spec["trial_id"] for spec in specs], [spec["alone"] for spec in specs], at_once))
        for spec in specs:
            recorder.start(spec)
            if spec["trial_id"].endswith("s12"):
                recorder.end(spec, "completed", {"epoch": 1})
            elif spec["alone"]:
                recorder.end(spec, "infeasible", {}, "no room")
            else:
                recorder.attempt_end(spec, "out_of_memory", "no room")
        return 1

    monkeypatch.setattr(confirming, "planned", planned)
    monkeypatch.setattr(confirming, "run_listed", run_listed)
    monkeypatch.setattr(confirming, "largest_need", lambda needs: needs[0])
    outcomes = confirming.confirm(study.cells, study.confirm, folder, log, {cell.name: None})  # type: ignore[dict-item]
    first, second = (confirming.confirm_trial_id(cell, 0, seed) for seed in (11, 12))
    assert calls == [([first, second], [False, False], None), ([first], [True], 1)]
    assert outcomes == {first: "infeasible", second: "completed"}
    assert confirming.confirm(study.cells, study.confirm, folder, log, {cell.name: None}) == outcomes  # type: ignore[dict-item]
    assert len(calls) == 2  # an infeasible run is over
