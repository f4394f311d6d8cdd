"""What a run answered on each image of the test set: the class that it named, and whether that was right.

Accuracies of two runs on the same images differ for two reasons, the runs and the images; only answers image by image
tell them apart (`study.compare.paired`). They are written when the test set is opened, as `predictions.parquet` in the
run's folder: one row an image, in the order of the prepared test set, columns `predicted` (class index) and `correct`;
a few kilobytes. Its metadata say which test set that is, and which run.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.atomic import write_atomically
from trainers.errors import UserError

FILE = "predictions.parquet"
_TEST_SET, _RUN = b"test_set", b"run"


@dataclass(frozen=True)
class Predictions:
    """One run's answers.

    Attributes:
        test_set: the test set's identity, `PreparedData.test_set`.
        run: the run's fingerprint.
        predicted: class indices, int64 (images,).
        correct: bool (images,).
    """

    test_set: str
    run: str
    predicted: np.ndarray
    correct: np.ndarray

    @property
    def images(self) -> int:
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        return int(self.correct.sum()) / len(self.correct)

    def table(self) -> pa.Table:
        """As the rows of a file."""
        columns = {"predicted": smallest_integers(self.predicted), "correct": pa.array(self.correct)}
        return pa.table(columns, metadata={_TEST_SET: self.test_set, _RUN: self.run})


def smallest_integers(values: np.ndarray) -> pa.Array:
    """Class indices in the smallest unsigned integers that hold them."""
    return pa.array(values.astype(np.min_scalar_type(int(values.max(initial=0)))))


def write_predictions(run_dir: Path, predictions: Predictions) -> None:
    """Write a run's answers, whole or not at all."""
    table = predictions.table()
    write_atomically(run_dir / FILE, lambda partial: pq.write_table(table, partial, compression="zstd"))


def read_predictions(run_dir: Path) -> Predictions | None:
    """A run's answers; None where it has left none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata
        found = Predictions(
            metadata[_TEST_SET].decode(),
            metadata[_RUN].decode(),
            table.column("predicted").to_numpy().astype(np.int64),
            table.column("correct").to_numpy().astype(bool),
        )
        if not found.images:
            raise ValueError("no image in it")
    except Exception as error:  # beside its own errors pyarrow raises what damage makes it stumble over
        raise UserError(f"{path} cannot be read ({error}); put back a whole copy, or remove it") from error
    return found
