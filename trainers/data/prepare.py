"""Prepare a data set once, so that every later run only maps files: any source -> uint8 pixels (or bytes) on disk.

Decoded storage keeps uint8 pixels at the run's image size, which a run gathers without any decoding. Where that would
be larger than `MAX_DECODED_BYTES`, the encoded pictures are kept and decoded by the loader, to the same pixels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainers.data.damage import refusal
from trainers.data.image_source import ImageSource, Part, SubsetPart, without_rows
from trainers.data.inspection import Inspection, inspect
from trainers.data.inspection_notes import class_notes, damage_notes, picture_notes, twin_notes
from trainers.data.locate import DatasetChoice, SourceMissingError, choose_dataset, find_source, prepare_command
from trainers.data.notes import listed
from trainers.data.prepared_folders import find_prepared, folder_name, root_for_writing
from trainers.data.shard_writer import Plan, Progress, write_prepared
from trainers.data.splits import carve_test
from trainers.data.store import Manifest, check_sizes, read_manifest
from trainers.errors import UserError

MAX_DECODED_BYTES = 4 * 2**30
"""Above this many bytes of pixels (4 GiB; CIFAR-10 at 256x256 has 11 GiB) the encoded pictures are kept instead."""
MAX_IMAGE_SIZE = 4096
"""Largest accepted side in pixels; far above any network here, it catches a slip before it fills a disk."""
TEST_FRACTION = 0.15
"""Of each class that becomes test where the source has no split."""


def prepare(
    dataset: str | Path,
    data_root: str | Path,
    *,
    prepared_root: str | Path | None = None,
    image_size: int | None = None,
    source: str | Path | None = None,
    download: bool = False,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    max_decoded_bytes: int = MAX_DECODED_BYTES,
    skip_damaged: bool = False,
    progress: Progress | None = None,
    written: Callable[[Manifest], None] | None = None,
) -> Path:
    """Turn a data set into prepared files, or find that this was done before.

    Args:
        dataset: Catalogue name, or the path of one's own Parquet file, Parquet folder or folder of class folders.
        data_root: Where catalogued data sets are looked for and downloaded to.
        prepared_root: Where prepared data go; default `data_root/prepared`, or the user's cache if that is read-only.
        image_size: Side of the square pictures in pixels; default the catalogue's, or native for one's own data.
        source: Where the files are, if not at the usual places.
        download: Fetch original files through torchvision where nothing is on disk.
        test_fraction: Share of each class that becomes test where the source has no split.
        split_seed: Seeds the test carve and the validation ranks.
        max_decoded_bytes: Above this, encoded pictures are stored.
        skip_damaged: Leave out pictures that cannot be read, with a note of each kind; without it they are refused.
        progress: Called as `progress(rows done, rows in all, what)`.
        written: Called with what was prepared, where that was not done before.

    Returns:
        The prepared folder.

    Raises:
        UserError: Anything wrong with the request, the files or the folder; then nothing half-valid is left.
    """
    report: Progress = progress or (lambda done, total, what: None)
    choice = choose_dataset(dataset)
    _check_request(image_size, test_fraction, split_seed)
    data_root = Path(data_root).expanduser()
    explicit_root = None if prepared_root is None else Path(prepared_root)
    options = {"split_seed": split_seed, "test_fraction": test_fraction}
    done = find_prepared(choice, data_root, explicit_root, image_size)
    if done is None:
        root_for_writing(data_root, explicit_root)  # checked before the source is read, which may take minutes
    place = None if source is None else Path(source)
    try:
        found = find_source(choice, data_root, source=place, download=download and done is None)
    except SourceMissingError:
        if done is None:
            raise
        _check_same(done, options)  # prepared from elsewhere, or its files were deleted since: no reason to fetch them
        return done
    if done is not None:
        _check_same(done, options, found)
        return done
    again = prepare_command(choice, data_root, image_size)
    plan = _plan(choice, found, image_size, test_fraction, split_seed, max_decoded_bytes, skip_damaged, again, report)
    folder = find_prepared(choice, data_root, explicit_root, plan.image_size)
    if folder is None:
        folder = root_for_writing(data_root, explicit_root) / folder_name(choice, plan.image_size)
        write_prepared(plan, folder, report)
        if written is not None and (manifest := read_manifest(folder)) is not None:
            written(manifest)
    _check_same(folder, options, found)
    return folder


def _check_request(image_size: int | None, test_fraction: float, split_seed: int) -> None:
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise UserError(f"image size is {image_size}; use a number of pixels from 1 to {MAX_IMAGE_SIZE}")
    if not 0 < test_fraction < 1:
        raise UserError(f"test fraction is {test_fraction}; use a number between 0 and 1, such as {TEST_FRACTION}")
    if split_seed < 0:
        raise UserError(f"split seed is {split_seed}; use 0 or a positive integer")


def _plan(
    choice: DatasetChoice,
    source: ImageSource,
    image_size: int | None,
    test_fraction: float,
    split_seed: int,
    max_decoded_bytes: int,
    skip_damaged: bool,
    command: str,
    report: Progress,
) -> Plan:
    looked_at = Inspection() if source.arrays else inspect(source, report)
    notes, original = list(source.notes), source
    if any(looked_at.damaged.values()):
        source = _undamaged(choice, source, looked_at, skip_damaged, command)
        notes += damage_notes([error for rows in looked_at.damaged.values() for error in rows.values()])
    if source.test is None:
        train_rows, test_rows = carve_test(source.train.labels, test_fraction, split_seed)
        if not test_rows.size:
            raise UserError(f"{choice.name}: no class has two pictures, so no test set can be carved; add pictures")
        parts: dict[str, Part] = {
            "train": SubsetPart(source.train, train_rows),
            "test": SubsetPart(source.train, test_rows),
        }
    else:
        parts = {"train": source.train, "test": source.test}
    native_size: int | None = None
    if choice.info is not None:
        channels, size = choice.info.channels, image_size or choice.info.image_size
    else:
        channels, shape = (1 if looked_at.all_grey else 3), looked_at.size
        native_size = shape[0] if shape is not None and shape[0] == shape[1] else None
        if image_size is None and native_size is None:
            what = "pictures of different sizes" if shape is None else f"pictures of {shape[0]}x{shape[1]} pixels"
            raise UserError(f"{choice.path} holds {what}, not of one square size; give the input size: --image-size")
        size = image_size or native_size or 0
    counts = [np.bincount(part.labels, minlength=len(source.class_names)).tolist() for part in parts.values()]
    notes += picture_notes(looked_at, channels)
    notes += twin_notes(looked_at, original)
    notes += class_notes(source.class_names, *counts)
    total = sum(len(part.labels) for part in parts.values())
    storage = "decoded" if total * channels * size**2 <= max_decoded_bytes else "encoded"
    options = {"split_seed": split_seed, "test_fraction": test_fraction if source.test is None else None}
    return Plan(
        *(choice.name, source, parts, size, native_size, channels, storage, options),
        grey_ranges=dict(looked_at.ranges),
        notes=tuple(notes),
    )


def _undamaged(
    choice: DatasetChoice, source: ImageSource, looked_at: Inspection, skip: bool, command: str
) -> ImageSource:
    """The source without its damaged pictures.

    Raises:
        UserError: they are not to be skipped; or nothing would be left of a class.
    """
    damaged = [error for rows in looked_at.damaged.values() for error in rows.values()]
    if not skip:
        total = sum(len(part.labels) for part in source.parts.values())
        raise refusal(choice.name, total, damaged, command)
    rest = without_rows(source, looked_at.damaged)
    gone = [
        f"{source.class_names[label]} in {name}"
        for name, part in source.parts.items()
        for label in np.setdiff1d(part.labels, rest.parts[name].labels)
    ]
    if gone:
        raise UserError(
            f"{choice.name}: without damaged pictures nothing is left of {listed(gone)}; mend them or remove the class"
        )
    return rest


def _check_same(folder: Path, options: dict[str, float], source: ImageSource | None = None) -> None:
    """Hold a finished folder against what is asked for now: never replaced silently, runs may be using it."""
    manifest = read_manifest(folder)
    assert manifest is not None  # found or written just now
    differences = [
        f"{name} {manifest.options[name]!r}, not {asked!r}"
        for name, asked in options.items()
        if manifest.options[name] not in (None, asked)  # no test fraction where the source has its own test part
    ]
    if source is not None and source.fingerprint != manifest.source_fingerprint:
        differences.append(f"source {manifest.source}, not {source.description} as it is now")
    if differences:
        raise UserError(
            f"{folder} was prepared from other files or with other settings ({'; '.join(differences)}); "
            "delete that folder to prepare anew, or keep both with another --prepared-root"
        )
    check_sizes(folder, manifest)
