"""The answers of a study's runs, image by image: read from their folders, or from the one file that goes with a copy.

    DIR/runs/<trial_id>/predictions.parquet   one run's, which it wrote itself (`trainers.predictions`)
    DIR/predictions.parquet                   all confirmed runs', which `compare` writes: one row a run

The file has the columns trial_id, test_set, run, predicted (a list of class indices) and correct (a list of booleans);
a published study keeps it beside results.parquet, so that its verdicts can be made again.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.atomic import write_atomically
from trainers.errors import UserError
from trainers.predictions import FILE, Predictions, read_predictions, smallest_integers


def read_study_predictions(directory: str | Path, trial_ids: Iterable[str]) -> dict[str, Predictions]:
    """The answers of these runs, as far as they are kept. A run's own file goes before the study's.

    Raises:
        UserError: a file is damaged.
    """
    folder, wanted = Path(directory), set(trial_ids)
    found = {trial_id: one for trial_id, one in _of_study(folder / FILE).items() if trial_id in wanted}
    for trial_id in sorted(wanted):
        if (own := read_predictions(folder / "runs" / trial_id)) is not None:
            found[trial_id] = own
    return found


def write_study_predictions(directory: str | Path, predictions: Mapping[str, Predictions]) -> Path | None:
    """Write all of them into one file of the study's folder; None, and nothing, where there are none.

    Raises:
        UserError: the folder cannot be written.
    """
    if not predictions:
        return None
    path, runs = Path(directory) / FILE, [predictions[trial_id] for trial_id in sorted(predictions)]
    ends = np.cumsum([0, *(run.images for run in runs)])
    predicted = smallest_integers(np.concatenate([run.predicted for run in runs]))
    table = pa.table(
        {
            "trial_id": sorted(predictions),
            "test_set": [run.test_set for run in runs],
            "run": [run.run for run in runs],
            "predicted": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), predicted),
            "correct": pa.ListArray.from_arrays(
                pa.array(ends, pa.int32()), pa.array(np.concatenate([run.correct for run in runs]))
            ),
        }
    )
    try:
        write_atomically(path, lambda partial: pq.write_table(table, partial, compression="zstd"))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return path


def _of_study(path: Path) -> dict[str, Predictions]:
    if not path.is_file():
        return {}
    try:
        return {
            row["trial_id"]: Predictions(
                row["test_set"], row["run"], np.asarray(row["predicted"], np.int64), np.asarray(row["correct"], bool)
            )
            for row in pq.read_table(path).to_pylist()
        }
    except Exception as error:  # beside its own errors pyarrow raises what damage makes it stumble over
        raise UserError(f"{path} cannot be read ({error}); put back a whole copy, or remove it") from error
