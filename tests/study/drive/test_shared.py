"""A study in shared storage: another machine goes on from there, one command at a time, and its log is never behind."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import study
from study.cli.command_line import main
from study.cli.export import export_run
from study.define.trial_spec import trial_spec
from study.drive import mirror as mirroring
from study.drive import shared
from study.drive.mirror import AT_WORK, Mirror, mirrored
from study.drive.shared import fetch_ended, is_stored, shared_folder
from study.record.carried import lines
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from tests.study.record.test_carried import starts
from tests.study.small_study import content
from trainers.config import TrialConfig
from trainers.errors import StorageError, UserError
from trainers.run_place import RunPlace
from trainers.storage import Storage
from trainers.stored_run import RECORD, StoredRun

CONFIG = TrialConfig("Digits", "MLP", "bop")
START = {"cell": "c", "phase": "search", "method": "bop", "config": CONFIG.to_dict(), "tags": {}, "attempt": 1}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirroring, "SECONDS", 0.02)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "storage").mkdir()
    return tmp_path / "storage"


@pytest.fixture
def folder(tmp_path: Path, storage: Path) -> StudyFolder:
    """A study on one machine, with an empty log."""
    made = shared_folder(tmp_path / "one" / "s", str(storage)).create()
    StudyLog(made.log)
    made.journal.write_bytes(b"")
    return made


def mirror(folder: StudyFolder, said: list[str] | None = None) -> Any:
    return mirrored(folder, StudyLog(folder.log).trials(), (said if said is not None else []).append)


def there(storage: Path, name: str) -> Path:
    return storage / "studies" / "s" / name


def test_a_study_goes_on_from_storage_on_another_machine(
    folder: StudyFolder, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mirror(folder):
        StudyLog(folder.log).append("start", trial_id="t", **START)
        folder.journal.write_bytes(b"{}\n{}")  # its last line is being written
        (folder.path / "pretrained").mkdir()
        (folder.path / "pretrained" / "w").write_bytes(b"weights")
        for left_out in ("mlflow.db", ".stop-none", "runs/t/x", "tune/x", "optuna.journal.lock"):
            (folder.path / left_out).parent.mkdir(parents=True, exist_ok=True)
            (folder.path / left_out).touch()
    assert sorted(path.name for path in there(storage, "").iterdir()) == [
        *("log.jsonl", "optuna.journal", "pretrained", "study.json")
    ]
    again = shared_folder(tmp_path / "two" / "s", str(storage))
    assert "goes on from" in capsys.readouterr().out
    assert again.study_id == folder.study_id and list(StudyLog(again.log).trials()) == ["t"]
    assert again.journal.read_bytes() == b"{}\n"
    assert (again.path / "pretrained" / "w").read_bytes() == b"weights"


def test_the_storage_is_recorded_and_meant_where_none_is_given(folder: StudyFolder, storage: Path) -> None:
    assert json.loads((folder.path / "study.json").read_text())["storage"] == str(storage)
    again = shared_folder(folder.path, None)
    assert again.storage is not None and again.storage.uri == str(storage)
    assert again.place("t") == RunPlace(str(storage), "studies/s", folder.study_id, "t")


def test_without_storage_a_folder_says_nothing_of_it(tmp_path: Path) -> None:
    made = shared_folder(tmp_path / "s", None).create()
    assert "storage" not in json.loads((made.path / "study.json").read_text()) and made.place("t") is None


def test_another_study_of_the_name_is_refused(folder: StudyFolder, storage: Path, tmp_path: Path) -> None:
    with mirror(folder):
        pass
    StudyFolder(tmp_path / "two" / "s").create()
    with pytest.raises(UserError, match="holds another study called 's'"):
        shared_folder(tmp_path / "two" / "s", str(storage))


def test_the_longer_log_is_gone_on_with_and_two_that_part_are_refused(
    folder: StudyFolder, storage: Path, tmp_path: Path
) -> None:
    with mirror(folder):
        StudyLog(folder.log).append("start", trial_id="t", **START)
    shutil.copytree(folder.path, tmp_path / "two" / "s")
    other = shared_folder(tmp_path / "two" / "s", str(storage))
    with mirror(other):
        StudyLog(other.log).append("start", trial_id="u", **START)
    shared_folder(folder.path, str(storage))
    assert list(StudyLog(folder.log).trials()) == ["t", "u"]
    StudyLog(folder.log).append("start", trial_id="v", **START)
    shared_folder(folder.path, str(storage))
    assert list(StudyLog(folder.log).trials()) == ["t", "u", "v"]
    with mirror(other):
        StudyLog(other.log).append("start", trial_id="w", **START)
    with pytest.raises(UserError, match=r"went on here and elsewhere: .* each hold what the other lacks"):
        shared_folder(folder.path, str(storage))


def test_a_command_at_work_elsewhere_keeps_this_one_out_until_it_has_been_silent(
    folder: StudyFolder, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(folder):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(mirroring.platform, "node", lambda: "another")
        Mirror(folder, Storage(str(storage)), print).begin()  # and is killed
    with pytest.raises(UserError, match=r"at work on this study, on another \(its last sign is 0 s old\)"):
        shared_folder(tmp_path / "two" / "s", str(storage))
    assert not (tmp_path / "two").exists()
    with pytest.raises(UserError, match="at work on this study"), mirror(folder):
        pass
    monkeypatch.setattr(mirroring, "SILENCE_SECONDS", 0.0)
    shared_folder(tmp_path / "two" / "s", str(storage))
    with mirror(folder):
        assert json.loads(there(storage, AT_WORK).read_text())["host"] != "another"
    assert not there(storage, AT_WORK).exists()


def test_a_command_that_was_killed_in_this_folder_goes_on_at_once(folder: StudyFolder, storage: Path) -> None:
    with mirror(folder):
        pass
    Mirror(folder, Storage(str(storage)), print).begin()  # and is killed
    shared_folder(folder.path, str(storage))
    with mirror(folder):
        pass


def test_a_command_whose_study_was_taken_over_stops_and_says_so(folder: StudyFolder, storage: Path) -> None:
    with pytest.raises(UserError, match="on another, took this study over"), mirror(folder):
        there(storage, AT_WORK).write_text(json.dumps({"owner": "x", "host": "another"}))
        for thread in threading.enumerate():
            if thread.name == "mirror":
                thread.join(timeout=10)
        assert folder.stop_file.exists()
        StudyLog(folder.log).append("start", trial_id="t", **START)
    copy = there(storage, "log.jsonl")
    assert not copy.exists() or copy.read_bytes() == b""
    assert json.loads(there(storage, AT_WORK).read_text())["host"] == "another"


def test_the_journal_in_storage_never_says_what_the_log_there_does_not(folder: StudyFolder, storage: Path) -> None:
    found = Mirror(folder, Storage(str(storage)), print)
    folder.journal.write_bytes(b"1\n")
    names = [name for name, _, _ in found._changed()]
    assert names == ["study.json", "log.jsonl", "optuna.journal"]
    read = Path.read_bytes
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda path: order.append(path.name) or read(path))
        found._changed()
    assert order == ["optuna.journal", "log.jsonl", "study.json"]


def test_storage_that_is_away_is_said_once_and_gets_all_of_it_later(
    folder: StudyFolder, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    write = Storage.write
    down = threading.Event()
    tries: list[str] = []

    def maybe(place: Storage, path: str, content: bytes) -> None:
        if down.is_set():
            tries.append(path)
            raise StorageError("the storage cannot be reached")
        write(place, path, content)

    monkeypatch.setattr(Storage, "write", maybe)
    with mirror(folder, said):
        down.set()
        StudyLog(folder.log).append("start", trial_id="t", **START)
        while len(tries) < 3:
            threading.Event().wait(0.01)
        down.clear()
    assert len(said) == 1 and "cannot be reached; until then the study goes on" in said[0]
    assert there(storage, "log.jsonl").read_bytes() == folder.log.read_bytes()
    with mirror(folder, said):
        StudyLog(folder.log).append("start", trial_id="u", **START)
        down.set()
    assert "lacks the last of this study, which is whole in" in said[-1]


def test_a_request_to_stop_reaches_storage_and_is_taken_back(folder: StudyFolder, storage: Path) -> None:
    with mirror(folder):
        folder.stop_file.touch()
        while not there(storage, "stop").exists():
            threading.Event().wait(0.01)
    assert not there(storage, "stop").exists()


def test_checkpoints_of_before_there_was_storage_are_put_there(
    folder: StudyFolder, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = StudyLog(folder.log)
    log.append("start", trial_id="t", **START)
    log.append("epoch", trial_id="t", epoch=1, metrics={}, device_seconds=1.0)
    log.append("attempt_end", trial_id="t", how="interrupted", reason="", device_seconds=None)
    checkpoint = folder.run_dir("t") / "checkpoints" / "last.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"checkpoint")
    with mirror(folder):
        assert is_stored(folder, "t") and not is_stored(folder, "u")
    shutil.rmtree(folder.run_dir("t"))
    origin = {"git_commit": "a", "versions": "b", "hardware": "c"}
    assert lines([], log.trials(), folder.path, origin, lambda trial_id: is_stored(folder, trial_id)) == []
    assert "start from nothing: t" in lines([], log.trials(), folder.path, origin)[0]


def test_what_an_ended_run_left_is_fetched_and_a_pruned_one_removed(folder: StudyFolder, tmp_path: Path) -> None:
    node = tmp_path / "node" / "runs" / "t"
    (node / "checkpoints").mkdir(parents=True)
    (node / "checkpoints" / "last.safetensors").write_bytes(b"checkpoint")
    (node / "error.txt").write_text("Traceback")
    place = folder.place("t")
    StoredRun(place, node).push()
    StoredRun(place, node).push_error()
    spec = trial_spec("t", "search", "bop", CONFIG, folder.run_dir("t"), place=place)
    fetch_ended(spec, "failed")
    assert (folder.run_dir("t") / "error.txt").read_text() == "Traceback"
    assert not (folder.run_dir("t") / "checkpoints").exists()
    folder.create()
    shared.fetch_checkpoints(folder.run_dir("t"))
    assert (folder.run_dir("t") / "checkpoints" / "last.safetensors").read_bytes() == b"checkpoint"
    assert there(tmp_path / "storage", f"runs/t/{RECORD}").exists()
    fetch_ended(spec, "pruned")
    assert not there(tmp_path / "storage", "runs/t").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--storage", "s3://AKIA:hush@bucket"], "may hold a secret"),
        (["--storage", "ftp://host"], "'ftp://' is unknown"),
        (["--storage", "/nowhere/at/all"], "does not exist; make it, or mount the disk"),
        (["--storage", "/tmp", "--simulate"], "--storage means nothing with --simulate"),
    ],
)
def test_storage_that_cannot_be_is_refused_before_anything_is_made(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "quickstart", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and "hush" not in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_study_whose_machine_is_lost_goes_on_from_storage(running_ray: None, storage: Path, tmp_path: Path) -> None:
    small = content(
        name="s",
        cells=[{"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary"]}],
        fixed={"epochs": 2, "hid_dim": 32, "batch_size": 96},
        search={"trials": 2},
        confirm={"seeds": [11]},
    )
    given: dict[str, Any] = {"storage": str(storage), "data_root": tmp_path / "data", "quiet": True, "asha": False}
    study.run(small, output=tmp_path / "one" / "s", **given)
    done = starts(tmp_path / "one" / "s")
    assert len(done) == 3 and len(list((storage / "data").iterdir())) == 1
    assert {path.name for path in there(storage, "runs").iterdir()} == set(done)
    shutil.rmtree(tmp_path / "one")
    small["confirm"] = {"seeds": [11, 12]}
    made = study.run(small, output=tmp_path / "two" / "s", **given)
    again = starts(tmp_path / "two" / "s")
    assert {name: again[name] for name in done} == dict(done) == dict.fromkeys(done, 1)  # nothing was done twice
    assert len(again) == 4 and made.status().state == "finished"
    (searched,) = (name for name in done if name.endswith("search-0000"))
    assert list(export_run(searched, study=str(tmp_path / "two" / "s")).iterdir())  # its checkpoint came from storage
