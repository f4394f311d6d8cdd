"""What the catalogue promises to everyone who reads a name from a command line."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from trainers.data.catalog import CATALOG, lookup
from trainers.data.originals import digits_source


def test_the_seven_data_sets_of_the_paper_and_digits_are_known() -> None:
    classes = {name: info.num_classes for name, info in CATALOG.items()}
    assert classes == {
        "MNIST": 10,
        "CIFAR10": 10,
        "CIFAR100": 100,
        "Caltech101": 101,
        "Caltech256": 256,
        "OxfordFlowers": 102,
        "OxfordPets": 37,
        "Digits": 10,
    }


@pytest.mark.parametrize("name", CATALOG)
def test_statistics_match_channels_and_size_is_the_papers(name: str) -> None:
    info = CATALOG[name]
    assert info.channels == len(info.mean) == len(info.std)
    assert info.image_size == {"MNIST": 64, "Digits": 8}.get(name, 256)
    assert info.licence and info.homepage.startswith("http")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("mnist", "MNIST"), ("cifar-10", "CIFAR10"), ("CIFAR_100", "CIFAR100"), ("flowers102", "OxfordFlowers")],
)
def test_other_spellings_find_the_same_entry(spelling: str, name: str) -> None:
    assert lookup(spelling) is CATALOG[name]


def test_unknown_name_is_none() -> None:
    assert lookup("ImageNet") is None


def test_digits_statistics_are_those_of_its_pixels() -> None:
    source = digits_source()
    assert len(source.train.labels) == 1797 and source.test is None
    from sklearn.datasets import load_digits

    digits = load_digits()
    assert np.array_equal(source.train.labels, digits.target)
    for row in (0, 1, 1796):
        with Image.open(BytesIO(source.train.picture(row))) as picture:
            assert np.array_equal(np.asarray(picture), np.round(digits.images[row] * (255 / 16)))
    scaled = digits.images / 16
    assert np.allclose(CATALOG["Digits"].mean, scaled.mean(), atol=1e-4)
    assert np.allclose(CATALOG["Digits"].std, scaled.std(), atol=1e-4)
