"""A study's folder: whose it is, and what may be added to it."""

import json
from pathlib import Path

import pytest

from study.record.folder import StudyFolder
from trainers.errors import UserError

CELL = {"epochs": 10, "lr": 0.1, "ranges": {"lr": (1e-3, 1.0)}}


def test_a_new_folder_is_named_after_itself_unless_told_otherwise(tmp_path: Path) -> None:
    assert StudyFolder(tmp_path / "alpha").name == "alpha"
    assert StudyFolder(tmp_path / "beta", name="gamma").name == "gamma"
    assert json.loads((tmp_path / "beta" / "study.json").read_text())["name"] == "gamma"


def test_the_same_cell_with_the_same_settings_is_let_in_again(tmp_path: Path) -> None:
    StudyFolder(tmp_path).claim({"a": CELL})
    StudyFolder(tmp_path).claim({"a": CELL})


def test_further_cells_extend_a_study(tmp_path: Path) -> None:
    StudyFolder(tmp_path).claim({"a": CELL})
    StudyFolder(tmp_path).claim({"b": {**CELL, "lr": 0.2}})
    assert set(json.loads((tmp_path / "study.json").read_text())["cells"]) == {"a", "b"}


def test_another_configuration_is_refused_by_name_and_nothing_is_entered(tmp_path: Path) -> None:
    StudyFolder(tmp_path).claim({"a": CELL})
    before = (tmp_path / "study.json").read_text()
    with pytest.raises(UserError, match=r"configuration of a: epochs was 10, now 20.*another --output"):
        StudyFolder(tmp_path).claim({"b": CELL, "a": {**CELL, "epochs": 20}})
    assert (tmp_path / "study.json").read_text() == before


def test_a_setting_that_came_later_makes_no_other_study_at_its_default(tmp_path: Path) -> None:
    StudyFolder(tmp_path).claim({"a": CELL})
    StudyFolder(tmp_path).claim({"a": {**CELL, "bop_momentum_bits": 32}})
    other = tmp_path / "other"
    StudyFolder(other).claim({"a": CELL})
    with pytest.raises(UserError, match="bop_momentum_bits was 32, now 16"):
        StudyFolder(other).claim({"a": {**CELL, "bop_momentum_bits": 16}})


def test_another_study_s_folder_is_refused(tmp_path: Path) -> None:
    StudyFolder(tmp_path, name="one")
    with pytest.raises(UserError, match="holds the study 'one', not 'two'"):
        StudyFolder(tmp_path, name="two")


def test_records_cannot_move_to_another_place_halfway(tmp_path: Path) -> None:
    StudyFolder(tmp_path, tracking_uri="http://one").claim({"a": CELL})
    assert StudyFolder(tmp_path).tracking_uri == "http://one"
    with pytest.raises(UserError, match="recorded in http://one"):
        StudyFolder(tmp_path, tracking_uri="http://two")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        StudyFolder(tmp_path / "file" / "study")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1, "name": 3, "cells": {}, "tracking_uri": null}'])
def test_a_damaged_identity_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json"):
        StudyFolder(tmp_path)
    assert (tmp_path / "study.json").read_text() == text
