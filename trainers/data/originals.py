"""The original files of the catalogued data sets, read or downloaded through torchvision, and scikit-learn's digits.

torchvision knows the addresses, checksums and layouts. Pictures that are files stay as their original bytes; MNIST and
CIFAR, whose originals are arrays, are passed on losslessly. torchvision reads CIFAR's files with pickle: only after
their MD5 sums matched the published ones, and that is torchvision's doing; nothing here unpickles anything.
The published splits of Oxford Flowers and Pets are pooled (see `DatasetInfo.has_test_split`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.catalog import DatasetInfo
from trainers.data.class_folders import class_folder_source
from trainers.data.image_source import ArrayPart, FilePart, ImageSource
from trainers.errors import UserError
from trainers.torchvision_compat import torchvision_module

# Where torchvision puts each data set below its root, and what must be there for it to be usable.
LAYOUT = {
    "MNIST": "MNIST/raw",
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "Caltech101": "caltech101/101_ObjectCategories",
    "Caltech256": "caltech256/256_ObjectCategories",
    "OxfordFlowers": "flowers-102",
    "OxfordPets": "oxford-iiit-pet",
}


def has_original_files(info: DatasetInfo, root: Path) -> bool:
    """Whether torchvision's folder of this data set is there; what is in it is checked when it is read."""
    return info.name in LAYOUT and (root / LAYOUT[info.name]).is_dir()


def original_source(info: DatasetInfo, root: Path, *, download: bool) -> ImageSource:
    """Read a data set's original files below `root`, downloading them first where asked and missing.

    Raises:
        UserError: Files are missing or damaged, or the download failed.
    """
    root_text = str(root)
    try:
        return _READERS[info.name](info, root_text, download)
    except UserError:
        raise
    except Exception as error:  # network, archive and parser errors of many types, all with one remedy
        raise UserError(
            f"{info.name}: the original files at {root / LAYOUT[info.name]} could not be "
            f"{'downloaded or ' if download else ''}read ({type(error).__name__}: {error}); "
            "remove that folder and prepare again with --download, or give another copy with --source"
        ) from error


def _array_source(info: DatasetInfo, root: str, download: bool) -> ImageSource:
    kind = getattr(torchvision_module("torchvision.datasets"), info.name)
    parts: list[ArrayPart] = []
    digest = hashlib.sha256()
    for train in (True, False):
        dataset = kind(root, train=train, download=download)
        values, labels = np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64)
        digest.update(values.tobytes())
        digest.update(labels.tobytes())
        parts.append(ArrayPart(values, labels, f"{info.name} {'train' if train else 'test'}"))
    names = tuple(str(index) for index in range(10)) if info.name == "MNIST" else tuple(dataset.classes)
    description = f"original files through torchvision at {Path(root) / LAYOUT[info.name]}"
    return ImageSource(description, digest.hexdigest(), names, parts[0], parts[1], arrays=True)


def _caltech_source(info: DatasetInfo, root: str, download: bool) -> ImageSource:
    folder = Path(root) / LAYOUT[info.name]
    if download and not folder.is_dir():
        getattr(torchvision_module("torchvision.datasets"), info.name)(root, download=True)
    # The unpacked archive is class folders. torchvision's own index assumes gapless file numbers, which these lack.
    source = class_folder_source(folder, info.not_classes)
    names = tuple(name.partition(".")[2] or name for name in source.class_names)  # "001.ak47" -> "ak47"
    return replace(source, description=f"original files at {folder}", class_names=names)


def _pooled_source(
    info: DatasetInfo, datasets: list[Any], files_of: Callable[[Any], list[Path]], root: str
) -> ImageSource:
    """One part of all published splits together, in order of file names."""
    rows = sorted(
        (Path(file), int(label))
        for dataset in datasets
        for file, label in zip(files_of(dataset), dataset._labels, strict=True)
    )
    files = [file for file, _ in rows]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise UserError(f"{info.name}: {missing} is listed in its annotations but missing; restore it")
    lines = "".join(f"{file.name} {label} {file.stat().st_size}\n" for file, label in rows)
    folder = Path(root) / LAYOUT[info.name]
    return ImageSource(
        f"original files at {folder} (published splits pooled)",
        hashlib.sha256(lines.encode()).hexdigest(),
        tuple(datasets[0].classes),
        FilePart(files, [label for _, label in rows]),
        None,
    )


def _flowers_source(info: DatasetInfo, root: str, download: bool) -> ImageSource:
    kind = torchvision_module("torchvision.datasets").Flowers102
    datasets = [kind(root, split=split, download=download) for split in ("train", "val", "test")]
    return _pooled_source(info, datasets, lambda dataset: dataset._image_files, root)


def _pets_source(info: DatasetInfo, root: str, download: bool) -> ImageSource:
    kind = torchvision_module("torchvision.datasets").OxfordIIITPet
    datasets = [kind(root, split=split, download=download) for split in ("trainval", "test")]
    return _pooled_source(info, datasets, lambda dataset: dataset._images, root)


_READERS: dict[str, Callable[[DatasetInfo, str, bool], ImageSource]] = {
    "MNIST": _array_source,
    "CIFAR10": _array_source,
    "CIFAR100": _array_source,
    "Caltech101": _caltech_source,
    "Caltech256": _caltech_source,
    "OxfordFlowers": _flowers_source,
    "OxfordPets": _pets_source,
}


def digits_source() -> ImageSource:
    """scikit-learn's digits: 1,797 real 8x8 pictures inside the package, grey 0..16 scaled to 0..255; no split."""
    # Its file is read as `load_digits` reads it: importing scikit-learn takes seconds at every start of a study.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise UserError("the data set Digits lies in scikit-learn, which is not installed: pip install scikit-learn")
    table = np.loadtxt(Path(package.submodule_search_locations[0]) / "datasets/data/digits.csv.gz", delimiter=",")
    values = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    fingerprint = hashlib.sha256(values.tobytes() + labels.tobytes()).hexdigest()
    names = tuple(str(index) for index in range(10))
    part = ArrayPart(values, labels, "load_digits")
    return ImageSource("scikit-learn load_digits", fingerprint, names, part, None, arrays=True)
