"""A node's data are held against what the study began with before a run trains there (PROTOCOL §2.3)."""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers import verified
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.data.store import verify_prepared
from trainers.errors import DataChangedError
from trainers.host import run_local
from trainers.node_data import check_data
from trainers.run_data import data_of
from trainers.verified import sha256_once

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read through."""
    read, whole = list[str](), verified.file_sha256
    monkeypatch.setattr(verified, "file_sha256", lambda file: read.append(Path(file).name) or whole(file))
    return read


@pytest.fixture
def config(digits: MakeConfig, digits_root: Path, tmp_path: Path) -> TrialConfig:
    """A run on data of its own, which a test may damage."""
    shutil.copytree(digits_root, tmp_path / "data")
    return digits(data_root=str(tmp_path / "data"))


def expected(config: TrialConfig) -> dict[str, str]:
    data = data_of(config)
    return {"data": data.fingerprint, "test_set": data.test_set}


def test_every_file_is_read_once_a_node_until_it_changes(config: TrialConfig, reads: list[str]) -> None:
    folder = data_of(config).path
    verify_prepared(folder, sha256_once)
    first = list(reads)
    assert first and len(first) == len(set(first))
    verify_prepared(folder, sha256_once)
    assert reads == first
    os.utime(folder / first[0])
    verify_prepared(folder, sha256_once)
    assert reads == [*first, first[0]]


def test_a_flipped_byte_ends_a_run_before_it_trains_and_names_file_and_node(
    config: TrialConfig, tmp_path: Path
) -> None:
    known = expected(config)
    check_data(config, known)
    shard = next((tmp_path / "data").rglob("train-*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataChangedError, match=rf"on node {platform.node()}: .*{shard.name}.*no run is lost"):
        run_local(config, tmp_path / "run", attempt=Attempt(expected_data=known))
    assert not list((tmp_path / "run").iterdir())


def test_other_data_under_the_same_path_on_a_node_are_named(config: TrialConfig) -> None:
    with pytest.raises(DataChangedError, match=r"are not those that the study began with \(data was 000000000000"):
        check_data(config, {**expected(config), "data": "0" * 64})


def test_a_replaced_pretrained_file_on_a_node_is_named(config: TrialConfig, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    config = config.replace(pretrained=str(file))
    known = {"pretrained_sha256": sha256_once(file)}
    check_data(config, known)
    file.write_bytes(b"other")
    with pytest.raises(DataChangedError, match=r"weights\.safetensors is another one than the study began with"):
        check_data(config, known)
    file.unlink()
    with pytest.raises(DataChangedError, match=r"weights\.safetensors"):
        check_data(config, known)


def test_notes_that_others_could_write_are_not_believed(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / f"binsfo-verified-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"binsfo-verified-{os.getuid()}").chmod(0o777)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert sha256_once(file) == sha256_once(file)
    assert reads == ["file", "file"]


def test_nothing_is_checked_where_nothing_was_recorded(config: TrialConfig) -> None:
    check_data(config.replace(dataset="MNIST"), {})
