"""Methods are compared on one task (PROTOCOL §2.3, §4.4), and a study goes on with the data that it began with."""

from pathlib import Path

import pytest

from study.define.cells import Cell
from study.define.workload import (
    refuse_unequal_workloads,
    settings_of_workload,
    unequal,
    unequal_settings,
    workloads_of,
)
from study.record.folder import StudyFolder
from tests.study.small_study import load
from trainers.data.prepare import prepare
from trainers.errors import UserError

BLOCK = {"datasets": ["Digits"], "models": ["MLP"]}


def digits(tmp_path: Path, **fixed: object) -> tuple[Cell, ...]:
    (tmp_path / "data").mkdir(exist_ok=True)
    prepare("Digits", tmp_path / "data")
    file = load(tmp_path, fixed={"epochs": 2, "hid_dim": 64, "batch_size": 96, "image_size": 8, **fixed})
    import dataclasses

    root = str(tmp_path / "data")
    return tuple(dataclasses.replace(cell, base=cell.base.replace(data_root=root)) for cell in file.cells)


def test_a_block_of_another_depth_is_refused_with_both_depths(tmp_path: Path) -> None:
    blocks = [{**BLOCK, "methods": ["binary"]}, {**BLOCK, "methods": ["bop"], "fixed": {"depth": 3}}]
    lines = unequal_settings(load(tmp_path, cells=blocks).cells)
    assert lines == ["Digits, MLP: depth is 4 for binary; 3 for bop"]
    with pytest.raises(
        UserError, match=r"do not have the same task .*depth is 4 for binary; 3 for bop.*--allow-unequal"
    ):
        refuse_unequal_workloads(lines)


@pytest.mark.parametrize("name, value", [("batch_size", 48), ("val_fraction", 0.2), ("image_size", 16), ("xnor", True)])
def test_every_setting_of_the_task_is_held_equal(tmp_path: Path, name: str, value: object) -> None:
    fixed = {"epochs": 6, "hid_dim": 64, "batch_size": 96}
    blocks = [
        {**BLOCK, "methods": ["binary"], "fixed": fixed},
        {**BLOCK, "methods": ["bop"], "fixed": {**fixed, name: value}},
    ]
    (line,) = unequal_settings(load(tmp_path, cells=blocks, fixed={}).cells)
    assert ("weight_scale" if name == "xnor" else name) in line and "for binary" in line and "for bop" in line


def test_what_matters_for_memory_alone_may_differ(tmp_path: Path) -> None:
    blocks = [{**BLOCK, "methods": ["binary"]}, {**BLOCK, "methods": ["bop"], "fixed": {"activation_memory": "packed"}}]
    assert not unequal_settings(load(tmp_path, cells=blocks).cells)


def test_equal_workloads_are_no_difference(tmp_path: Path) -> None:
    assert not unequal_settings(load(tmp_path).cells)
    assert unequal({("a", "b", "c"): {"x": 1}, ("a", "other", "d"): {"x": 2}}) == []


def test_a_workload_says_what_its_data_are(tmp_path: Path) -> None:
    cells = digits(tmp_path)
    found = workloads_of(cells)
    assert found[cells[0].name] == found[cells[1].name]
    one = found[cells[0].name]
    assert one["train_images"] > one["validation_images"] > 0 and one["test_images"] > 0
    assert len(one["data"]) == 64 and len(one["test_set"]) == 16
    assert settings_of_workload(cells[0]).items() <= one.items()


def test_a_flipped_byte_in_prepared_data_is_found_before_training_and_named(tmp_path: Path) -> None:
    cells = digits(tmp_path)
    shard = next((tmp_path / "data").rglob("train-*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"{shard.name} does not match its checksum"):
        workloads_of(cells)


def test_other_data_under_the_same_path_are_found_before_training_and_named(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study", name="s")
    cells = digits(tmp_path)
    identity, began = {cells[0].name: cells[0].identity()}, workloads_of(cells[:1])
    folder.claim(identity, workloads=began)
    StudyFolder(tmp_path / "study").claim(identity, workloads=began)
    before = (tmp_path / "study" / "study.json").read_text()
    other = {cells[0].name: {**began[cells[0].name], "data": "0" * 64}}
    with pytest.raises(
        UserError, match=r"is not what its study began with: data was \w+, now 0000.*Nothing was trained"
    ):
        StudyFolder(tmp_path / "study").claim(identity, workloads=other)
    assert (tmp_path / "study" / "study.json").read_text() == before


def test_a_replaced_pretrained_file_is_found_before_training_and_named(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study", name="s")
    folder.claim({"c": {}}, workloads={"c": {"pretrained_sha256": "a" * 64}})
    with pytest.raises(UserError, match="pretrained sha256 was aaaa"):
        folder.claim({"c": {}}, workloads={"c": {"pretrained_sha256": "b" * 64}})


def test_a_study_of_before_workloads_were_recorded_goes_on_and_records_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study", name="s")
    folder.claim({"c": {}})
    folder.claim({"c": {}}, workloads={"c": {"data": "x"}})
    assert StudyFolder(tmp_path / "study").workload("c") == {"data": "x"}
