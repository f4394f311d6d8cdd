"""A pretrained file of one's own: trained once, gone on with where it was interrupted, taken by a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.cli.command_line import main
from study.drive.pretrain import pretrain, pretrain_cells
from tests.study.small_study import load
from trainers.config import TrialConfig
from trainers.errors import StoppedError
from trainers.host import run_local
from trainers.models.pretrained_file import describe_own

SMALL: dict[str, Any] = {"dataset": "Digits", "hid_dim": 16, "depth": 2, "batch_size": 96}


def config(tmp_path: Path, **changes: Any) -> TrialConfig:
    settings = {**SMALL, "model": "RealHeadMLP", "classes": "..4", "epochs": 2, "lr": 0.01, **changes}
    return TrialConfig(algorithm="real", optimizer="Adam", data_root=str(tmp_path / "data"), **settings)


def test_a_run_starts_from_what_was_pretrained(tmp_path: Path) -> None:
    path = pretrain(config(tmp_path), tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]
    described = describe_own(path)
    assert described is not None
    about = described["about"]
    assert (about["classes"], about["class_names"]) == ("..4", ["0", "1", "2", "3", "4"])
    assert about["val_accuracy"] > 0.5 and about["epochs"] == 2 and about["git_commit"] and len(about["data"]) == 64
    assert not any(str(tmp_path) in json.dumps(value) for value in described.values())
    frozen = TrialConfig(
        **SMALL, model="RealHeadMLP", classes="5..", algorithm="frozen", lr=0.03, epochs=1, pretrained=str(path),
        data_root=str(tmp_path / "data"),
    )  # fmt: skip
    run_local(frozen, tmp_path / "run")
    loaded = json.loads((tmp_path / "run" / "inputs.json").read_text())["pretrained"]
    assert loaded["signs_only"] and loaded["replaced_heads"] == ["fc.bias", "fc.weight"]


def test_the_same_training_is_not_repeated_and_another_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = pretrain(config(tmp_path), tmp_path / "out")
    assert pretrain(config(tmp_path), tmp_path / "out") == first
    assert "is there already, from this very training; nothing to do" in capsys.readouterr().out
    others = [pretrain(config(tmp_path, **changes), tmp_path / "out") for changes in ({"classes": "5.."}, {"seed": 2})]
    assert len({first, *others}) == 3


def test_an_interrupted_pretraining_goes_on_to_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(config(tmp_path), tmp_path / "whole")
    from study.drive import pretrain as module

    def stopping(run: TrialConfig, run_dir: Path, report: Any, attempt: Any) -> Any:
        def stop(metrics: dict[str, Any]) -> None:
            attempt.stop_file.touch()

        return run_local(run, run_dir, stop, attempt)

    with monkeypatch.context() as patched:
        patched.setattr(module, "train", stopping)
        with pytest.raises(StoppedError):
            pretrain(config(tmp_path), tmp_path / "halves")
    assert not list((tmp_path / "halves").glob("*.safetensors"))
    again = pretrain(config(tmp_path), tmp_path / "halves")
    assert again.name == whole.name and again.read_bytes() == whole.read_bytes()


def test_the_command_says_what_it_wrote_and_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "--dataset", "Digits", "--classes", "..4", "--model", "MLP", "--epochs", "1", "--json"]
    assert main([*words, "--output", str(tmp_path / "out"), "--data_root", str(tmp_path / "data")]) == 0
    *_, wrote, use, last = capsys.readouterr().out.splitlines()
    wrote, use = (json.loads(line)["text"] for line in (wrote, use))
    path = json.loads(last)["pretrained"]
    assert wrote.startswith(f"wrote {path} (") and "validation accuracy" in wrote
    assert use.startswith(f"use it: --pretrained {path}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "3"], "unrecognized arguments: --temperature 3"),
        (["--classes", "5..4"], "runs backwards"),
        (["--batch_size", "5000"], "larger than the 1375 training images"),
        (["--width", "0.5"], "width is a setting of AdamBNN, BCDNet and ResNet18"),
    ],
)
def test_what_cannot_be_is_said_before_work_starts(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["pretrain", "--dataset", "Digits", "--model", "MLP", "--data_root", str(tmp_path / "data")]
    assert main([*start, "--output", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_studys_cells_start_from_its_pretrained_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = {"dataset": "Digits", "fixed": {"classes": "..4", "epochs": 1}}
    study = load(tmp_path, pretrain=made, fixed={"epochs": 6, "hid_dim": 16, "classes": "5.."})
    folder = tmp_path / "study"
    started = pretrain_cells(study, folder)
    (path,) = {cell.base.pretrained for cell in started.cells}
    assert path == f"study/pretrained/{next((folder / 'pretrained').iterdir()).name}"
    assert "left out: the head, which a new one replaces" in capsys.readouterr().out
    # Moved to elsewhere it is the same study, and nothing is trained again.
    moved = folder.rename(tmp_path / "moved")
    again = pretrain_cells(study, moved)
    assert again.identity() == started.identity()
    assert "is there already" in capsys.readouterr().out
