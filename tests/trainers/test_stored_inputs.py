"""Prepared data and pretrained files in shared storage: put there once, cached a machine, verified by hash."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers import run_data
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.errors import DataChangedError
from trainers.host import run_local
from trainers.run_data import data_of, pretrained_file
from trainers.run_place import RunPlace
from trainers.storage import Storage
from trainers.stored_inputs import bring_inputs, cache_folder, share_inputs

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("trainers.verified.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(run_data, "_data", {})
    monkeypatch.setattr(run_data, "_files", {})


@pytest.fixture
def config(digits: MakeConfig, tmp_path: Path) -> TrialConfig:
    """Of a run whose data lie under a path that only the command's machine has."""
    prepare("Digits", tmp_path / "head")
    return digits(data_root=str(tmp_path / "head"), epochs=1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "storage").mkdir()
    return Storage(str(tmp_path / "storage"))


def elsewhere(config: TrialConfig, storage: Storage) -> RunPlace:
    """What a run is told, when the machine has no longer what the command's has."""
    inputs = share_inputs(storage, [config])
    shutil.rmtree(config.data_root)
    return RunPlace(storage.uri, "studies/s", "id", "t", inputs)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("train-*.arrow"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_run_reads_what_storage_has_brought(config: TrialConfig, storage: Storage, tmp_path: Path) -> None:
    fingerprint, expected = data_of(config).fingerprint, run_local(config, tmp_path / "whole")
    place = elsewhere(config, storage)
    got = run_local(config, tmp_path / "node" / "runs" / "t", attempt=Attempt(place=place))
    assert got["val_accuracy"] == expected["val_accuracy"] and got["train_loss"] == expected["train_loss"]
    assert data_of(config).fingerprint == fingerprint and data_of(config).path.is_relative_to(cache_folder())


def test_data_are_sent_once_and_the_manifest_comes_last(
    config: TrialConfig, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    upload = Storage.upload
    monkeypatch.setattr(Storage, "upload", lambda *given: sent.append(given[2]) or upload(*given))
    share_inputs(storage, [config, config.replace(seed=2)])
    assert sent[-1].endswith("/manifest.json") and len(sent) == len(set(sent)) == 3
    share_inputs(storage, [config])
    assert len(sent) == 3


def test_a_machine_fetches_once(config: TrialConfig, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    place = elsewhere(config, storage)
    bring_inputs(config, place)
    monkeypatch.setattr(Storage, "download", lambda *given: pytest.fail("fetched again"))
    bring_inputs(config, place)


def test_a_machine_that_has_the_data_where_the_command_has_them_fetches_nothing(
    config: TrialConfig, storage: Storage
) -> None:
    bring_inputs(config, RunPlace(storage.uri, "studies/s", "id", "t", share_inputs(storage, [config])))
    assert not cache_folder().exists() and data_of(config).path.is_relative_to(config.data_root)


def test_a_flipped_byte_in_the_cache_is_found_and_fetched_anew(config: TrialConfig, storage: Storage) -> None:
    place = elsewhere(config, storage)
    bring_inputs(config, place)
    (shard,) = shards(cache_folder())
    content = shard.read_bytes()
    flip(shard)
    bring_inputs(config, place)
    assert shard.read_bytes() == content


def test_a_flipped_byte_in_storage_is_named_with_the_remedy(config: TrialConfig, storage: Storage) -> None:
    place = elsewhere(config, storage)
    (shard,) = shards(Path(storage.uri))
    flip(shard)
    with pytest.raises(DataChangedError, match=rf"{shard.name} in the storage .* is not what was put there"):
        bring_inputs(config, place)
    assert not shards(cache_folder())
    shard.unlink()
    with pytest.raises(DataChangedError, match="is not there any more"):
        bring_inputs(config, place)


def test_a_pretrained_file_keeps_its_name_and_the_runs_identity(
    config: TrialConfig, storage: Storage, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth.tar"
    file.write_bytes(b"weights")
    config = config.replace(pretrained=str(file))
    place = elsewhere(config, storage)
    file.unlink()
    bring_inputs(config, place)
    here = pretrained_file(config)
    assert here is not None and here.read_bytes() == b"weights" and here.name == file.name
    assert here.is_relative_to(cache_folder())


def test_data_of_ones_own_need_no_source_on_the_machine(digits: MakeConfig, storage: Storage, tmp_path: Path) -> None:
    own = tmp_path / "own"
    for name in ("cats", "dogs"):
        (own / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(np.full((8, 8), 31 * number, np.uint8)).save(own / name / f"{number}.png")
    config = digits(data_root=str(tmp_path / "head")).replace(dataset=str(own))
    prepare(own, tmp_path / "head", image_size=8)
    fingerprint, name = data_of(config).fingerprint, data_of(config).name
    place = RunPlace(storage.uri, "studies/s", "id", "t", share_inputs(storage, [config]))
    shutil.rmtree(tmp_path / "head")
    shutil.rmtree(own)
    bring_inputs(config, place)
    assert (data_of(config).fingerprint, data_of(config).name) == (fingerprint, name)
