"""The answers of a study's runs travel with its results."""

from pathlib import Path

import numpy as np
import pytest

from study.record.predictions import read_study_predictions, write_study_predictions
from trainers.errors import UserError
from trainers.predictions import Predictions, write_predictions


def answers(right: int) -> Predictions:
    correct = np.arange(20) < right
    return Predictions("set", f"run {right}", np.where(correct, 3, 7), correct)


def test_one_file_holds_what_the_runs_folders_hold(tmp_path: Path) -> None:
    for trial_id, right in (("b", 5), ("a", 12)):
        (tmp_path / "runs" / trial_id).mkdir(parents=True)
        write_predictions(tmp_path / "runs" / trial_id, answers(right))
    found = read_study_predictions(tmp_path, ["a", "b", "c"])
    assert sorted(found) == ["a", "b"] and found["a"].accuracy == 0.6
    (copy := tmp_path / "copy").mkdir()
    assert write_study_predictions(copy, found) == copy / "predictions.parquet"
    again = read_study_predictions(copy, ["a", "b"])
    for trial_id, one in found.items():
        assert again[trial_id].correct.tolist() == one.correct.tolist()
        assert again[trial_id].predicted.tolist() == one.predicted.tolist()
        assert (again[trial_id].test_set, again[trial_id].run) == (one.test_set, one.run)
    assert read_study_predictions(copy, ["a"]).keys() == {"a"}


def test_without_answers_no_file_is_written(tmp_path: Path) -> None:
    assert write_study_predictions(tmp_path, {}) is None
    assert not list(tmp_path.iterdir()) and read_study_predictions(tmp_path, ["a"]) == {}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match=r"predictions\.parquet cannot be read"):
        read_study_predictions(tmp_path, ["a"])
