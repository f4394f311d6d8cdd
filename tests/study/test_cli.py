"""The command line: its words, its complaints and its exit statuses; nothing heavy starts before input is checked."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from study.cli import commands
from study.cli.arguments import config_values
from study.cli.command_line import main, parser
from tests.study.recorded_study import begin_study
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.registry import declared

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["--dataset", "Digits", "--model", "MLP", "--algorithm", "binary"]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end before Ray starts; one that does not is wrong."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("study.drive.cluster.connect", refuse)
    monkeypatch.setattr("study.drive.course.connect", refuse)


def command(*words: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "study", *words], capture_output=True, text=True, timeout=timeout, env=environment
    )


def test_a_sweep_confirms_nothing_so_it_may_have_any_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[Any] = []

    def check(study: Any) -> Any:
        reached.append(study)
        raise UserError("far enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "prepare_for", lambda *given: None)
    monkeypatch.setattr(commands, "check_study", check)
    assert main(["sweep", *TINY, "--seed", "11"]) == 2
    assert reached[0].search.seed == 11 and reached[0].confirm.k == 0


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("htp://127.0.0.1:5000", "none that MLflow can use"),
        ("http://anna:s3cret@127.0.0.1:5000", "MLFLOW_TRACKING_PASSWORD"),
        ("mysql://127.0.0.1/pages", "needs the Python package 'MySQLdb'"),
    ],
)
@pytest.mark.parametrize(
    "words", [["run", "quickstart"], ["train", *TINY], ["sweep", *TINY]], ids=["run", "train", "sweep"]
)
def test_a_tracking_uri_that_cannot_be_used_is_refused_before_anything_is_made(
    words: list[str], uri: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", str(tmp_path / "out"), "--tracking-uri", uri]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "s3cret" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.integration
def test_a_study_is_delivered_to_no_address_that_holds_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_study(tmp_path / "study", "small")
    before = (tmp_path / "study" / "study.json").read_bytes()
    assert main(["mlflow", str(tmp_path / "study"), "--tracking-uri", "http://anna:s3cret@127.0.0.1:9"]) == 2
    assert "s3cret" not in capsys.readouterr().err
    assert (tmp_path / "study" / "study.json").read_bytes() == before


def test_the_published_command_line_carries_over_with_hyphens_or_underscores() -> None:
    published = shlex.split(
        "train --dataset CIFAR10 --model AdamBNN --algorithm binary --mask_type EWM --scheduler_type gaussian "
        "--batch_size 64 --epochs 3 --lr 0.5 --hid_dim 512 --depth 3 --xnor --approx ReSTE --freeze_num 2 "
        "--optimizer Adam --bop_threshold 1e-5 --seed 7 --test"
    )
    ours = shlex.split(
        "--image_size 64 --width 0.5 --temperature 30 --workers 2 --data_root d --pretrained p --val_fraction 0"
    )
    values = config_values(parser("train").parse_args([*published, *ours]))
    hyphens = [word.replace("_", "-") if word.startswith("--") else word for word in [*published, *ours]]
    assert config_values(parser("train").parse_args(hyphens)) == values
    config = TrialConfig(**values)
    assert (config.mask_type, config.lr, config.xnor, config.test, config.width) == ("EWM", 0.5, True, True, 0.5)


def test_every_field_of_a_configuration_is_an_option_of_train() -> None:
    help_text = parser("train")._subparsers._group_actions[0].choices["train"].format_help()  # type: ignore[union-attr]
    for name in declared():
        assert f"--{name}" in help_text


def test_an_option_that_is_not_given_is_absent() -> None:
    assert set(config_values(parser("train").parse_args(["train", *TINY]))) == {"dataset", "model", "algorithm"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", *TINY, "--lr", "nan"], "lr nan is not a finite number"),
        (["train", *TINY, "--lr", "-1"], "not positive"),
        (["train", *TINY, "--lr", "much"], "invalid float value: 'much'"),
        (["train", *TINY, "--mask_type", "EMW"], "mask_type 'EMW' is unknown; use EWM, WPM or RAND"),
        (["train", *TINY, "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["train", "--dataset", "Digits"], "required: --model, --algorithm"),
        (["train", *TINY[:-1], "bnn"], "or real_adam8; your own comes with --plugin"),
        (["sweep", *TINY[:-1], "bnn"], "or real_adam8; your own comes with --plugin"),
        (["train", *TINY, "--bop_threshold", "1"], "bop_threshold is a setting of bop, which binary with MLP does not"),
        (
            ["sweep", *TINY, "--width", "1"],
            "width is a setting of AdamBNN, BCDNet and ResNet18, which binary with MLP does not have",
        ),
        (["sweep", *TINY, "--trials", "0"], "at least 1"),
        (["sweep", *TINY, "--test"], "unrecognized arguments: --test"),
        (["sweep", *TINY, "--val_fraction", "0"], "nothing to choose by"),
        (["sweep", *TINY, "--temperature-mode", "both"], "use decoupled or coupled"),
        (["sweep", *TINY, "--no-asha", "--grace-period", "2"], "means nothing with --no-asha"),
        (["sweep", *TINY, "--epochs", "2", "--grace-period", "3"], "exceeds the 2 epochs"),
        (["run", "quickstrat"], "presets paper, quickstart, six-datasets"),
        (["compare", "/nowhere"], "/nowhere"),
        (["ui", "/nowhere"], "/nowhere"),
        (["prepare", "Digits", "MNIST", "--source", "x"], "one by one"),
        (["prepare", "CIFAR11"], "'CIFAR11' is unknown"),
        ([], "COMMAND"),
        (["tune"], "invalid choice: 'tune'"),
    ],
)
def test_bad_input_is_one_error_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size", "5000"], "batch_size 5000 is larger than the"),
        (["--data_root", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--image_size", "100000"], "image"),
        (["--device", "cuda"], "torch sees no GPU"),
        (["--threads", "4000"], "one run takes 4000 CPUs"),
        (["--workers", "120"], "one run takes 120 CPUs"),
    ],
)
def test_what_the_data_or_the_machine_cannot_do_is_refused_before_ray_starts(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--data_root" in words:
        words = [*words, "--dataset", "MNIST"]
    for subcommand in ("train", "sweep"):
        assert main([subcommand, *TINY, *words]) == 2
        assert message in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (["train", *TINY], ["sweep", *TINY], ["run", "quickstart"]):
        assert main([*words, "--output", str(tmp_path / "file" / "study"), "--data-root", str(tmp_path)]) == 2
        assert "cannot be written" in capsys.readouterr().err


@pytest.mark.integration
def test_a_folder_of_another_configuration_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "study"), "--data_root", str(tmp_path)]
    with pytest.raises(AssertionError, match="Ray was started"):
        main(["sweep", *TINY, *output, "--epochs", "2"])
    assert main(["sweep", *TINY, *output, "--epochs", "3"]) == 2
    assert "epochs was 2, now 3" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="Ray was started"):
        main(["sweep", *TINY, *output, "--epochs", "2", "--trials", "50"])


def test_ctrl_c_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "compare", interrupted)
    assert main(["compare", "anything"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.integration
def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from study.cli.command_line import parser; parser().format_help(); "
        "print([name for name in ('torch', 'ray', 'mlflow') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.strip() == "[]"


def test_prepare_takes_several_data_sets_and_says_where_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["prepare", "Digits", "--data-root", str(tmp_path)]) == 0
    assert "Digits: prepared in" in capsys.readouterr().out


@pytest.mark.integration
def test_train_runs_under_ray_train_and_prints_its_metrics_as_the_last_line(tmp_path: Path) -> None:
    words = [*TINY, "--hid_dim", "32", "--depth", "2", "--epochs", "2", "--scheduler-type", "gaussian", "--lr", "1"]
    done = command("train", *words, "--test", "--json", "--output", str(tmp_path / "out"), "--data-root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert set(metrics) == set(commands.JSON_KEYS)
    assert 0 <= metrics["val_accuracy"] <= 1
    assert 0 <= metrics["test_accuracy"] <= 1
    assert metrics["peak_memory_bytes"] > 0
    events = [json.loads(line).get("event") for line in done.stdout.splitlines()]
    assert events.count("epoch") == 2 and events[-1] is None


@pytest.mark.slow
def test_a_study_file_runs_from_data_to_comparison_and_is_extended_by_the_same_command(tmp_path: Path) -> None:
    study = {
        "name": "small",
        "cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary", "bop", "real-Adam"]}],
        "fixed": {"epochs": 3, "hid_dim": 32, "depth": 2, "batch_size": 96},
        "search": {"trials": 3},
        "confirm": {"seeds": [11, 12]},
    }
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(study))
    output = tmp_path / "out"
    words = ["run", str(file), "--output", str(output), "--data-root", str(tmp_path / "data")]
    for extra, trials in (([], 3), (["--trials", "4"], 4)):
        done = command(*words, *extra)
        assert done.returncode == 0, done.stderr
        rows = pq.read_table(output / "results.parquet").to_pylist()
        searched = [row for row in rows if row["phase"] == "search"]
        assert len(searched) == 3 * trials
        assert len({row["trial_id"] for row in rows}) == len(rows)
        assert len([row for row in rows if row["phase"] == "confirm"]) >= 3 * 2
        assert (output / "accuracy_vs_memory.png").stat().st_size > 0
        assert "open the MLflow UI on this study: python -m study ui" in done.stdout
        for method in ("binary", "bop", "real-Adam"):
            assert method in done.stdout.split("Study small")[1]


@pytest.mark.slow
def test_the_quickstart_ends_with_a_table_a_figure_and_every_method_confirmed(tmp_path: Path) -> None:
    done = command("run", "quickstart", "--output", str(tmp_path / "q"), "--data-root", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "q" / "results.parquet").to_pylist()
    confirmed = [row for row in rows if row["phase"] == "confirm"]
    assert {row["method"] for row in confirmed} == {"binary", "binary-4bit", "bop", "frozen", "real-SGD", "real-Adam"}
    assert len(confirmed) == 18
    assert {row["status"] for row in confirmed} == {"completed"}
    assert len({row["pretrained"] for row in rows}) == 1 and len(list((tmp_path / "q" / "pretrained").iterdir())) == 1
    accuracies = {row["method"]: row["test_accuracy"] for row in confirmed}
    assert 0.4 < accuracies["frozen"] < accuracies["binary-4bit"] - 0.1  # chance is 0.2


def test_methods_with_unequal_budgets_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PROTOCOL §4.4"""
    study = {
        "name": "unequal",
        "cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary", "bop"]}],
        "fixed": {"epochs": 4},
        "search": {"fixed": {"bop": {"epochs": 6}}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["run", str(tmp_path / "study.yaml"), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "Digits, MLP: epochs a trial: 4 for binary; 6 for bop (2 more)" in said and "--allow-unequal" in said
    assert not (tmp_path / "out").exists()
