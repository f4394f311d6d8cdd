"""Studies from Python: what a program or a notebook reads of one, and how it runs one."""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import study
from study.compare.compare import compare
from study.record.terminal import say
from tests.study.recorded_study import CONFIRMATION_SEEDS, begin_study
from tests.study.small_study import content
from trainers.errors import UserError


def test_runs_are_the_rows_of_the_results_table(recorded: Path) -> None:
    runs = study.load(recorded).runs()
    assert len(runs) == 5 * (5 + 6) + 2 * 5
    confirmed = runs[(runs.phase == "confirm") & (runs.dataset == "Digits") & (runs.method == "bop")]
    assert sorted(set(confirmed.seed)) == list(CONFIRMATION_SEEDS)
    assert str(runs.seed.dtype) == "Int64" and runs.rung.isna().any()


def test_epochs_are_the_learning_curves(recorded: Path) -> None:
    epochs = study.load(recorded).epochs()
    one = epochs[epochs.trial_id == "Digits-MLP-binary-confirm-0001-s11"]
    assert list(one.epoch) == [1, 2]
    assert list(one.flip_rate) == [0.01, 0.005]


def test_verdicts_say_what_the_comparison_says(recorded_copy: Path) -> None:
    loaded = study.load(recorded_copy)
    verdicts = loaded.verdicts(allow_unequal=True)
    assert not (recorded_copy / "verdicts.json").exists()
    found = compare(recorded_copy, allow_unequal=True)
    expected = [verdict for workload in found.findings.workloads for verdict in workload.verdicts]
    assert list(verdicts.text) == [verdict.text for verdict in expected]
    assert list(verdicts.kind) == [verdict.kind for verdict in expected]
    adam = verdicts[(verdicts.method == "real-Adam") & (verdicts.phase == "confirm")].iloc[0]
    assert (adam.kind, adam.n) == ("baseline", 3)
    assert adam.test_accuracy_low < adam.test_accuracy < adam.test_accuracy_high
    assert str(verdicts.state_bits_per_weight.dtype) == "float64" and verdicts.state_bits_per_weight.isna().all()
    assert loaded.table(allow_unequal=True).splitlines()[0] == found.table.splitlines()[0]


def test_pictures_show_in_a_notebook_and_are_saved_by_their_ending(recorded: Path, tmp_path: Path) -> None:
    plot = study.load(recorded).plot
    for picture in (plot.accuracy_memory(), plot.curves("flip_rate")):
        assert picture._repr_png_().startswith(b"\x89PNG")
        assert b"<svg" in picture.save(tmp_path / "figure.svg").read_bytes()
        with pytest.raises(UserError, match=r"\.png or \.svg"):
            picture.save(tmp_path / "figure.gif")
    with pytest.raises(UserError, match=r"'accuracy' is no measure of an epoch; use one of .*val_accuracy"):
        plot.curves("accuracy")
    with pytest.raises(UserError, match="no train run with a val_accuracy"):
        plot.curves(phase="train")


def test_a_loaded_study_says_how_far_it_is(recorded: Path) -> None:
    loaded = study.load(str(recorded))
    assert loaded.status().over == 65
    assert repr(loaded).startswith("<study 'recorded' in ") and "65 of 65 runs" in repr(loaded)


def test_a_folder_without_a_study_or_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study\.json"):
        study.load(tmp_path)
    begin_study(tmp_path / "study", "small")
    (tmp_path / "study" / "log.jsonl").unlink()
    empty = study.load(tmp_path / "study")
    for read in (empty.runs, empty.epochs, empty.verdicts):
        with pytest.raises(UserError, match="no records yet"):
            read()


def test_what_cannot_be_run_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no study 'quickstrat'"):
        study.run("quickstrat")
    with pytest.raises(UserError, match="holds what no study file could"):
        study.run({"name": {1, 2}})
    with pytest.raises(UserError, match="trials"):
        study.run(content(), trials=0, output="there")
    assert not list(tmp_path.iterdir())


def test_a_quiet_run_prints_what_is_important_and_gives_the_study(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: argparse.Namespace) -> int:
        say(f"{options.study}, {options.trials} trials, asha {options.asha}")
        say("the table", important=True)
        return 0

    monkeypatch.setattr("study.cli.commands.run", run)
    assert study.run("quickstart", trials=3, asha=False, output=recorded).name == "recorded"
    assert capsys.readouterr().out == "quickstart, 3 trials, asha False\nthe table\n"
    study.run("quickstart", output=recorded, quiet=True)
    assert capsys.readouterr().out == "the table\n"


@pytest.mark.integration
def test_importing_study_stays_light() -> None:
    code = (
        "import sys, study; study.load, study.run;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'mlflow', 'optuna', 'pandas', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_study_runs_from_a_thread_beside_a_ray_that_runs_already(running_ray: None, tmp_path: Path) -> None:
    """As a notebook may: its kernel has a Ray, and the cell's work is done by a thread."""
    small = content(search={"trials": 2}, confirm={"seeds": [11]})
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(study.run, small, output=tmp_path / "study", simulate=True, at_once=2).result()
    assert (made.name, made.status().state) == ("small", "finished")
    assert set(made.runs().status) <= {"completed", "pruned"}
    assert len(made.verdicts()) == 2
