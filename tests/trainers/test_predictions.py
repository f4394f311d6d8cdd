"""Each answer to the test set is kept beside the run that gave it."""

from pathlib import Path

import numpy as np
import pytest

from trainers.errors import UserError
from trainers.predictions import FILE, Predictions, read_predictions, write_predictions

GENERATOR = np.random.default_rng(0)


def predictions(images: int = 500, classes: int = 10) -> Predictions:
    predicted = GENERATOR.integers(0, classes, images)
    return Predictions("0123456789abcdef", "run", predicted, predicted == GENERATOR.integers(0, classes, images))


@pytest.mark.parametrize("classes", [1, 10, 1000, 100_000])
def test_what_was_written_is_read(tmp_path: Path, classes: int) -> None:
    written = predictions(classes=classes)
    write_predictions(tmp_path, written)
    found = read_predictions(tmp_path)
    assert found is not None and (found.test_set, found.run) == (written.test_set, written.run)
    assert found.predicted.tolist() == written.predicted.tolist()
    assert found.correct.tolist() == written.correct.tolist()
    assert found.accuracy == written.accuracy and found.images == 500


def test_ten_thousand_answers_take_a_few_kilobytes(tmp_path: Path) -> None:
    write_predictions(tmp_path, predictions(10_000))
    assert (tmp_path / FILE).stat().st_size < 12_000


def test_a_run_that_kept_none_has_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_predictions(tmp_path, predictions())
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-40])
    with pytest.raises(UserError, match=r"predictions.parquet cannot be read .* put back a whole copy, or remove it"):
        read_predictions(tmp_path)
