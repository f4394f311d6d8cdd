"""Which rows are train, validation and test: stratified by class, seeded, and a function of the labels alone.

Test is carved once, when a data set without a split is prepared. For validation each training row gets a rank: its
place in a seeded permutation of its class. Validation of fraction f is then every row with `rank < round(f * n_class)`,
so validation sets are nested (10 % lies within 20 %), and any fraction is served by the one stored column.
"""

import numpy as np

from trainers.errors import UserError

# Separate streams of one seed, so that the test carve says nothing about the validation ranks.
_TEST_STREAM, _RANK_STREAM = 0, 1


def _ranks(labels: np.ndarray, seed: int, stream: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        ranks[rows] = generator.permutation(len(rows))
    return ranks


def held_out(count: int, fraction: float) -> int:
    """How many of a class's `count` rows are held out at this fraction: at least one of two, never all; 0 at 0."""
    return min(max(round(fraction * count), 1), count - 1) if count and fraction > 0 else 0


def _held(labels: np.ndarray, fraction: float) -> np.ndarray:
    """For each row, how many rows of its class are held out, int64 (N,)."""
    counts = np.bincount(labels) if len(labels) else np.zeros(0, dtype=np.int64)
    held: np.ndarray = np.array([held_out(int(n), fraction) for n in counts], dtype=np.int64)[labels]
    return held


def carve_test(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows of a data set without a split into train and test, stratified by class.

    Args:
        labels: int64 (N,).
        fraction: Share of test in every class, within (0, 1).
        seed: Split seed.

    Returns:
        Ascending row numbers of train and of test, int64. A class with one row has it in train.
    """
    taken = _ranks(labels, seed, _TEST_STREAM) < _held(labels, fraction)
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def validation_ranks(labels: np.ndarray, seed: int) -> np.ndarray:
    """Each training row's rank within its class under a seeded permutation, int64 (N,)."""
    return _ranks(labels, seed, _RANK_STREAM)


def carve_validation(
    labels: np.ndarray, ranks: np.ndarray, fraction: float, per_class: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split training rows into train and validation.

    Args:
        labels, ranks: int64 (N,), as stored with the training rows.
        fraction: Share of validation in every class, within [0, 1); 0 leaves everything in train.
        per_class: How many rows of each class are in train at most, those of the lowest ranks after validation's, so
            that smaller parts lie within larger ones; None: all that are left.

    Returns:
        Ascending row numbers of train and of validation, int64.

    Raises:
        UserError: The fraction is outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise UserError(f"validation fraction is {fraction}; use 0 (no validation) up to, but not including, 1")
    held = _held(labels, fraction)
    validation = ranks < held
    train = ~validation if per_class is None else ~validation & (ranks < held + per_class)
    return np.flatnonzero(train), np.flatnonzero(validation)
