"""Batches out of prepared data: memory-mapped, so that all workers of a node share one copy in the page cache.

    data = open_prepared("CIFAR10", "data", image_size=64)
    train = data.split("train", val_fraction=0.1)
    images = train.images(np.array([3, 1, 4]))          # uint8 (3, 3, 64, 64)
    inputs = normalise(images.to(device), data.mean, data.std, torch.float32)

The test files are not opened before `split("test")` is called.
"""

import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from trainers.data.catalog import IMAGENET_MEAN, IMAGENET_STD
from trainers.data.classes import ClassSubset
from trainers.data.locate import DatasetChoice, choose_dataset, find_source, prepare_command
from trainers.data.pictures import pixels
from trainers.data.prepare import prepare
from trainers.data.prepared_folders import find_prepared
from trainers.data.report import report_lines
from trainers.data.splits import carve_validation
from trainers.data.store import Manifest, check_sizes, read_manifest
from trainers.errors import UserError

SPLITS = ("train", "validation", "test")
# For one's own grey pictures, where neither ImageNet's colours nor MNIST's ink say anything: 0..1 becomes -1..1.
OWN_GREY_MEAN, OWN_GREY_STD = (0.5,), (0.5,)

PerChannel = Sequence[float] | torch.Tensor


class _Shard:
    """One Arrow file, mapped. `values` views the mapped pixels as (rows, C, H, W) where they are stored decoded."""

    def __init__(self, path: Path, manifest: Manifest, rows: int) -> None:
        self.path = path
        shape = (rows, manifest.channels, manifest.image_size, manifest.image_size)
        decoded = manifest.storage == "decoded"
        kind = pa.binary(math.prod(shape[1:])) if decoded else pa.large_binary()
        try:
            batch = pa.ipc.open_file(pa.memory_map(os.fspath(path))).get_batch(0)
            batch.validate(full=True)  # of counts, offsets and sizes; no pixel is read
            self._column = batch.column("image")
            columns = [batch.column(name) for name in batch.schema.names]
            kinds = {name: batch.schema.field(name).type for name in batch.schema.names}
            wanted = {"image": kind, "label": pa.int64(), **({"rank": pa.int64()} if "rank" in kinds else {})}
            if kinds != wanted or batch.num_rows != rows or any(column.null_count for column in columns):
                raise ValueError(f"{batch.num_rows} rows of {kinds} where its manifest says {rows} of {wanted}")
            self.labels = batch.column("label").to_numpy()
            self.ranks = batch.column("rank").to_numpy() if "rank" in kinds else None
            if rows and not 0 <= self.labels.min() <= self.labels.max() < len(manifest.class_names):
                raise ValueError(f"labels outside 0..{len(manifest.class_names) - 1}")
            flat = np.frombuffer(self._column.buffers()[1], dtype=np.uint8, count=math.prod(shape)) if decoded else None
        except Exception as error:  # beside its own errors pyarrow raises what damage makes it stumble over
            raise UserError(f"{path} cannot be read ({error}); delete {path.parent} and prepare again") from error
        self.values = None if flat is None else flat.reshape(shape)

    def encoded(self, row: int) -> bytes:
        """The stored bytes of one row."""
        return self._column[row].as_py()


class _Rows:
    """All rows of one stored split over its shards."""

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        self._manifest = manifest
        self._shards = [_Shard(folder / shard.file, manifest, shard.rows) for shard in manifest.shards[split]]
        self.encoded = manifest.storage == "encoded"
        self._starts = np.concatenate([[0], np.cumsum([shard.rows for shard in manifest.shards[split]])]).astype(
            np.int64
        )
        self.labels = np.concatenate([shard.labels for shard in self._shards])
        self.ranks = np.concatenate(
            [np.zeros(len(shard.labels), np.int64) if shard.ranks is None else shard.ranks for shard in self._shards]
        )

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (len(rows), C, H, W), freshly allocated."""
        size = self._manifest.image_size
        out = np.empty((len(rows), self._manifest.channels, size, size), dtype=np.uint8)
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        if self.encoded:
            self._decode(rows, shard_of, out)
            return out
        for index in np.unique(shard_of):
            values = self._shards[index].values
            assert values is not None  # decoded storage
            chosen = np.flatnonzero(shard_of == index)
            out[chosen] = values[rows[chosen] - self._starts[index]]
        return out

    def _decode(self, rows: np.ndarray, shard_of: np.ndarray, out: np.ndarray) -> None:
        shards = [self._shards[index] for index in shard_of]
        local = [int(row - self._starts[index]) for row, index in zip(rows, shard_of, strict=True)]
        encoded = [shard.encoded(row) for shard, row in zip(shards, local, strict=True)]
        places = [f"{shard.path} row {row}" for shard, row in zip(shards, local, strict=True)]
        shape = (repeat(self._manifest.channels), repeat(self._manifest.image_size))
        threads = torch.get_num_threads()  # the run's own: who shares its machine gave it no more
        each = map if threads == 1 else _decoders(threads).map
        for index, array in enumerate(each(pixels, encoded, *shape, places, repeat(self._manifest.grey_ranges))):
            out[index] = array


@lru_cache(maxsize=1)
def _decoders(threads: int) -> ThreadPoolExecutor:
    """The threads that decode pictures, for as long as their number stays the same."""
    return ThreadPoolExecutor(threads, thread_name_prefix="decoder")


class Split:
    """The rows of train, validation or test.

    Attributes:
        name: Which of the three.
        labels: int64 (N,), class indices.
        encoded: Whether its pictures have to be decoded each time.
    """

    def __init__(self, name: str, rows: _Rows, chosen: np.ndarray) -> None:
        self.name = name
        self.encoded = rows.encoded
        self._rows = rows
        self._chosen = chosen
        self.labels: np.ndarray = rows.labels[chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def images(self, indices: np.ndarray | Sequence[int]) -> torch.Tensor:
        """Gather images.

        Args:
            indices: Row numbers within this split, (B,), in any order, repeats allowed.

        Returns:
            uint8 (B, C, H, W) on the CPU, in the order of the indices.

        Raises:
            IndexError: An index is outside the split.
        """
        return torch.from_numpy(self._rows.gather(self._chosen[np.asarray(indices, dtype=np.int64)]))


class PreparedData:
    """A prepared data set, opened for reading.

    Args:
        path: The prepared folder.
        choice: Which data set it is.
        classes: The classes that are used (`trainers.data.classes`); all where None. Everything here is said of them.

    Attributes:
        path: The prepared folder.
        manifest: What it holds, with the notes of its preparation.
        name: Catalogue name, or the stem of one's own file or folder.
        class_names: Index = label; `num_classes` is their number.
        channels, image_size: Shape of an image: (channels, image_size, image_size).
        mean, std: Per channel, for `normalise`.
        fingerprint: Hash of everything a run can see of the data, hex; equal for equal data on any machine.
        test_set, test_images: The same of the test set alone, 16 digits, and how many images it has.
    """

    def __init__(self, path: Path, choice: DatasetChoice, classes: str | None = None) -> None:
        manifest = read_manifest(path)
        if manifest is None:
            raise UserError(f"{path} holds no prepared data; prepare the data set first")
        check_sizes(path, manifest)
        self._prepared = manifest
        if classes is not None and not manifest.class_counts:
            raise UserError(
                f"{path} was prepared before its classes were counted, which classes {classes!r} needs; delete that "
                "folder to prepare anew"
            )
        self._subset = None if classes is None else ClassSubset(classes, manifest)
        if self._subset is not None:
            manifest = self._subset.manifest
        self.manifest = manifest
        self._opened: dict[str, _Rows] = {}
        self.path = path
        self.name = choice.name
        self.class_names = manifest.class_names
        self.num_classes = len(manifest.class_names)
        self.channels = manifest.channels
        self.image_size = manifest.image_size
        self.fingerprint, self.test_set = self._prepared.fingerprint(), self._prepared.test_set()
        self.test_images = manifest.rows("test")
        if self._subset is not None:
            self.fingerprint, self.test_set = map(self._subset.identity, (self.fingerprint, self.test_set))
            self.test_images = sum(manifest.class_counts.get("test", ()))
        if choice.info is not None:
            self.mean, self.std = choice.info.mean, choice.info.std
        elif manifest.channels == 1:
            self.mean, self.std = OWN_GREY_MEAN, OWN_GREY_STD
        else:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD

    def split(self, name: str, val_fraction: float = 0.1, train_per_class: int | None = None) -> Split:
        """Open one split.

        Args:
            name: `train`, `validation` or `test`. Test files are opened here and not before.
            val_fraction: Share of each class of the stored training rows that is validation, within [0, 1); `train`
                is the rest. 0: validation is empty. It has no bearing on test.
            train_per_class: How many images of each class train has at most; None: all of the rest.

        Raises:
            UserError: Unknown name, or a fraction outside [0, 1).
        """
        if name not in SPLITS:
            raise UserError(f"split {name!r} is unknown; use {', '.join(SPLITS)}")
        if name == "test":
            return self._split(name, self._stored("test"), None)
        if not 0 <= val_fraction < 1:
            raise UserError(f"validation fraction is {val_fraction}; use 0 (none) up to, but not including, 1")
        rows = self._stored("train")
        train, validation = carve_validation(rows.labels, rows.ranks, val_fraction, train_per_class)
        return self._split(name, rows, train if name == "train" else validation)

    def _split(self, name: str, rows: _Rows, wanted: np.ndarray | None) -> Split:
        split = Split(name, rows, self._chosen(rows, wanted))
        if self._subset is not None:
            split.labels = self._subset.numbered(split.labels)
        return split

    def _chosen(self, rows: _Rows, wanted: np.ndarray | None) -> np.ndarray:
        """Those of the wanted rows (all where None) that are of the classes that are used."""
        wanted = np.arange(len(rows.labels)) if wanted is None else wanted
        return wanted if self._subset is None else self._subset.rows(rows.labels, wanted)

    def _stored(self, split: str) -> _Rows:
        if split not in self._opened:
            self._opened[split] = _Rows(self.path, self._prepared, split)
        return self._opened[split]


def open_prepared(
    dataset: str | Path,
    data_root: str | Path,
    *,
    prepared_root: str | Path | None = None,
    image_size: int | None = None,
    classes: str | None = None,
    skip_damaged: bool = False,
) -> PreparedData:
    """Open a prepared data set; where it is not prepared yet and its files are on disk, prepare it first, saying so.

    Args:
        dataset: Catalogue name, or the path of one's own data.
        data_root, prepared_root: As in `prepare`.
        image_size: Side in pixels; default the catalogue's, or native for one's own data.
        classes: The classes that are used; all where None.
        skip_damaged: Prepare without the pictures that cannot be read.

    Raises:
        UserError: Nothing is prepared and no source is found (the message names the command that prepares it), the
            prepared files are damaged, or one's own files changed since they were prepared.
    """
    choice = choose_dataset(dataset)
    data_root = Path(data_root).expanduser()
    explicit_root = None if prepared_root is None else Path(prepared_root)
    path = find_prepared(choice, data_root, explicit_root, image_size)
    if path is None:
        command = prepare_command(choice, data_root, image_size)
        print(f"{choice.name} is not prepared yet; doing what `{command}` does", file=sys.stderr, flush=True)
        path = prepare(
            dataset,
            data_root,
            prepared_root=prepared_root,
            image_size=image_size,
            skip_damaged=skip_damaged,
            written=lambda manifest: print("\n".join(report_lines(manifest)), file=sys.stderr, flush=True),
        )
    elif choice.path is not None:
        _check_unchanged(choice, data_root, path)
    return PreparedData(path, choice, classes)


def _check_unchanged(choice: DatasetChoice, data_root: Path, path: Path) -> None:
    """One's own files may be edited: hold their names and sizes against what was prepared."""
    manifest = read_manifest(path)
    source = find_source(choice, data_root, source=None, download=False)
    if manifest is not None and manifest.source_fingerprint != source.fingerprint:
        raise UserError(f"{choice.path} changed since it was prepared; delete {path} and prepare again")


def normalise(images: torch.Tensor, mean: PerChannel, std: PerChannel, dtype: torch.dtype) -> torch.Tensor:
    """What the network sees: `(image / 255 - mean) / std` per channel.

    Args:
        images: uint8 (N, C, H, W), on any device; the work is done there.
        mean, std: Per channel, C values, of pixels scaled to 0..1; tensors on the images' device are used as they are,
            so that a GPU need not wait for them.
        dtype: Of the result. Half precisions are reached from float32, so they are rounded once.

    Returns:
        (N, C, H, W) of dtype on the images' device.
    """
    working = torch.float64 if dtype == torch.float64 else torch.float32
    shape = (1, len(mean), 1, 1)
    centre = torch.as_tensor(mean, dtype=working, device=images.device).view(shape) * 255
    scale = torch.as_tensor(std, dtype=working, device=images.device).view(shape) * 255
    return images.to(working).sub_(centre).div_(scale).to(dtype)
