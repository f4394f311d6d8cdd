"""A study's folder: whose it is, and what may be added to it."""

import json
from pathlib import Path

import pytest

from study.record.folder import StudyFolder, study_identity
from study.record.tracking_uri import default_tracking_uri
from trainers.errors import UserError

CELL = {"epochs": 10, "lr": 0.1, "ranges": {"lr": (1e-3, 1.0)}}


def test_a_new_folder_is_named_after_itself_unless_told_otherwise(tmp_path: Path) -> None:
    assert StudyFolder(tmp_path / "alpha").name == "alpha"
    assert StudyFolder(tmp_path / "beta", name="gamma").create().name == "gamma"
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
    StudyFolder(tmp_path, name="one").create()
    with pytest.raises(UserError, match="holds the study 'one', not 'two'"):
        StudyFolder(tmp_path, name="two")


def test_a_study_can_be_shown_elsewhere_at_any_time(tmp_path: Path) -> None:
    """MLflow is a view, so a mistyped address is mended by giving the right one."""
    StudyFolder(tmp_path, tracking_uri="http://one").claim({"a": CELL})
    assert StudyFolder(tmp_path).tracking_uri == "http://one"
    StudyFolder(tmp_path, tracking_uri="http://two").create()
    assert StudyFolder(tmp_path).tracking_uri == study_identity(tmp_path).tracking_uri == "http://two"
    StudyFolder(tmp_path, tracking_uri=default_tracking_uri(tmp_path)).create()
    assert study_identity(tmp_path).recorded_uri is None, "or a copy of the folder would be shown in the original's"


@pytest.mark.parametrize("uri", ["htp://one", "http://anna:s3cret@host", "mysql://host/db"])
def test_a_refused_folder_leaves_nothing_behind(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="tracking URI"):
        StudyFolder(tmp_path / "a" / "b", tracking_uri=uri)
    StudyFolder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    folder = StudyFolder(tmp_path / "study").create()
    before = (folder.path / "study.json").read_text()
    with pytest.raises(UserError, match="tracking URI"):
        StudyFolder(tmp_path / "study", tracking_uri=uri)
    assert (folder.path / "study.json").read_text() == before


def test_a_studys_id_stays_and_no_two_studies_share_one(tmp_path: Path) -> None:
    one, two = (StudyFolder(tmp_path / place / "same").create().study_id for place in ("a", "b"))
    assert one != two and len(one) == 32
    assert StudyFolder(tmp_path / "a" / "same").study_id == study_identity(tmp_path / "a" / "same").study_id == one


def test_a_folder_of_before_ids_gets_one_when_it_is_opened_for_writing(tmp_path: Path) -> None:
    StudyFolder(tmp_path).claim({"a": CELL})
    content = json.loads((tmp_path / "study.json").read_text())
    del content["id"]
    (tmp_path / "study.json").write_text(json.dumps(content))
    assert study_identity(tmp_path).study_id is None
    folder = StudyFolder(tmp_path)
    folder.claim({"a": CELL})
    assert study_identity(tmp_path).study_id == folder.study_id


def test_the_kind_of_runs_is_taken_from_the_folder_where_none_is_asked_for(tmp_path: Path) -> None:
    StudyFolder(tmp_path, simulated="synthetic").create()
    assert StudyFolder(tmp_path, simulated=None).simulated == "synthetic"


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
