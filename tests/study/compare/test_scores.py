"""What counts in a method's score, and which configuration represents it (PROTOCOL §5.1)."""

from pathlib import Path
from typing import Any

import pytest

from study.compare.scores import MethodSummary, base_method, summarise, two_objectives
from study.compare.statistics import mean_and_interval
from study.record.runs_table import collect
from tests.study.made_up_runs import MIB, Row, confirmed, run, searched, sweep_tags, table


def bop(phase: str, validation: float | None, number: int = 0, seed: int = 1, **changes: Any) -> Row:
    return run("bop", phase, number, seed, validation, **changes)


def only(*rows: Row | list[Row]) -> MethodSummary:
    (group,) = summarise(table(*rows))
    (method,) = group.methods
    return method


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
    assert binary.validation == pytest.approx({11: 0.89, 12: 0.90, 13: 0.91})
    assert binary.test == pytest.approx({11: 0.88, 12: 0.89, 13: 0.90})
    assert binary.val_accuracy == mean_and_interval(list(binary.validation.values()))
    assert len(binary.trial_ids) == 3 and binary.trial == 1


def test_without_confirmation_the_best_completed_trial_is_shown_as_search(recorded: Path) -> None:
    mnist = {group.dataset: group for group in summarise(collect(recorded))}["MNIST"]
    binary = mnist.methods[0]
    assert (binary.phase, binary.confirmed, binary.seeds) == ("search", False, (1,))
    assert binary.val_accuracy and binary.val_accuracy.mean == pytest.approx(0.91)  # a pruned trial's 0.999 is no score


@pytest.mark.parametrize("status", ["pruned", "diverged", "failed", "infeasible", "interrupted", "running"])
def test_only_completed_runs_have_values_that_count(status: str) -> None:
    """§3.4: a pruned trial's low-rung value enters no table, in whatever phase and however high it is."""
    lucky = bop("search", 0.999, number=1, status=status, rung=1)
    assert only(bop("search", 0.5), lucky).validation == {1: 0.5}
    assert summarise(table(lucky))[0].methods == ()
    broken = bop("confirm", 0.999, seed=14, test_accuracy=0.999, status=status)
    row = only(confirmed("bop", [0.5, 0.6]), broken)
    assert row.test == {11: 0.5, 12: 0.6} and max(row.validation.values()) < 0.7
    assert (row.seeds, row.planned) == ((11, 12), 3)


def test_phases_are_never_mixed() -> None:
    methods = summarise(table(bop("search", 0.9), bop("train", 0.8)))[0].methods
    assert [(m.phase, m.val_accuracy and m.val_accuracy.mean) for m in methods] == [("train", 0.8), ("search", 0.9)]
    assert [m.label for m in methods] == ["bop (train)", "bop (search)"]
    one = only(bop("search", 0.9), bop("train", 0.8), bop("confirm", 0.7))
    assert one.confirmed and one.label == "bop" and one.validation == {1: 0.7}


def test_seeds_of_one_training_configuration_are_one_estimate_and_search_trials_are_not() -> None:
    trained = only(bop("train", 0.8, seed=1), bop("train", 0.9, seed=2))
    assert trained.seeds == (1, 2) and trained.validation == {1: 0.8, 2: 0.9}
    found = only(bop("search", 0.8), bop("search", 0.9, number=1))
    assert found.validation == {1: 0.9} and found.planned == 1


def test_runs_that_agree_in_all_columns_and_the_seed_are_not_averaged() -> None:
    """They differ in a setting without a column, such as the MLP's depth."""
    trained = only(bop("train", 0.8, seed=1), bop("train", 0.9, seed=1), bop("train", 0.7, seed=2))
    assert trained.validation == {1: 0.8, 2: 0.7}


def test_a_configuration_with_more_completed_seeds_goes_before_a_better_one() -> None:
    method = only(confirmed("bop", [0.5, 0.5], number=1), confirmed("bop", [0.9], number=2))
    assert (method.seeds, method.trial) == ((11, 12), 1)


def test_without_validation_the_first_configuration_is_taken_and_test_chooses_nothing() -> None:
    method = only(
        bop("confirm", None, number=1, lr=0.1, test_accuracy=0.1),
        bop("confirm", None, number=2, lr=0.2, test_accuracy=0.9),
    )
    assert method.val_accuracy is None and method.configuration["lr"] == 0.1


def test_memory_is_compared_with_real_adam_or_else_with_the_largest(recorded: Path) -> None:
    """§6.1"""
    for group in summarise(collect(recorded)):
        assert group.baseline and group.baseline.method == "real-Adam"
    (group,) = summarise(table(bop("train", 0.5), run("frozen", "train", 0, 1, 0.5, peak_memory_bytes=20 * MIB)))
    assert group.baseline and group.baseline.method == "frozen"
    assert summarise(table(bop("train", 0.5, peak_memory_bytes=None)))[0].baseline is None


def test_an_unconfirmed_baseline_is_none_for_confirmed_methods() -> None:
    (group,) = summarise(table(confirmed("bop", [0.5, 0.6]), searched("real-Adam")))
    assert group.baseline and group.baseline.method == "bop"


def test_test_and_validation_accuracies_are_never_mixed_in_one_workload() -> None:
    """§5.1"""
    untested = [row | {"test_accuracy": None} for row in confirmed("bop", [0.5, 0.6])]
    (group,) = summarise(table(confirmed("binary", [0.5, 0.6]), untested))
    assert group.measure == "validation" and group.accuracy(group.methods[0]) == {11: 0.51, 12: 0.61}
    assert summarise(table(confirmed("binary", [0.5, 0.6]), searched("bop")))[0].measure == "test"


def test_an_ablations_variants_are_methods_of_their_own_beside_their_method() -> None:
    """§1.1, §2.1"""
    names = ["real-Adam", "binary-WPM-const", "frozen", "binary", "binary-EWM-gaussian", "other"]
    (group,) = summarise(table(*(confirmed(name, [0.5, 0.6]) for name in names)))
    assert [method.label for method in group.methods] == [
        "binary", "binary-EWM-gaussian", "binary-WPM-const", "frozen", "real-Adam", "other"
    ]  # fmt: skip
    assert [base_method(name) for name in names[:2]] == ["real-Adam", "binary"] and base_method("other") is None


def test_after_a_search_with_two_objectives_each_confirmed_configuration_is_a_row() -> None:
    """§7; the one that is best on validation represents the method."""
    rows = table(confirmed("bop", [0.9, 0.92], 20, number=7), confirmed("bop", [0.8, 0.82], 5, number=3))
    (plain,) = summarise(rows, sweep_tags("bop"))[0].methods
    assert plain.label == "bop" and plain.trial == 7
    tags = sweep_tags("bop", objectives='["val_accuracy", "peak_memory_bytes"]')
    small, large = summarise(rows, tags)[0].methods
    assert (small.label, large.label) == ("bop#3", "bop#7")
    assert (small.represents, large.represents) == (False, True)


def test_train_runs_of_different_networks_are_different_configurations() -> None:
    """§5.1: what is averaged over seeds is one configuration."""
    narrow, wide = run("bop", "train", 0, 1, 0.5, hid_dim=16), run("bop", "train", 1, 2, 0.9, hid_dim=2048)
    (best,) = summarise(table(narrow, wide))[0].methods
    assert (best.seeds, best.configuration["hid_dim"]) == ((2,), 2048)
    (both,) = summarise(table(narrow, wide | {"hid_dim": 16}))[0].methods
    assert both.seeds == (1, 2)


@pytest.mark.parametrize("text", ["", "[]", '["val_accuracy"]', "{", "3"])
def test_anything_else_is_one_objective(text: str) -> None:
    assert not two_objectives({"objectives": text})
