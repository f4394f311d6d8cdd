"""What memory a study takes is known from its file alone, for the most demanding trial that a search may try."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from study.cli.command_line import main
from study.define.cells import Cell, ResourcesConfig, SearchConfig, StudyConfig, make_cell
from study.define.memory_plan import (
    CONTEXT_BYTES,
    GIB,
    MIB,
    PROCESS_BYTES,
    Need,
    most_classes,
    need_of_cell,
    needs_of_cells,
    parse_bytes,
    plan,
)
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES, MemoryReport

SMALL = {"hid_dim": 64, "depth": 2, "batch_size": 8, "image_size": 8}


def cell(method: str = "binary", dataset: str = "MNIST", **search: Any) -> Cell:
    resources = ResourcesConfig(device="cpu")
    return make_cell(dataset, "MLP", method, fixed=SMALL, search=SearchConfig(**search), resources=resources)


def need(peak: int, workers: int = 1) -> Need:
    return Need("a run", MemoryReport(**{**dict.fromkeys(CATEGORIES, 0), "workspace": peak}), workers)


def test_a_run_needs_its_peak_and_its_process_for_every_worker() -> None:
    assert need(GIB).bytes() == GIB + PROCESS_BYTES
    assert need(GIB, workers=2).bytes() == 2 * (GIB + PROCESS_BYTES)
    assert need(GIB, workers=2).bytes(on_gpu=True) == 1.25 * GIB + CONTEXT_BYTES, "each worker has a GPU of its own"
    assert need(GIB).side_by_side(8 * GIB) == 5


def test_a_search_over_optimizers_needs_what_the_most_demanding_one_does() -> None:
    sgd, adam, either = (need_of_cell(cell(method)) for method in ("real-SGD", "real-Adam", "real"))
    assert either.peak == adam.peak
    assert adam.peak.total > sgd.peak.total
    only_sgd = need_of_cell(cell("real", ranges={"real": {"optimizer": ["SGD"]}}))
    assert only_sgd.peak == sgd.peak


def test_cells_that_differ_in_classes_alone_share_the_larger_prediction() -> None:
    pets, flowers = cell(dataset="OxfordPets"), cell(dataset="OxfordFlowers")  # 37 and 102 classes
    needs = needs_of_cells([pets, flowers])
    assert needs[pets.name].peak == needs[flowers.name].peak == need_of_cell(flowers).peak
    assert need_of_cell(pets).peak.total < need_of_cell(flowers).peak.total
    assert needs[pets.name].what == pets.name


def test_cells_that_differ_in_how_their_data_are_split_share_it_too() -> None:
    pets, flowers = cell(dataset="OxfordPets"), cell(dataset="OxfordFlowers")
    pets = dataclasses.replace(pets, base=pets.base.replace(val_fraction=0.25, train_per_class=20))
    assert most_classes([pets, flowers]) == {pets.name: 102, flowers.name: 102}
    wider = dataclasses.replace(flowers, base=flowers.base.replace(hid_dim=128))
    assert most_classes([pets, wider]) == {pets.name: 37, flowers.name: 102}


def test_a_plan_has_a_line_a_cell_whose_categories_add_up_and_says_what_does_not_fit() -> None:
    study = StudyConfig("small", (cell("binary"), cell("real-Adam")))
    _, titles, *lines = plan(study, 900 * MIB)
    assert titles.split()[:3] == ["cell", "batch", "total"]
    for line, one in zip(lines, study.cells, strict=True):
        name, batch, total, *parts, fit = line.split()
        assert (name, batch, fit) == (one.name, "8", "2")
        assert sum(map(float, parts)) == pytest.approx(float(total), abs=0.5)
        assert len(parts) == len(CATEGORIES)
    *_, last = plan(study, 300 * MIB)
    assert " 0 (lacks 100." in last and last.endswith("MiB of 300.0 MiB)")


def test_the_command_line_plans_without_any_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: tiny\ncells: [{datasets: [MNIST], models: [MLP], methods: [bop]}]\n"
        "fixed: {hid_dim: 64, depth: 2, batch_size: 8, image_size: 8}\n"
    )
    assert main(["plan", str(file), "--device-memory", "1 GiB"]) == 0
    assert "MNIST-MLP-bop" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [file]
    assert main(["plan", str(file), "--device_memory", "lots"]) == 2
    assert "'lots' is not an amount of memory; give one such as 16GiB" in capsys.readouterr().err


def test_what_cannot_fit_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainers.data.prepare import prepare

    prepare("Digits", str(tmp_path))
    monkeypatch.setattr("study.drive.placement.machine_memory", lambda: 100 * MIB)
    settings = ["--hid_dim", "64", "--batch_size", "64", "--device", "cpu", "--data_root", str(tmp_path)]
    for command in (["sweep", "--algorithm", "bop"], ["train", "--algorithm", "real"]):
        output = tmp_path / command[0]
        run = [*command, "--dataset", "Digits", "--model", "MLP", *settings, "--output", str(output)]
        assert main(run) == 2
        error = capsys.readouterr().err
        assert "Digits-MLP-" in error and "more than the 100.0 MiB of the machine; lower batch_size" in error
        assert not (output / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GiB", 16 * GIB),
        ("16 gib", 16 * GIB),
        ("24GB", 24 * 10**9),
        ("1.5k", 1500),
        ("1000000", 10**6),
        ("2 MiB", 2 * MIB),
    ],
)
def test_amounts_of_memory_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "16 GiBs", "1e9"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not an amount of memory"):
        parse_bytes(text)
