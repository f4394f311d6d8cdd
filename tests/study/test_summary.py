"""What counts in a method's score, and how its interval comes about."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from study.records import SCHEMA, collect
from study.summary import MethodSummary, mean_and_interval, summarise


def run(trial_id: str, phase: str, val: float | None, **changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(SCHEMA.names) | {
        "dataset": "Digits", "model": "MLP", "algorithm": "bop", "method": "bop", "phase": phase, "trial_id": trial_id,
        "seed": 1, "status": "completed", "lr": 0.1, "val_accuracy": val, "mlflow_run_id": trial_id,
        "peak_memory_bytes": 2**20, "train_seconds": 1.0,
    }  # fmt: skip
    return row | changes


def only(*rows: dict[str, Any]) -> MethodSummary:
    (group,) = summarise(pa.Table.from_pylist(list(rows), schema=SCHEMA))
    (method,) = group.methods
    return method


def test_interval_is_students_t_over_the_seeds() -> None:
    estimate = mean_and_interval([0.90, 0.91, 0.95])
    # t(0.975, 2) = 4.302653 from printed tables; s = 0.0264575
    assert estimate.mean == pytest.approx(0.92)
    assert estimate.half_width == pytest.approx(4.302653 * 0.02645751 / math.sqrt(3), rel=1e-6)
    assert estimate.n == 3


def test_one_seed_has_no_interval_and_equal_values_have_a_zero_one() -> None:
    assert mean_and_interval([0.5]).half_width is None
    assert mean_and_interval([0.1, 0.1, 0.1]).half_width == 0.0
    with pytest.raises(ValueError, match="no values"):
        mean_and_interval([])


def test_the_score_is_that_of_the_configuration_best_on_validation_not_on_test(recorded: Path) -> None:
    groups = {group.dataset: group for group in summarise(collect(recorded))}
    assert [method.method for method in groups["Digits"].methods] == [
        "binary",
        "bop",
        "frozen",
        "real-SGD",
        "real-Adam",
    ]
    binary = groups["Digits"].methods[0]
    assert binary.phase == "confirm" and binary.seeds == (11, 12, 13)
    assert binary.configuration["lr"] == 0.2
    assert binary.val_accuracy and binary.val_accuracy.mean == pytest.approx(0.90)
    assert binary.test_accuracy and binary.test_accuracy.mean == pytest.approx(0.89)
    assert binary.val_accuracy.half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert binary.trials == {"completed": 2, "pruned": 1, "diverged": 1, "failed": 1}
    assert len(binary.run_ids) == 3


def test_without_confirmation_the_best_completed_trial_is_shown_as_search(recorded: Path) -> None:
    mnist = {group.dataset: group for group in summarise(collect(recorded))}["MNIST"]
    binary = mnist.methods[0]
    assert (binary.phase, binary.confirmed, binary.seeds) == ("search", False, (1,))
    assert binary.val_accuracy and binary.val_accuracy.mean == pytest.approx(0.91)  # a pruned trial's 0.999 is no score


def test_phases_are_never_mixed() -> None:
    table = pa.Table.from_pylist([run("s", "search", 0.9), run("t", "train", 0.8)], schema=SCHEMA)
    assert [(m.phase, m.val_accuracy and m.val_accuracy.mean) for m in summarise(table)[0].methods] == [
        ("train", 0.8),
        ("search", 0.9),
    ]
    confirmed = only(run("s", "search", 0.9), run("t", "train", 0.8), run("c-confirm-0001-s1", "confirm", 0.7))
    assert confirmed.phase == "confirm" and confirmed.val_accuracy and confirmed.val_accuracy.mean == 0.7


def test_seeds_of_one_training_configuration_are_one_estimate_and_search_trials_are_not() -> None:
    trained = only(run("a", "train", 0.8, seed=1), run("b", "train", 0.9, seed=2))
    assert trained.seeds == (1, 2) and trained.val_accuracy and trained.val_accuracy.n == 2
    searched = only(run("a", "search", 0.8), run("b", "search", 0.9))
    assert searched.val_accuracy and (searched.val_accuracy.mean, searched.val_accuracy.n) == (0.9, 1)


def test_runs_that_did_not_complete_are_counted_and_left_out() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for seed, status in ((1, "completed"), (2, "completed"), (3, "failed")):
            yield run(f"c-confirm-0001-s{seed}", "confirm", 0.5, seed=seed, status=status)
        yield run("c-confirm-0002-s1", "confirm", 0.9)  # better, but on fewer seeds

    method = only(*rows())
    assert (method.seeds, method.planned) == ((1, 2), 3)


def test_without_validation_the_first_configuration_is_taken_and_test_chooses_nothing() -> None:
    method = only(
        run("c-confirm-0001-s1", "confirm", None, lr=0.1, test_accuracy=0.1),
        run("c-confirm-0002-s1", "confirm", None, lr=0.2, test_accuracy=0.9),
    )
    assert method.val_accuracy is None and method.configuration["lr"] == 0.1


def test_memory_is_compared_with_real_adam_or_else_with_the_largest(recorded: Path) -> None:
    for group in summarise(collect(recorded)):
        assert group.baseline and group.baseline.method == "real-Adam"
    rows = [run("a", "train", 0.5), run("b", "train", 0.5, method="frozen", peak_memory_bytes=2**21)]
    (group,) = summarise(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert group.baseline and group.baseline.method == "frozen"
    rows = [run("a", "train", 0.5, peak_memory_bytes=None)]
    assert summarise(pa.Table.from_pylist(rows, schema=SCHEMA))[0].baseline is None
