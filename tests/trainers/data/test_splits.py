"""Splits: stratified, seeded, nested, and never empty where they need not be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.splits import carve_test, carve_validation, validation_ranks
from trainers.errors import UserError

LABELS = np.repeat(np.arange(4), [40, 20, 10, 5])


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=80),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_every_row_is_in_exactly_one_part_and_every_class_keeps_train_rows(
    labels: list[int], fraction: float, seed: int
) -> None:
    array = np.array(labels)
    ranks = validation_ranks(array, seed)
    for train, held_out in (carve_test(array, fraction, seed), carve_validation(array, ranks, fraction)):
        assert sorted([*train, *held_out]) == list(range(len(array)))
        for label in np.unique(array):
            count = int((array == label).sum())
            taken = int((array[held_out] == label).sum())
            assert taken == min(max(round(fraction * count), 1), count - 1)


def test_validation_sets_are_nested() -> None:
    ranks = validation_ranks(LABELS, 0)
    small, large = (set(carve_validation(LABELS, ranks, fraction)[1]) for fraction in (0.1, 0.3))
    assert small < large


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(1, 30))
def test_few_images_of_each_class_lie_within_more_and_leave_validation_alone(
    labels: list[int], fraction: float, few: int
) -> None:
    array = np.array(labels)
    ranks = validation_ranks(array, 0)
    everything, validation = carve_validation(array, ranks, fraction)
    part, same = carve_validation(array, ranks, fraction, few)
    more, _ = carve_validation(array, ranks, fraction, few + 1)
    assert same.tolist() == validation.tolist() and set(part) <= set(more) <= set(everything)
    for label in np.unique(array):
        assert (array[part] == label).sum() == min(few, (array[everything] == label).sum())


def test_zero_fraction_leaves_everything_in_train() -> None:
    train, validation = carve_validation(LABELS, validation_ranks(LABELS, 0), 0.0)
    assert len(train) == len(LABELS) and len(validation) == 0


def test_seed_decides_the_split() -> None:
    first, again, other = (carve_test(LABELS, 0.15, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_outside_the_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="validation fraction"):
        carve_validation(LABELS, validation_ranks(LABELS, 0), fraction)
