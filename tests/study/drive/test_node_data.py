"""A node's data are held against what the study began with before a trial trains there (PROTOCOL §2.3)."""

import os
import platform
from pathlib import Path

import pytest

from study.define.trial_spec import trial_spec
from study.define.workload import expected_data, workloads_of
from study.drive import node_data
from study.drive.node_data import check_data, sha256_once
from study.drive.trial import ended
from study.record.outcomes import ALL_ALIKE, ending
from tests.study.define.test_workload import digits
from trainers.data.loader import open_prepared
from trainers.data.store import verify_prepared
from trainers.errors import DataChangedError


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_data.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read through."""
    read, whole = list[str](), node_data.file_sha256
    monkeypatch.setattr(node_data, "file_sha256", lambda file: read.append(Path(file).name) or whole(file))
    return read


def test_every_file_is_read_once_a_node_until_it_changes(tmp_path: Path, reads: list[str]) -> None:
    (cell, *_) = digits(tmp_path)
    data = open_prepared("Digits", cell.base.data_root, image_size=8)
    verify_prepared(data.path, sha256_once)
    first = list(reads)
    assert first and len(first) == len(set(first))
    verify_prepared(data.path, sha256_once)
    assert reads == first
    os.utime(data.path / first[0])
    verify_prepared(data.path, sha256_once)
    assert reads == [*first, first[0]]


def test_a_flipped_byte_on_a_node_ends_the_trial_before_it_trains_and_names_file_and_node(tmp_path: Path) -> None:
    (cell, *_) = digits(tmp_path)
    expected = expected_data(workloads_of([cell])[cell.name])
    check_data(cell.base, expected)
    shard = next((tmp_path / "data").rglob("train-*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    spec = trial_spec("t", "search", "binary", cell.base, tmp_path / "run", expected_data=expected)
    reports: list[dict[str, object]] = []
    last = ended(spec, reports.append)
    assert last["outcome"] == "data_changed" and not reports and not (tmp_path / "run").exists()
    assert f"on node {platform.node()}" in last["reason"] and shard.name in last["reason"]
    # The trial is not over, so it counts for nothing; and no other is begun.
    assert not ending(last).over and ending(last).outcome in ALL_ALIKE


def test_other_data_under_the_same_path_on_a_node_are_named(tmp_path: Path) -> None:
    (cell, *_) = digits(tmp_path)
    expected = {**expected_data(workloads_of([cell])[cell.name]), "data": "0" * 64}
    with pytest.raises(DataChangedError, match=r"are not those that the study began with \(data was 000000000000"):
        check_data(cell.base, expected)


def test_a_replaced_pretrained_file_on_a_node_is_named(tmp_path: Path) -> None:
    (cell, *_) = digits(tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    config = cell.base.replace(pretrained=str(file))
    expected = {"pretrained_sha256": sha256_once(file)}
    check_data(config, expected)
    file.write_bytes(b"other")
    with pytest.raises(DataChangedError, match=r"weights\.safetensors is another one than the study began with"):
        check_data(config, expected)
    file.unlink()
    with pytest.raises(DataChangedError, match=r"weights\.safetensors"):
        check_data(config, expected)


def test_notes_that_others_could_write_are_not_believed(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / f"binsfo-verified-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"binsfo-verified-{os.getuid()}").chmod(0o777)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert sha256_once(file) == sha256_once(file)
    assert reads == ["file", "file"]


def test_nothing_is_checked_where_nothing_was_recorded(tmp_path: Path) -> None:
    (cell, *_) = digits(tmp_path)
    check_data(cell.base.replace(dataset="MNIST"), {})
