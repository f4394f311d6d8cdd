"""Names that come from users stay names: none leads out of the study's folder, or is a path where a name is meant."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.cli.export import find_run
from study.define.cells import ResourcesConfig, SearchConfig, StudyConfig, dataset_label, make_cell
from study.record.folder import StudyFolder
from study.search.journal_search import search_trial_id
from trainers.config import TrialConfig
from trainers.data.locate import DatasetChoice
from trainers.data.prepared_folders import folder_name
from trainers.data.store import read_manifest
from trainers.errors import UserError
from trainers.registry import cell_methods

nasty = st.sampled_from(
    [
        *("..", ".", "/", "\\", "../..", "/etc/passwd", "a/../../b", "..\\..\\b", "~", "~root", "$HOME", "a\0b", "-rf"),
        *("con", "a" * 300, "ü" * 300, "图" * 100, "\u202e", "\ud800", "a\nb", "%2e%2e%2f", "{0}", "%s", " ", ""),
    ]
)
names = st.lists(nasty | st.text(max_size=5), max_size=4).map("".join)
many = settings(max_examples=300, derandomize=True, database=None, deadline=None)


def is_one_name(text: str) -> bool:
    """Whether a text can only be an entry of a folder."""
    return text not in ("", ".", "..") and not set(text) & {"/", "\\", "\0"} and len(os.fsencode(text)) <= 200


@many
@given(dataset=names, method=st.sampled_from(cell_methods()))
def test_a_cell_and_its_trials_have_names_that_stay_in_the_folder(dataset: str, method: str) -> None:
    try:
        search = SearchConfig()
        cell = make_cell(dataset, "MLP", method, fixed={}, search=search, resources=ResourcesConfig())
    except UserError:
        return
    for name in (cell.name, search_trial_id(cell, 7)):
        assert is_one_name(name), name


@many
@given(dataset=names)
def test_a_data_sets_label_is_one_name(dataset: str) -> None:
    try:
        TrialConfig(dataset, "MLP", "bop")
    except UserError:
        return
    assert is_one_name(dataset_label(dataset))


@many
@given(name=names)
def test_a_study_is_named_by_a_plain_name_or_refused(name: str) -> None:
    try:
        StudyConfig(name, ())
    except UserError:
        return
    assert is_one_name(name)
    assert not name.startswith((".", "-"))


@many
@given(stem=names)
def test_prepared_data_of_any_name_lie_in_the_prepared_folder(stem: str) -> None:
    own = stem.replace("/", "").replace("\0", "").encode("utf-8", "surrogateescape" if stem.isascii() else "ignore")
    name = os.fsdecode(own)[:80]
    choice = DatasetChoice(name or "x", None, Path("/somewhere") / (name or "x"))
    made = folder_name(choice, 8)
    assert Path(made).name == made
    assert len(os.fsencode(made + ".lock.partial")) <= 255


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one run that has a checkpoint, and a folder outside of it that has one too."""
    base = tmp_path_factory.mktemp("names")
    for folder in (base / "study" / "runs" / "one", base / "outside"):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.safetensors").touch()
    StudyFolder(base / "study", name="names").create()
    assert find_run("one", str(base / "study")) == (base / "study" / "runs" / "one").resolve()
    return base / "study"


@many
@given(run=names)
def test_only_a_run_of_the_study_is_exported(run: str, study: Path) -> None:
    for name in (run, f"../../outside{run}"):
        with pytest.raises(UserError):
            find_run(name, str(study))


@pytest.mark.parametrize("file", ["../../a.arrow", "/etc/passwd", "train-00000.arrow/../../x", "..", "", "train.arrow"])
def test_a_manifest_names_no_file_outside_its_folder(file: str, tmp_path: Path) -> None:
    shard = {"file": file, "rows": 1, "size": 1, "sha256": "0", "content": "0"}
    manifest: dict[str, Any] = {
        "dataset": "x",
        "image_size": 8,
        "native_size": 8,
        "channels": 1,
        "class_names": ["../a", "b"],
        "storage": "decoded",
        "options": {"split_seed": 0, "test_fraction": None},
        "source": "x",
        "source_fingerprint": "x",
        "shards": {"train": [shard], "test": [shard]},
        "format_version": 1,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="is damaged"):
        read_manifest(tmp_path)
