"""Pictures of test images: of the data that the runs were tested on, of their classes alone, or none."""

from dataclasses import replace
from pathlib import Path

from study.report.content import read_content
from study.report.pictures import pictures_of
from trainers.data.loader import PreparedData
from trainers.data.locate import choose_dataset
from trainers.data.prepare import prepare


def test_pictures_are_those_of_the_runs_classes_and_test_set(recorded: Path, tmp_path: Path) -> None:
    folder = prepare("Digits", tmp_path)
    content = read_content(recorded)
    group = next(one for one in content.findings.groups if one.dataset == "Digits")
    config = {"data_root": str(tmp_path), "image_size": 8, "classes": "5.."}
    asked = replace(content, configs=dict.fromkeys(content.configs, config))
    test_set = PreparedData(folder, choose_dataset("Digits"), "5..").test_set
    found = pictures_of(asked, group, test_set)
    assert found is not None and found.class_names == ("5", "6", "7", "8", "9")
    assert found.png(0).startswith(b"\x89PNG")
    assert pictures_of(asked, group, "another") is None
