"""The doctor says what disagrees, mends it where asked to, and touches nothing otherwise."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.record.runs_table import collect
from study.record.study_log import StudyLog
from study.repair.doctor import doctor, examine
from tests.study.recorded_study import write_study_file
from trainers.config import TrialConfig
from trainers.errors import UserError

CELL = "Digits-MLP-bop"
OUTCOMES = ("completed", "pruned", "diverged", "completed")
ORIGIN = {"command": "c", "git_commit": "0" * 40, "versions": "v", "hardware": "h"}


def trial_id(number: int) -> str:
    return f"{CELL}-search-{number:04d}"


def config(number: int) -> dict[str, object]:
    return TrialConfig("Digits", "MLP", "bop", epochs=2, lr=0.1 * (number + 1)).to_dict()


def write_study(folder: Path) -> None:
    """Four search trials, ended as `OUTCOMES` says, in all records alike."""
    write_study_file(folder, "doctored")
    log = StudyLog(folder / "log.jsonl")
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    search = optuna.create_study(storage=storage, study_name=CELL, direction="maximize")
    log.append("session", **ORIGIN)
    log.append("sweep", cell=CELL, tags={"method": "bop"}, params={})
    for number, outcome in enumerate(OUTCOMES):
        trial = search.ask()
        trial.suggest_float("lr", 0.01, 1.0)
        trial.set_user_attr("config", json.dumps(config(number)))
        name = trial_id(number)
        origin = {"cell": CELL, "phase": "search", "method": "bop", "config": config(number), "tags": {}}
        log.append("start", trial_id=name, attempt=1, **origin)
        for epoch in (1, 2)[: 1 if outcome == "pruned" else 2]:
            metrics = {"val_accuracy": 0.1 * epoch + 0.01 * number}
            log.append("epoch", trial_id=name, epoch=epoch, metrics=metrics, device_seconds=1.0 * epoch)
            trial.report(metrics["val_accuracy"], epoch)
        rung = 1 if outcome == "pruned" else None
        log.append("end", trial_id=name, outcome=outcome, metrics={}, reason="", rung=rung, device_seconds=3.0)
        trial.set_user_attr("outcome", outcome)
        states = {"completed": "COMPLETE", "pruned": "PRUNED", "diverged": "FAIL"}
        value = metrics["val_accuracy"] if outcome == "completed" else None
        search.tell(trial, value, state=optuna.trial.TrialState[states[outcome]])
        if outcome == "completed":
            (folder / "runs" / name).mkdir(parents=True)
    log.append("sweep_end", cell=CELL, tags={})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "study"
    write_study(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The study in a place of its own."""
    return Path(shutil.copytree(whole, tmp_path / "study"))


def said(folder: Path, repair: bool = False) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = doctor(folder, repair=repair, show=lines.append)
    return status, [line for line in lines if not line.startswith("note: ")]


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def rows(folder: Path) -> dict[str, tuple[object, ...]]:
    table = collect(folder).to_pylist()
    assert len({row["trial_id"] for row in table}) == len(table), "a run twice"
    return {row["trial_id"]: (row["status"], row["rung"], row["val_accuracy"], row["epochs_used"]) for row in table}


def searched(folder: Path) -> list[tuple[str, str, float | None]]:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    trials = optuna.load_study(storage=storage, study_name=CELL).get_trials(deepcopy=False)
    return [(trial.state.name, trial.user_attrs["outcome"], (trial.values or [None])[0]) for trial in trials]


def test_records_that_agree_are_left_alone(folder: Path) -> None:
    before = content(folder)
    assert said(folder) == (0, ["the records of doctored agree"])
    assert content(folder) == before
    status, lines = said(folder, repair=True)
    assert (status, lines) == (0, ["the records of doctored agree"])


def cut(name: str, count: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-count])

    return damage


def spoil(name: str, holding: str) -> Callable[[Path], None]:
    """Overwrite the middle of the first line that holds a text."""

    def damage(folder: Path) -> None:
        path = folder / name
        lines = path.read_bytes().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if holding.encode() in line)
        lines[at] = b"\x00" * (len(lines[at]) - 1) + b"\n"
        path.write_bytes(b"".join(lines))

    return damage


def leave_pruned_folder(folder: Path) -> None:
    (folder / "runs" / trial_id(1) / "checkpoints").mkdir(parents=True)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "the log's last line unfinished": (cut("log.jsonl", 5), "the last line of the study's log"),
    "a line in the log's middle": (spoil("log.jsonl", '"cell":"Digits-MLP-bop","tags":{"method"'), "line 2 of the"),
    "the journal's last line unfinished": (cut("optuna.journal", 5), "the last line of the search's journal"),
    "an attribute in the journal's middle": (spoil("optuna.journal", '"step":1'), "of the search's journal"),
    "a trial's start in the journal's middle": (spoil("optuna.journal", '"op_code":4'), "of the search's journal"),
    "the journal's first line": (spoil("optuna.journal", '"op_code":0'), "line 1 of the search's journal"),
    "a pruned run's folder": (leave_pruned_folder, "was left over by a pruned run"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_each_damage_is_said_and_mended_and_nothing_is_lost(whole: Path, folder: Path, case: str) -> None:
    damage, message = DAMAGE[case]
    expected = rows(whole)
    damage(folder)
    before = content(folder)
    status, lines = said(folder)
    assert status == 1
    assert any(message in line for line in lines), lines
    assert content(folder) == before, "the doctor wrote without being asked to"
    status, lines = said(folder, repair=True)
    assert (status, lines[-1]) == (0, "the records agree now"), lines
    assert rows(folder) == expected
    assert searched(folder) == searched(whole)
    assert not (folder / "runs" / trial_id(1)).exists()


@pytest.mark.parametrize(("name", "copies"), [("log.jsonl", "torn"), ("optuna.journal", "torn")])
def test_a_copy_is_kept_of_what_is_replaced(folder: Path, name: str, copies: str) -> None:
    cut(name, 5)(folder)
    spoiled = (folder / name).read_bytes()
    said(folder, repair=True)
    (copy,) = folder.glob(f"{name}.{copies}-*")
    assert spoiled.endswith(copy.read_bytes())


def test_an_end_that_the_log_lost_is_taken_from_the_search(whole: Path, folder: Path) -> None:
    spoil("log.jsonl", f'"end","trial_id":"{trial_id(3)}"')(folder)
    status, lines = said(folder, repair=True)
    assert status == 0, lines
    assert {name: row[:3] for name, row in rows(folder).items()} == {n: row[:3] for n, row in rows(whole).items()}


def test_an_end_that_the_search_was_not_told_is_told(folder: Path, whole: Path) -> None:
    path = folder / "optuna.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    told = [number for number, line in enumerate(lines) if b'"op_code":6' in line]
    path.write_bytes(b"".join(lines[: told[-1]]))  # killed before the last trial was told
    assert any("has it as running" in line for line in said(folder)[1])
    assert said(folder, repair=True)[0] == 0
    assert searched(folder) == searched(whole)


def test_what_a_killed_command_left_running_is_interrupted(folder: Path) -> None:
    log = StudyLog(folder / "log.jsonl")
    origin = {"cell": CELL, "phase": "confirm", "method": "bop", "config": config(0), "tags": {}}
    log.append("start", trial_id="confirm", attempt=1, **origin)
    assert any("logged as running" in line for line in said(folder)[1])
    assert said(folder, repair=True)[0] == 0
    assert rows(folder)["confirm"][0] == "interrupted"


def test_what_only_a_person_can_mend_is_said_and_left(folder: Path) -> None:
    (folder / "runs" / "stranger").mkdir()
    checkpoint = folder / "runs" / trial_id(0) / "checkpoints" / "last.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"no checkpoint")
    found = [finding.what for finding in examine(folder)]
    assert any("runs/stranger belongs to no run" in line for line in found)
    assert any("cannot be used" in line and str(checkpoint) in line for line in found)
    assert said(folder, repair=True)[0] == 1
    assert (folder / "runs" / "stranger").exists() and checkpoint.read_bytes() == b"no checkpoint"


def test_what_mlflow_lacks_is_a_note_and_no_disagreement(folder: Path) -> None:
    lines: list[str] = []
    assert doctor(folder, show=lines.append) == 0
    assert lines[0].startswith("note: MLflow lacks something of 5 of the study's 5 runs and sweeps; `python -m study")
    assert lines[1:] == ["the records of doctored agree"]


def test_a_study_file_that_cannot_be_read_is_said_plainly(folder: Path) -> None:
    (folder / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json cannot be read"):
        doctor(folder)
