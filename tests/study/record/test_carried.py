"""A study goes on from its small files: nothing that is done is repeated, and what differs is said."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import study
from study.record.carried import SMALL_FILES, begin_anew, differences
from study.record.study_log import StudyLog
from tests.study.small_study import content

ORIGIN = {"git_commit": "a" * 40, "versions": "python 3.11", "hardware": "2 x CPU", "command": "python -m study run x"}


def test_what_differs_from_the_last_command_is_named() -> None:
    events = [{"event": "session", **ORIGIN, "hardware": "old"}, {"event": "session", **ORIGIN}, {"event": "sweep"}]
    assert differences(events, ORIGIN) == differences([], ORIGIN) == []
    now = {**ORIGIN, "git_commit": "b" * 40, "hardware": "8 x CPU", "command": "another"}
    assert differences(events, now) == [
        f"commit was {'a' * 40}, is {'b' * 40}",
        "machine was 2 x CPU, is 8 x CPU",
    ]


def test_interrupted_runs_without_a_checkpoint_are_those_that_begin_anew(tmp_path: Path) -> None:
    log = StudyLog(tmp_path / "log.jsonl")
    about: dict[str, Any] = {"cell": "c", "phase": "search", "method": "bop", "config": {}, "tags": {}}
    for trial_id, epochs in (("kept", 1), ("lost", 1), ("unborn", 0), ("done", 1)):
        log.append("start", trial_id=trial_id, attempt=1, **about)
        for epoch in range(1, epochs + 1):
            log.append("epoch", trial_id=trial_id, epoch=epoch, metrics={}, device_seconds=1.0)
        if trial_id != "done":
            log.append("attempt_end", trial_id=trial_id, how="interrupted", reason="", device_seconds=None)
    log.append("end", trial_id="done", outcome="completed", reason="", rung=None, metrics={}, device_seconds=1.0)
    (tmp_path / "runs" / "kept" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "kept" / "checkpoints" / "last.safetensors").touch()
    assert begin_anew(log.trials(), tmp_path) == ["lost"]


def starts(folder: Path) -> Counter[str]:
    return Counter(event["trial_id"] for event in StudyLog(folder / "log.jsonl").events() if event["event"] == "start")


def test_a_study_goes_on_elsewhere_from_its_small_files(
    running_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = content(search={"trials": 2}, confirm={"seeds": [11]})
    first = tmp_path / "here" / "study"
    study.run(small, output=first, simulate=True, at_once=2)
    done = starts(first)
    there = tmp_path / "there" / "sub" / "study"
    there.mkdir(parents=True)
    for name in SMALL_FILES:
        if (first / name).is_dir():
            shutil.copytree(first / name, there / name)
        elif (first / name).exists():
            shutil.copy(first / name, there / name)
    shutil.rmtree(first)
    monkeypatch.setattr("study.drive.session.provenance", lambda: dict(ORIGIN))
    capsys.readouterr()
    small["confirm"] = {"seeds": [11, 12]}
    made = study.run(small, output=there, simulate=True, at_once=2)
    said = capsys.readouterr().out
    assert "this study goes on elsewhere: commit was " in said and "machine was " in said
    again = starts(there)
    assert {name: again[name] for name in done} == dict(done)  # nothing was done twice
    assert sorted(set(again) - set(done)) == sorted(name for name in again if name.endswith("-s12"))
    assert len(set(again) - set(done)) == 2 and made.status().state == "finished"
    assert len(made.runs()) == len(again)
