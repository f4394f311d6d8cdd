"""Learning curves in the place of training: what they depend on, how a run of them goes on, what keeps them apart."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from study.cli.command_line import main
from study.define.cells import ResourcesConfig, SearchConfig, StudyConfig, make_cell
from study.drive.simulate import (
    SYNTHETIC,
    recorded_runs,
    run_simulated,
    simulated_study,
    simulated_tag,
    synthetic_curve,
    write_simulation,
)
from study.record.folder import StudyFolder
from trainers.config import TrialConfig
from trainers.errors import DivergedError, UserError

SMALL = {"epochs": 6, "hid_dim": 16, "depth": 2, "batch_size": 32, "image_size": 8}
BOP = TrialConfig("Digits", "MLP", "bop", lr=0.01, bop_threshold=1e-6, **SMALL)  # type: ignore[arg-type]


def reports(config: TrialConfig, run_dir: Path, source: str = SYNTHETIC, **options: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    final = run_simulated(config, run_dir, told.append, source, **options)
    return told if final is None else [*told, final]


def study_of(*methods: str) -> StudyConfig:
    search = SearchConfig(trials=3, asha=None)
    cells = [
        make_cell("Digits", "MLP", method, fixed=SMALL, search=search, resources=ResourcesConfig(workers=2))
        for method in methods
    ]
    return StudyConfig("simulated", tuple(cells), search)


def write_log(folder: Path, config: TrialConfig, accuracies: list[float], outcome: str, number: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trial_id = f"Digits-MLP-bop-search-{number:04d}"
    start = {"cell": "Digits-MLP-bop", "phase": "search", "method": "bop", "config": config.to_dict(), "tags": {}}
    events: list[Mapping[str, Any]] = [{"event": "start", "trial_id": trial_id, **start, "attempt": 1}]
    for epoch, accuracy in enumerate(accuracies, start=1):
        metrics = {"val_accuracy": accuracy, "train_loss": 1.0}
        events.append(
            {"event": "epoch", "trial_id": trial_id, "epoch": epoch, "metrics": metrics, "device_seconds": 1.0}
        )
    end = {"outcome": outcome, "metrics": {"test_accuracy": 0.5}, "reason": "", "rung": None, "device_seconds": 1.0}
    events.append({"event": "end", "trial_id": trial_id, **end})
    with (folder / "log.jsonl").open("a") as file:
        file.writelines(json.dumps({"at": 0.0, **event}) + "\n" for event in events)


def test_a_synthetic_curve_is_a_function_of_configuration_and_seed() -> None:
    assert synthetic_curve(BOP) == synthetic_curve(BOP.replace())
    assert synthetic_curve(BOP) == synthetic_curve(BOP.replace(data_root="elsewhere"))
    assert synthetic_curve(BOP) != synthetic_curve(BOP.replace(seed=2))


def test_a_synthetic_curve_rises_and_is_higher_near_the_methods_optimum() -> None:
    near, far = (synthetic_curve(BOP.replace(lr=lr)).epochs for lr in (1e-2, 1e-5))
    assert near[-1]["val_accuracy"] > near[0]["val_accuracy"]
    assert near[-1]["val_accuracy"] > far[-1]["val_accuracy"] + 0.1
    assert all(0 <= entry["val_accuracy"] <= 1 for entry in (*near, *far))


@pytest.mark.parametrize("setting", [{"mask_type": "WPM"}, {"scheduler_type": "const"}, {"temperature": 1.0}])
def test_a_binary_run_is_worse_away_from_its_best_mask_scheduler_or_temperature(setting: dict[str, Any]) -> None:
    best = TrialConfig("Digits", "MLP", "binary", temperature=300.0, **SMALL)  # type: ignore[arg-type]

    def mean(config: TrialConfig) -> float:
        ends = [synthetic_curve(config.replace(seed=seed)).epochs[-1]["val_accuracy"] for seed in range(20)]
        return float(sum(ends)) / 20

    assert mean(best) > mean(best.replace(**setting))


def test_a_learning_rate_far_too_high_diverges(tmp_path: Path) -> None:
    wild = TrialConfig("Digits", "MLP", "real", optimizer="SGD", lr=1e4, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(DivergedError, match="simulated"):
        reports(wild, tmp_path)


def test_a_run_reports_what_training_reports(tmp_path: Path) -> None:
    told = reports(BOP.replace(test=True), tmp_path)
    assert [entry["epoch"] for entry in told] == [1, 2, 3, 4, 5, 6, 6]
    first, final = told[0], told[-1]
    for name in ("train_loss", "val_accuracy", "val_accuracy_top5", "flip_rate", "lr", "train_seconds"):
        assert isinstance(first[name], float)
    parts = [value for name, value in first.items() if name.startswith("memory_")]
    assert sum(parts) == first["peak_memory_bytes"] > 0
    assert final["status"] == "completed"
    assert "test_accuracy" in final
    assert "test_accuracy" not in first


def test_a_run_that_was_stopped_goes_on_and_tells_its_earlier_epochs_again(tmp_path: Path) -> None:
    whole = reports(BOP, tmp_path / "whole")
    asked = iter([False, False, True])
    before = reports(BOP, tmp_path / "cut", stopped=lambda: next(asked))
    assert before == whole[:3]
    after = reports(BOP, tmp_path / "cut")
    assert after[:3] == [{**entry, "replayed": True} for entry in before]
    assert after[3:] == whole[3:]


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    reports(BOP, tmp_path)
    with pytest.raises(UserError, match="belongs to another run"):
        reports(BOP.replace(seed=2), tmp_path)
    (tmp_path / "checkpoints" / "simulated.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        reports(BOP, tmp_path)


def test_a_run_above_the_device_memory_is_out_of_memory(tmp_path: Path) -> None:
    need = reports(BOP, tmp_path / "free")[0]["peak_memory_bytes"]
    for memory, fits in ((need, True), (need - 1, False)):
        folder = tmp_path / str(memory)
        folder.mkdir()
        path = write_simulation(folder, study_of("bop"), SYNTHETIC, memory)
        if fits:
            reports(BOP, folder / "run", str(path))
        else:
            with pytest.raises(MemoryError, match="are predicted"):
                reports(BOP, folder / "run", str(path))


def test_a_recorded_curve_is_that_of_the_nearest_configuration_of_the_cell(tmp_path: Path) -> None:
    write_log(tmp_path / "real", BOP.replace(lr=0.01), [0.5, 0.6], "completed", 0)
    write_log(tmp_path / "real", BOP.replace(lr=0.0001), [0.1, 0.2], "completed", 1)
    write_log(tmp_path / "real", BOP.replace(lr=1.0), [0.3], "diverged", 2)
    assert len(recorded_runs(tmp_path / "real")) == 3
    (tmp_path / "new").mkdir()
    source = str(write_simulation(tmp_path / "new", study_of("bop"), str(tmp_path / "real")))
    assert simulated_tag(source) == {"simulated": "recorded"}

    def accuracies(lr: float, name: str) -> list[float]:
        told = reports(BOP.replace(lr=lr, epochs=3), tmp_path / name, source, trial_id="Digits-MLP-bop-search-0007")
        return [entry["val_accuracy"] for entry in told[:3]]

    assert accuracies(0.02, "a") == [0.5, 0.6, 0.6]
    assert accuracies(0.0002, "b") == [0.1, 0.2, 0.2]
    with pytest.raises(DivergedError, match="epoch 2"):
        accuracies(2.0, "c")


def test_curves_of_a_cell_that_was_not_recorded_are_refused(tmp_path: Path) -> None:
    write_log(tmp_path / "real", BOP, [0.5], "completed")
    with pytest.raises(UserError, match="no recorded epoch of Digits-MLP-binary, only of Digits-MLP-bop"):
        write_simulation(tmp_path, study_of("bop", "binary"), str(tmp_path / "real"))
    with pytest.raises(UserError, match="the log of a study"):
        write_simulation(tmp_path, study_of("bop"), str(tmp_path / "nowhere"))


def test_another_simulation_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    write_simulation(tmp_path, study_of("bop"), SYNTHETIC)
    write_simulation(tmp_path, study_of("bop"), SYNTHETIC)
    with pytest.raises(UserError, match="with another memory"):
        write_simulation(tmp_path, study_of("bop"), SYNTHETIC, 2**30)


def test_a_simulated_study_needs_no_data_and_one_cpu() -> None:
    own = make_cell("/nowhere/own", "MLP", "bop", fixed={}, search=SearchConfig(), resources=ResourcesConfig(4, 4))
    (cell,) = simulated_study(StudyConfig("own", (own,))).cells
    assert (cell.base.workers, cell.base.threads, cell.base.device) == (1, 1, "cpu")
    assert cell.base.image_size
    assert cell.name == own.name


def test_simulated_and_trained_runs_never_share_a_folder(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "a", simulated=SYNTHETIC).create()
    StudyFolder(tmp_path / "b").create()
    assert StudyFolder(tmp_path / "a", simulated=SYNTHETIC).simulation is not None
    assert StudyFolder(tmp_path / "b").simulation is None
    with pytest.raises(UserError, match="of synthetic curves, not of trained runs; the two never mix"):
        StudyFolder(tmp_path / "a")
    with pytest.raises(UserError, match="of trained runs, not of recorded curves"):
        StudyFolder(tmp_path / "b", simulated="recorded")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--simulate", "--download"], "--download means nothing with --simulate"),
        (["--simulate", "--check"], "--check means nothing with --simulate"),
        (["--device-memory", "1GiB"], "--device-memory belongs to --simulate"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "quickstart", *options, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_a_whole_study_runs_simulated_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.record.runs_table import read_study

    monkeypatch.chdir(tmp_path)
    arguments = ["run", "quickstart", "--simulate", "--trials", "4", "--output", "out", "--data-root", "nowhere"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "SIMULATED" in said
    assert said.index("report: ") < said.index("results: "), "the report is named first"
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "SIMULATED" in page and "name: quickstart" in page  # the study file itself
    records = read_study("out")
    assert all(tags["simulated"] == SYNTHETIC for tags in records.sweeps.values())
    assert records.table.num_rows == 5 * 4 + 1 + 6 * 3  # `frozen` has nothing to search
    assert not list((tmp_path / "out" / "runs").rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_a_study_searches_again_where_repeats_are_added_and_says_that_it_did_so_after_a_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.record.runs_table import read_study
    from tests.study.small_study import content

    monkeypatch.chdir(tmp_path)
    search = {"trials": 3, "asha": False, "sampler": "random"}

    def run(folder: str, **more: Any) -> dict[str, tuple[Any, ...]]:
        Path("study.yaml").write_text(json.dumps(content(search={**search, **more}, resources={"at_once": 1})))
        assert main(["run", "study.yaml", "--simulate", "--output", folder]) == 0
        rows = read_study(folder).table.to_pylist()
        return {row["trial_id"]: (row["val_accuracy"], row["test_accuracy"], row["attempts"]) for row in rows}

    once = run("out")
    twice = run("out", repeats=2)
    assert len(once) == 2 * (3 + 2) and len(twice) == 2 * len(once)
    assert {name: twice[name] for name in once} == once  # what was there ran no second time
    shown = capsys.readouterr().out
    assert "2x2" in shown and "after 4 test accuracies had been seen: search repeat 2 (§4.7)" in shown
