"""What runs read, in shared storage: put there once by the command, fetched by each machine into a cache of its own.

    STORAGE/data/<SHA-256 of the manifest>/manifest.json, *.arrow     a prepared data set; the manifest comes last
    STORAGE/files/<SHA-256>                                           a pretrained file
    <user's cache>/binsfo/storage/...                                 the same on a machine that has fetched it

The manifest names the SHA-256 of every file, so that whoever fetches one knows whether it is what was put there; a
cached file is read through once a machine, and again where it has changed, and fetched anew where it is another.
"""

import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path

from trainers.atomic import clear_partials
from trainers.config import TrialConfig
from trainers.content_names import file_sha256
from trainers.data.prepared_folders import user_cache
from trainers.data.store import MANIFEST, read_manifest
from trainers.errors import DataChangedError
from trainers.locks import locked
from trainers.run_data import bring_data, bring_file, data_key, prepared_folder
from trainers.run_place import RunPlace
from trainers.storage import Storage
from trainers.verified import sha256_once

_REMEDY = "set XDG_CACHE_HOME to a folder on another disk"


def share_inputs(storage: Storage, configs: Iterable[TrialConfig]) -> dict[str, dict[str, str]]:
    """Put the prepared data and pretrained files of these runs into storage, where they are not there yet.

    Returns:
        What `bring_inputs` needs to know: `data`, by data set and size the SHA-256 of the manifest; `files`, by path
        that of the content.

    Raises:
        StorageError: storage cannot be reached. UserError: prepared data are damaged.
    """
    data: dict[str, str] = {}
    files: dict[str, str] = {}
    for config in configs:
        if data_key(config) not in data and (folder := prepared_folder(config)) is not None:
            data[data_key(config)] = _share_data(storage, folder)
        if config.pretrained is not None and config.pretrained not in files:
            file = Path(config.pretrained)
            files[config.pretrained] = found = file_sha256(file)
            if storage.size(f"files/{found}") != file.stat().st_size:
                storage.upload(file, f"files/{found}")
    return {"data": data, "files": files}


def _share_data(storage: Storage, folder: Path) -> str:
    manifest, found = read_manifest(folder), file_sha256(folder / MANIFEST)
    assert manifest is not None  # it is how the folder was found
    place = f"data/{found}"
    if storage.size(f"{place}/{MANIFEST}") is None:
        for shard in (shard for shards in manifest.shards.values() for shard in shards):
            if storage.size(f"{place}/{shard.file}") != shard.size:
                storage.upload(folder / shard.file, f"{place}/{shard.file}")
        storage.upload(folder / MANIFEST, f"{place}/{MANIFEST}")
    return found


def bring_inputs(config: TrialConfig, place: RunPlace | None) -> None:
    """See to it that this process reads the run's data and pretrained file from this machine's disk.

    A machine that has them where the command had them keeps to those.

    Raises:
        DataChangedError: what storage has is not what was put there. StorageError: storage cannot be reached.
    """
    if place is None:
        return
    storage = Storage(place.uri)
    if wanted := place.inputs.get("data", {}).get(data_key(config)):
        bring_data(config, None if _prepared_here(config, wanted) else cached_data(storage, wanted))
    path = config.pretrained
    if path is not None and (wanted := place.inputs.get("files", {}).get(path)):
        here = Path(path)
        bring_file(path, None if here.is_file() and sha256_once(here) == wanted else cached_file(storage, path, wanted))


def _prepared_here(config: TrialConfig, wanted: str) -> bool:
    try:
        folder = prepared_folder(config, brought=False)
        return folder is not None and file_sha256(folder / MANIFEST) == wanted
    except (ValueError, OSError):  # the data set's own path is not on this machine
        return False


def cache_folder() -> Path:
    """Where this machine keeps what it fetched."""
    root = user_cache()
    return (root / "binsfo" if root else Path(tempfile.gettempdir()) / "binsfo-cache") / "storage"


def cached_data(storage: Storage, manifest_sha256: str) -> Path:
    """The folder of a prepared data set on this machine, fetched as far as it was not there whole; raises as
    `bring_inputs`."""
    place, folder = f"data/{manifest_sha256}", cache_folder() / "data" / manifest_sha256
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), _REMEDY):  # runs that start together: one of them fetches
        clear_partials(folder)
        _require(storage, f"{place}/{MANIFEST}", folder / MANIFEST, manifest_sha256)
        manifest = read_manifest(folder)
        assert manifest is not None
        for shard in (shard for shards in manifest.shards.values() for shard in shards):
            _require(storage, f"{place}/{shard.file}", folder / shard.file, shard.sha256)
    return folder


def cached_file(storage: Storage, path: str, sha256: str) -> Path:
    """A pretrained file on this machine, under its own name; raises as `bring_inputs`."""
    file = cache_folder() / "files" / sha256 / Path(path).name
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.parent.with_suffix(".lock"), _REMEDY):
        _require(storage, f"files/{sha256}", file, sha256)
    return file


def _require(storage: Storage, path: str, file: Path, sha256: str) -> None:
    """Have a file here that is what was put into storage."""
    if file.is_file() and sha256_once(file) == sha256:
        return
    if not storage.download(path, file, sha256):
        here = storage.size(path) is not None
        what = "is not what was put there (another SHA-256)" if here else "is not there any more"
        raise DataChangedError(
            f"on node {platform.node()}: {path} in the storage {storage.uri} {what}; remove {path} "
            "there and give the same command again, which puts it there anew; no run is lost"
        )
