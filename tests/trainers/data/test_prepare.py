"""Preparing: atomic, resumable, checksummed, shared; and what is stored never changes what a run sees."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainers.data import shard_writer
from trainers.data.loader import open_prepared
from trainers.data.prepare import prepare
from trainers.data.store import JOURNAL, MANIFEST, verify_prepared, write_shard
from trainers.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten 12x12 colour pictures a shard."""
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 10 * 3 * 12 * 12)


def everything(dataset: Path, root: Path, size: int) -> list[torch.Tensor]:
    data = open_prepared(dataset, "nowhere", prepared_root=root, image_size=size)
    return [split.images(np.arange(len(split))) for split in map(data.split, ("train", "validation", "test"))]


@pytest.mark.parametrize("size", [8, 12, 31])
def test_a_run_sees_the_same_pixels_whether_stored_decoded_or_encoded(
    small_parquet: Path, tmp_path: Path, size: int
) -> None:
    decoded = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "d", image_size=size)
    encoded = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "e", image_size=size, max_decoded_bytes=0)
    storage = [json.loads((folder / MANIFEST).read_text())["storage"] for folder in (decoded, encoded)]
    assert storage == ["decoded", "encoded"]
    pairs = zip(
        everything(small_parquet, tmp_path / "d", size), everything(small_parquet, tmp_path / "e", size), strict=True
    )
    assert all(torch.equal(one, other) for one, other in pairs)


def test_images_come_back_across_shards_in_the_order_asked_for(
    small_parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(small_parquet, "nowhere", prepared_root=tmp_path / "one")
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 10 * 3 * 12 * 12)
    folder = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "many")
    assert len(list(folder.glob("train-*.arrow"))) == 5
    indices = np.array([40, 3, 17, 3, 0, 29])
    one, many = (open_prepared(small_parquet, "x", prepared_root=tmp_path / name) for name in ("one", "many"))
    assert torch.equal(
        one.split("train", 0.0).images(indices),
        many.split("train", 0.0).images(indices),
    )


def killed_prepare(dataset: Path, root: Path, after: int) -> None:
    """Prepare in a process that SIGKILLs itself once `after` pictures are done."""
    script = f"""
        import os, signal
        from trainers.data import prepare, shard_writer
        shard_writer.SHARD_BYTES = 10 * 3 * 12 * 12
        def progress(done, total, what):
            if what.startswith("preparing") and done >= {after}:
                os.kill(os.getpid(), signal.SIGKILL)
        prepare.prepare({str(dataset)!r}, "nowhere", prepared_root={str(root)!r}, progress=progress)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, check=False)
    assert result.returncode == -signal.SIGKILL


@pytest.mark.integration
def test_a_killed_prepare_leaves_nothing_valid_and_goes_on_where_it_stopped(
    small_parquet: Path, tmp_path: Path, small_shards: None
) -> None:
    root = tmp_path / "prepared"
    killed_prepare(small_parquet, root, after=35)
    (folder,) = (entry for entry in root.iterdir() if entry.is_dir())
    assert not (folder / MANIFEST).exists()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.arrow")}
    assert set(kept) == {f"train-0000{index}.arrow" for index in range(3)}

    assert prepare(small_parquet, "nowhere", prepared_root=root) == folder
    verify_prepared(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert not list(folder.glob("*.partial")) and not (folder / JOURNAL).exists()

    fresh = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "fresh")
    assert (fresh / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()


@pytest.mark.integration
def test_a_shard_damaged_after_the_kill_is_made_again(small_parquet: Path, tmp_path: Path, small_shards: None) -> None:
    root = tmp_path / "prepared"
    killed_prepare(small_parquet, root, after=35)
    (shard,) = root.glob("*/train-00001.arrow")
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    verify_prepared(prepare(small_parquet, "nowhere", prepared_root=root))


@pytest.mark.integration
def test_shards_of_an_edited_source_are_not_mixed_in(
    small_parquet: Path, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
) -> None:
    root = tmp_path / "prepared"
    killed_prepare(small_parquet, root, after=35)
    pictures = [picture(9000 + index) for index in range(48)]
    write_parquet(small_parquet / "train.parquet", pictures, [i % 3 for i in range(48)], class_names=["a", "b", "c"])
    prepare(small_parquet, "nowhere", prepared_root=root)
    prepare(small_parquet, "nowhere", prepared_root=tmp_path / "fresh")
    pairs = zip(everything(small_parquet, root, 12), everything(small_parquet, tmp_path / "fresh", 12), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.integration
def test_two_processes_preparing_the_same_thing_both_succeed(small_parquet: Path, tmp_path: Path) -> None:
    root = tmp_path / "prepared"
    script = (
        "from trainers.data.prepare import prepare; "
        f"print(prepare({str(small_parquet)!r}, 'nowhere', prepared_root={str(root)!r}, image_size=64))"
    )
    command = [sys.executable, "-c", script]
    processes = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1]
    verify_prepared(Path(answers[0]))


def test_preparing_again_does_no_work(small_parquet: Path, tmp_path: Path) -> None:
    folder = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p", image_size=12) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_changed_shard_is_found_by_its_checksum(small_parquet: Path, tmp_path: Path) -> None:
    folder = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p")
    shard = folder / "train-00000.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"train-00000\.arrow does not match its checksum"):
        verify_prepared(folder)


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 100), lambda path: path.unlink()])
def test_a_truncated_or_missing_shard_is_found_on_opening(
    small_parquet: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p")
    damage(folder / "test-00000.arrow")
    with pytest.raises(UserError, match=r"test-00000\.arrow .* prepare again"):
        open_prepared(small_parquet, "nowhere", prepared_root=tmp_path / "p")


def test_a_damaged_manifest_is_named(small_parquet: Path, tmp_path: Path) -> None:
    folder = prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p")
    (folder / MANIFEST).write_text('{"format_version": 1, "dataset"')
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        open_prepared(small_parquet, "nowhere", prepared_root=tmp_path / "p", image_size=12)


def test_other_settings_never_replace_what_is_prepared(tmp_path: Path) -> None:
    prepare("Digits", tmp_path, split_seed=0)
    with pytest.raises(UserError, match="split_seed 0, not 1"):
        prepare("Digits", tmp_path, split_seed=1)


def test_what_was_prepared_from_elsewhere_needs_its_source_no_more(
    tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
) -> None:
    for split in ("train", "test"):
        pictures = [picture(index, (28, 28), "L") for index in range(20)]
        write_parquet(tmp_path / "elsewhere" / f"{split}.parquet", pictures, [index % 10 for index in range(20)])
    folder = prepare("MNIST", tmp_path / "data", source=tmp_path / "elsewhere", image_size=28)
    assert prepare("MNIST", tmp_path / "data", image_size=28, download=True) == folder  # and fetches nothing
    assert open_prepared("MNIST", tmp_path / "data", image_size=28).path == folder


def test_read_only_data_root_prepares_into_the_users_cache(
    small_parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data_root = tmp_path / "data"
    data_root.mkdir()
    data_root.chmod(0o555)
    folder = prepare("Digits", data_root)
    assert folder.is_relative_to(tmp_path / "cache" / "binsfo" / "prepared")
    assert open_prepared("Digits", data_root).path == folder


def test_writable_data_root_holds_its_prepared_data(tmp_path: Path) -> None:
    assert prepare("Digits", tmp_path).parent == tmp_path / "prepared"


def test_read_only_prepared_root_is_refused_before_any_work(small_parquet: Path, tmp_path: Path) -> None:
    root = tmp_path / "locked"
    root.mkdir()
    root.chmod(0o555)

    def no_work(done: int, total: int, what: str) -> None:
        raise AssertionError(what)

    with pytest.raises(UserError, match=r"locked \(read-only\)"):
        prepare(small_parquet, "nowhere", prepared_root=root, progress=no_work)


def test_fingerprint_tells_content_not_place(small_parquet: Path, tmp_path: Path) -> None:
    prints = []
    for name, seed in (("one", 0), ("two", 0), ("three", 5)):
        prepare("Digits", tmp_path, prepared_root=tmp_path / name, split_seed=seed)
        prints.append(open_prepared("Digits", tmp_path, prepared_root=tmp_path / name).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_finished_shards_are_kept_and_gone_on_with_when_the_disk_runs_short(
    small_parquet: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(done: int, total: int, what: str) -> None:
        if what.startswith("preparing") and done >= 35:
            raise KeyboardInterrupt

    root = tmp_path / "prepared"
    with pytest.raises(KeyboardInterrupt):
        prepare(small_parquet, "nowhere", prepared_root=root, progress=interrupted)
    kept = {path.name: path.stat().st_mtime_ns for path in root.glob("*/*.arrow")}
    assert kept
    with monkeypatch.context() as short:
        short.setattr(shard_writer.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
        with pytest.raises(UserError, match=r"its disk has .* shards that are finished are kept"):
            prepare(small_parquet, "nowhere", prepared_root=root)
    assert {path.name: path.stat().st_mtime_ns for path in root.glob("*/*.arrow")} == kept
    folder = prepare(small_parquet, "nowhere", prepared_root=root)
    verify_prepared(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept


def test_a_disk_that_is_too_small_from_the_start_leaves_nothing(
    small_parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="its disk has"):
        prepare(small_parquet, "nowhere", prepared_root=tmp_path / "p")
    assert not [path for path in (tmp_path / "p").iterdir() if path.is_dir()]


def test_a_full_disk_keeps_finished_shards_and_not_the_torn_one(
    small_parquet: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, written = tmp_path / "prepared", []

    def no_room(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(path: Path, *columns: object) -> object:
        if len(written) == 2:
            with full.context() as torn:
                torn.setattr(os, "fsync", no_room)
                return write_shard(path, *columns)
        written.append(path.name)
        return write_shard(path, *columns)

    with monkeypatch.context() as full:
        full.setattr(shard_writer, "write_shard", write)
        with pytest.raises(UserError, match=r"No space left on device.*preparing again goes on where this stopped"):
            prepare(small_parquet, "nowhere", prepared_root=root)
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == [JOURNAL, *written]
    kept = {name: (folder / name).stat().st_mtime_ns for name in written}
    verify_prepared(prepare(small_parquet, "nowhere", prepared_root=root))
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
