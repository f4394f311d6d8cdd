"""A run on some of a data set's classes sees a data set of these alone, numbered from 0."""

from pathlib import Path

import numpy as np
import pytest

from trainers.data.classes import chosen_classes
from trainers.data.loader import open_prepared
from trainers.errors import UserError

NAMES = ["ant", "bee", "cat", "dog", "e..f"]


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("ant..cat", (0, 1, 2)),
        ("dog, ant", (0, 3)),
        ("..bee", (0, 1)),
        ("cat..", (2, 3, 4)),
        ("e..f, ant", (0, 4)),  # a name that looks like a range is that class
        ("..bee, dog", (0, 1, 3)),
    ],
)
def test_classes_are_named_one_by_one_or_by_ranges(text: str, positions: tuple[int, ...]) -> None:
    assert chosen_classes(text, NAMES) == positions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ant, dgo", r"'dgo' is none of the 5 classes \(did you mean dog\?\); use ant, bee"),
        ("dog..bee", "runs backwards; bee stands before dog"),
        ("ant", "is one class.*give two or more"),
        ("ant, ", "'' is none of the 5 classes"),
    ],
)
def test_what_names_no_classes_is_refused_with_what_does(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_classes(text, NAMES)


def test_the_parts_of_a_data_set_are_the_whole_ones_rows(tmp_path: Path) -> None:
    whole = open_prepared("Digits", tmp_path)
    low, high = (open_prepared("Digits", tmp_path, classes=text) for text in ("..4", "5.."))
    for name in ("train", "validation", "test"):
        of_all, lows, highs = (data.split(name) for data in (whole, low, high))
        assert len(lows) + len(highs) == len(of_all)
        assert set(lows.labels) == set(highs.labels) == set(range(5))
        wanted = np.flatnonzero(of_all.labels >= 5)
        assert (highs.labels == of_all.labels[wanted] - 5).all()
        assert highs.images(np.arange(len(highs))).equal(of_all.images(wanted))
    assert (high.num_classes, high.class_names) == (5, ("5", "6", "7", "8", "9"))
    assert high.test_images == len(high.split("test"))
    assert high.manifest.class_counts["train"] == whole.manifest.class_counts["train"][5:]


def test_a_part_is_another_data_set_than_the_whole_and_than_another_part(tmp_path: Path) -> None:
    every = [open_prepared("Digits", tmp_path, classes=text) for text in (None, "0..4", "5..")]
    assert len({data.fingerprint for data in every}) == len({data.test_set for data in every}) == 3
    assert {len(data.test_set) for data in every} == {16}
    assert open_prepared("Digits", tmp_path, classes="..4").fingerprint == every[1].fingerprint
