"""A relative path means the same in every process of a command: it is from where the command was given."""

import os
from pathlib import Path

import pytest

from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.working_folder import enter, relative_paths, working_folder

CONFIG = TrialConfig("my_pictures", "MLP", "bop")


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # which is undone after the test


@pytest.mark.usefixtures("back")
def test_a_worker_enters_the_folder_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    told = Attempt.from_dict(Attempt(working_folder=str(tmp_path / "there")).to_dict())
    enter(told.working_folder, CONFIG)
    assert os.getcwd() == str(tmp_path / "there")


@pytest.mark.usefixtures("back")
def test_an_attempt_knows_where_its_command_was_given_also_where_that_is_gone(tmp_path: Path) -> None:
    assert Attempt().working_folder == str(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert working_folder() == ""
    enter("", CONFIG)


def test_a_machine_without_that_folder_is_an_error_where_a_path_is_relative() -> None:
    with pytest.raises(UserError, match=r"data_root 'data', dataset 'my_pictures' is relative to it; give absolute"):
        enter("/nowhere", CONFIG)
    enter("/nowhere", CONFIG.replace(dataset="/data/pictures", data_root="/data"))


def test_a_name_of_the_catalog_is_no_path() -> None:
    assert relative_paths(CONFIG.replace(dataset="Digits", data_root="/data")) == []
    assert relative_paths(CONFIG.replace(dataset="Digits", data_root="~/data", model="BCDNet", pretrained="x.pth")) == [
        "pretrained 'x.pth'"
    ]
