"""The data sets that are known by name: classes, channels, the paper's input size, split, licence, and where they live.

A data set that is not listed is one's own: it is named by its path (a Parquet file, a folder of Parquet files, or a
folder of class folders), and everything said here about the listed ones is then read from its files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainers.errors import UserError
from trainers.registry import Origin, installed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before a byte of it is read.

    Attributes:
        name: The name used on the command line and in every record.
        title: The name its authors use.
        num_classes: Number of classes; a background or clutter folder is not one.
        channels: 1 (grey) or 3 (RGB).
        image_size: Side of the square input in pixels, as in the paper's setting (Digits: its own size).
        mean, std: Per channel, of pixels scaled to 0..1; the network sees `(pixel / 255 - mean) / std`.
        has_test_split: Whether its authors published a test set that everyone uses. Where not, test is carved at
            random, stratified by class, unless the source itself comes as train and test files.
        images: How many its authors published for training and for test, by their papers; where they gave no test set
            that everyone uses, all of them and None. What is prepared may be fewer.
        licence: What its home page says about use. It is a pointer, not advice: read the page before publishing.
        homepage: The authors' page.
        aliases: Other spellings accepted as a name and as a folder name; case, `-`, `_` and spaces never matter.
        not_classes: Folders (or class names) in the original files that are no class and are left out.
        read: Of a data set that a plug-in brings, what reads it, given the data root; returns an
            `trainers.data.image_source.ImageSource`.
    """

    name: str
    title: str
    num_classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    has_test_split: bool
    licence: str
    homepage: str
    aliases: tuple[str, ...] = ()
    not_classes: tuple[str, ...] = ()
    images: tuple[int, int | None] | None = None
    read: Callable[[Path], Any] | None = None


def _colour(
    name: str,
    title: str,
    num_classes: int,
    *,
    has_test_split: bool,
    licence: str,
    homepage: str,
    aliases: tuple[str, ...] = (),
    not_classes: tuple[str, ...] = (),
    images: tuple[int, int | None] | None = None,
) -> DatasetInfo:
    """A colour data set at the paper's 256x256 with ImageNet's mean and std."""
    return DatasetInfo(
        name,
        title,
        num_classes,
        channels=3,
        image_size=256,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        has_test_split=has_test_split,
        licence=licence,
        homepage=homepage,
        aliases=aliases,
        not_classes=not_classes,
        images=images,
    )


_ENTRIES = (
    DatasetInfo(
        "MNIST",
        "MNIST handwritten digits",
        10,
        channels=1,
        image_size=64,
        mean=(0.1307,),
        std=(0.3081,),
        has_test_split=True,
        images=(60_000, 10_000),
        licence="often cited as CC BY-SA 3.0; the authors' page itself states none",
        homepage="http://yann.lecun.com/exdb/mnist/",
    ),
    _colour(
        "CIFAR10",
        "CIFAR-10",
        10,
        has_test_split=True,
        images=(50_000, 10_000),
        licence="none stated; the authors ask that their 2009 technical report be cited",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        aliases=("cifar-10-batches-py",),
    ),
    _colour(
        "CIFAR100",
        "CIFAR-100 (fine labels)",
        100,
        has_test_split=True,
        images=(50_000, 10_000),
        licence="none stated; the authors ask that their 2009 technical report be cited",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        aliases=("cifar-100-python",),
    ),
    _colour(
        "Caltech101",
        "Caltech 101",
        101,
        has_test_split=False,
        images=(8_677, None),
        licence="CC BY 4.0 by its record at CaltechDATA; the pictures were collected from the web",
        homepage="https://data.caltech.edu/records/mzrjq-6wc02",
        not_classes=("BACKGROUND_Google",),
    ),
    _colour(
        "Caltech256",
        "Caltech 256",
        256,
        has_test_split=False,
        images=(29_780, None),
        licence="CC BY 4.0 by its record at CaltechDATA; the pictures were collected from the web",
        homepage="https://data.caltech.edu/records/nyy15-4j048",
        not_classes=("257.clutter", "clutter"),
    ),
    _colour(
        "OxfordFlowers",
        "Oxford Flowers 102",
        102,
        has_test_split=False,
        images=(8_189, None),
        licence="none stated; the pictures were collected from the web",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        aliases=("flowers102", "oxford-flowers-102", "oxford-102-flower"),
    ),
    _colour(
        "OxfordPets",
        "Oxford-IIIT Pets",
        37,
        has_test_split=False,
        images=(7_349, None),
        licence="CC BY-SA 4.0 by its home page; copyright of the pictures stays with their owners",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        aliases=("oxford-iiit-pet", "oxford-iiit-pets", "pets"),
    ),
    DatasetInfo(
        "Digits",
        "UCI optical handwritten digits, the 8x8 test part that scikit-learn carries (load_digits)",
        10,
        channels=1,
        image_size=8,
        # Over all pixels of all 1,797 images, grey values 0..16 divided by 16.
        mean=(0.3053,),
        std=(0.3760,),
        has_test_split=False,
        images=(1_797, None),
        licence="CC BY 4.0 by its page at the UCI repository",
        homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        aliases=("load_digits", "sklearn-digits"),
    ),
)

CATALOG: dict[str, DatasetInfo] = {entry.name: entry for entry in _ENTRIES}


def normalised_name(name: str) -> str:
    """A spelling without case, hyphens, underscores and spaces, so that `cifar-10` and `CIFAR10` are one."""
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


_BY_SPELLING = {normalised_name(spelling): entry for entry in _ENTRIES for spelling in (entry.name, *entry.aliases)}
_BROUGHT: dict[str, Origin] = {}


def lookup(name: str) -> DatasetInfo | None:
    """The catalogued data set of this name or alias, or None where the name may be a path."""
    _installed()
    return _BY_SPELLING.get(normalised_name(name))


def register(info: DatasetInfo, origin: Origin) -> None:
    """Enter a data set that a plug-in brings.

    Raises:
        UserError: one of its spellings is another's, or it does not say how it is read.
    """
    _installed()
    _enter(info, origin)


def forget(origin: Origin) -> None:
    """Strike out what a plug-in brought."""
    for name in [name for name, whose in _BROUGHT.items() if whose == origin]:
        info = CATALOG.pop(name)
        del _BROUGHT[name]
        for spelling in (info.name, *info.aliases):
            _BY_SPELLING.pop(normalised_name(spelling), None)


def catalogued_by(name: str) -> Origin | None:
    """The plug-in that brought the data set of this name; None for the project's own and for a path."""
    info = lookup(name)
    return None if info is None else _BROUGHT.get(info.name)


@cache
def _installed() -> None:
    """Enter what installed packages bring, once."""
    for info, origin in installed("binsfo_study.datasets", DatasetInfo):
        _enter(info, origin)


def _enter(info: DatasetInfo, origin: Origin) -> None:
    spellings = {normalised_name(spelling) for spelling in (info.name, *info.aliases)}
    if taken := sorted(spellings & _BY_SPELLING.keys()):
        raise UserError(f"data set {info.name!r} is there already as {taken[0]!r}; give yours another name")
    if info.read is None:
        raise UserError(f"data set {info.name!r} does not say how it is read; give read=, from the data root")
    CATALOG[info.name] = info
    _BROUGHT[info.name] = origin
    _BY_SPELLING.update(dict.fromkeys(spellings, info))
