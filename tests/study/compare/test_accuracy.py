"""The interval of one method's accuracy is over its seeds and its images (PROTOCOL §5.2)."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from study.compare.accuracy import answers_interval, moments_of, values_interval
from study.compare.findings import find
from study.compare.scores import summarise
from study.compare.statistics import Estimate, mean_and_interval
from study.compare.table import render
from tests.study.made_up_runs import confirmed, sweep_tags, table
from trainers.predictions import Predictions

ANSWERS = arrays.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 30)))


def wilson(right: int, images: int) -> tuple[float, float]:
    found = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    return found.low, found.high


@pytest.mark.parametrize("right", [0, 1, 240, 270])
def test_seeds_that_agree_on_every_image_have_the_interval_of_one_sample_of_images(right: int) -> None:
    """Wilson's: agreeing seeds never give a width of 0."""
    answers = np.tile(np.arange(270) < right, (3, 1))
    found = answers_interval(answers)
    assert (found.low, found.high) == pytest.approx(wilson(right, 270)) and found.n == 3
    assert found.mean == right / 270


@given(ANSWERS)
@settings(max_examples=60, deadline=None)
def test_an_interval_lies_within_nought_and_one_holds_its_mean_and_has_a_width(answers: np.ndarray) -> None:
    found = answers_interval(answers)
    if answers.shape[0] * answers.shape[1] == 1:
        assert found.low is None and found.high is None
        return
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= found.mean <= found.high <= 1 and found.low < found.high


def test_more_images_narrow_an_interval_down_to_what_seeds_differ_by() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for images in (100, 1000, 100_000):
        shares = np.array([[0.90], [0.91], [0.92]])
        found = answers_interval(generator.random((3, images)) < shares)
        widths.append(found.interval[1] - found.interval[0])
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(2 * stats.t.isf(0.025, 2) * 0.01 / math.sqrt(3), rel=0.2)


def test_an_accuracy_and_its_errors_have_the_same_interval() -> None:
    answers = np.random.default_rng(1).random((2, 3, 200)) < 0.9
    right, wrong = answers_interval(answers), answers_interval(~answers)
    assert (right.low, right.high) == pytest.approx(tuple(1 - end for end in wrong.interval[::-1]))
    assert moments_of(answers).discordance == pytest.approx(1 - answers.mean())


def test_without_answers_all_runs_count_as_agreeing_on_the_images() -> None:
    """The wider of what may be; answers that differ by seed, and say so, have a narrower interval."""
    generator = np.random.default_rng(2)
    answers = (generator.normal(size=300) + 0.7 * generator.normal(size=(5, 300))) < 1.6
    accuracies = answers.mean(axis=1)[np.newaxis]
    wide, narrow = values_interval(accuracies, 300), answers_interval(answers)
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.interval[0] < narrow.interval[0] and wide.interval[1] > narrow.interval[1]
    assert values_interval(np.array([[0.9, 0.9, 0.9]]), 300).interval == pytest.approx(wilson(270, 300))


def test_where_no_number_of_images_is_known_agreeing_runs_have_no_interval() -> None:
    assert values_interval(np.array([[0.9, 0.9]]), None) == Estimate(0.9, None, None, 2)
    assert values_interval(np.array([[0.9, 0.9], [0.9, 0.9]]), None).low is None
    high = values_interval(np.array([[0.99, 1.0, 0.985]]), None)
    assert high.high == 1.0 and high.low == mean_and_interval([0.99, 1.0, 0.985]).low


def test_one_run_has_no_interval_whatever_its_images() -> None:
    assert answers_interval(np.ones((1, 100), dtype=bool)) == Estimate(1.0, None, None, 1)
    assert values_interval(np.array([[0.9]]), 100).low is None


def test_one_seed_in_each_of_several_searches_is_a_sample_of_runs() -> None:
    answers = np.random.default_rng(3).random((4, 200)) < 0.9
    assert answers_interval(answers[:, np.newaxis]) == answers_interval(answers)


def test_scores_take_the_images_from_answers_records_and_sweeps() -> None:
    """§5.2: the test set's from the answers or the record, the validation part's from the workload."""
    rows = confirmed("bop", [0.9, 0.9, 0.9], test_images=270)
    tags = sweep_tags("bop", workload=json.dumps({"validation_images": 100}))
    (row,) = summarise(table(rows), tags)[0].methods
    assert row.test_accuracy is not None and row.test_accuracy.interval == pytest.approx(wilson(243, 270))
    assert row.val_accuracy is not None and row.val_accuracy.interval == pytest.approx(wilson(91, 100))
    assert row.over_images("test") and row.over_images("validation")
    correct = np.arange(270) < 243
    kept = {one["trial_id"]: Predictions("set", "", correct.astype(int), correct) for one in rows}
    (answered,) = summarise(table([{**one, "test_images": None} for one in rows]), {}, kept)[0].methods
    assert answered.test_accuracy == row.test_accuracy and not answered.over_images("validation")
    (bare,) = summarise(table(confirmed("bop", [0.9, 0.9])))[0].methods
    assert bare.test_accuracy == Estimate(0.9, None, None, 2)


def test_table_and_verdicts_show_the_one_estimate_and_say_what_it_is_over() -> None:
    rows = confirmed("bop", [0.9, 0.9, 0.9], test_images=270)
    found = find("s", table(rows), sweep_tags("bop", workload=json.dumps({"validation_images": 100})))
    low, high = (f"{100 * end:.1f}" for end in wilson(243, 270))
    assert f"90.0 [{low}, {high}]" in render(found)
    assert "over n confirmation seeds and the images that they were measured on (§5.2)" in render(found)
    (method,) = found.as_dict()["workloads"][0]["methods"]
    assert method["test_accuracy"]["low"] == pytest.approx(wilson(243, 270)[0])
