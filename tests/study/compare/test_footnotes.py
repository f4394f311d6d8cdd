"""What a reader is told beside the numbers (PROTOCOL §2.3, §3.3, §4, §8)."""

import json
from typing import Any

import pytest

from study.compare.budget import ledger
from study.compare.footnotes import remarks
from study.compare.scores import summarise
from study.define.offer import sampler_tag
from tests.study.made_up_runs import Row, confirmed, run, searched, sweep_tags, table

COMPLETE = [*confirmed("bop", [0.9, 0.91, 0.92], test_images=500), *searched("bop")]
WORKLOAD = json.dumps({"validation_images": 200})


def told(rows: list[Row], tags: dict[str, dict[str, str]] | None = None) -> str:
    tags = sweep_tags("bop", "binary", workload=WORKLOAD) if tags is None else tags
    found = table(rows)
    (group,) = summarise(found, tags)
    return "\n".join(remarks(group, found.to_pylist(), ledger(rows, tags), tags))


def changed(**changes: Any) -> list[Row]:
    """A complete study whose first confirmation run differs."""
    return [COMPLETE[0] | changes, *COMPLETE[1:]]


def test_a_complete_study_says_how_its_intervals_came_about_and_how_often_it_was_tested() -> None:
    assert told(COMPLETE) == (
        "Accuracies: mean [95 % interval] over n confirmation seeds and the images that they were measured on (§5.2).\n"
        "Sampler: TPE, random draws until 10 trials had ended, so that all 5 trials are random draws (§3.1).\n"
        "Test set: opened once in each of 3 runs, after the last epoch (§3.3)."
    )


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        (sampler_tag("tpe", 4), "Sampler: TPE, random draws until 4 trials had ended (§3.1)."),
        (sampler_tag("tpe", 5), "so that all 5 trials are random draws"),
        (sampler_tag("random", None), "Sampler: random draws (§3.1)."),
        (sampler_tag("qmc", None), "Sampler: quasi-random draws (§3.1)."),
    ],
)
def test_the_sampler_is_named_with_its_start_up_draws(tag: str, words: str) -> None:
    assert words in told(COMPLETE, sweep_tags("bop", sampler=tag))


def test_searches_that_were_drawn_differently_are_told_apart() -> None:
    rows = [*COMPLETE, *confirmed("binary", [0.9, 0.91]), *searched("binary")]
    tags = sweep_tags("bop", sampler=sampler_tag("random", None)) | sweep_tags("binary", sampler=sampler_tag("tpe", 2))
    found = told(rows, tags)
    assert "Sampler of binary: TPE, random draws until 2 trials had ended (§3.1)." in found
    assert "Sampler of bop: random draws (§3.1)." in found


def test_intervals_over_seeds_alone_are_said_to_be_that() -> None:
    """§5.2: of earlier records, which do not say how many images there were."""
    unknown = [row | {"test_images": None} for row in COMPLETE]
    assert "Intervals of test accuracies are over n confirmation seeds alone" in told(unknown)
    neither = told(unknown, sweep_tags("bop"))
    assert "Intervals of validation and test accuracies are over n confirmation seeds alone" in neither
    assert "and the images" not in neither
    single = [*confirmed("bop", [0.9], test_images=500), *searched("bop")]
    assert "Accuracies: of a single confirmation seed, which gives no interval (§5.2)." in told(single)


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"test_opened": 2, "test_forced": 1}, "opened 2 times in Digits-MLP-bop-confirm-0000-s11, 1 of them forced"),
        ({"test_opened": None}, "Test set: how often it was opened is not recorded"),
        ({"status": "diverged"}, "bop: 1 of 3 confirm runs of its configuration did not complete"),
        ({"status": "interrupted"}, "bop is not finished: 2 of 3 confirmation runs have ended (§4.6)"),
        ({"epochs_used": None}, "What 1 of the runs used is not recorded"),
        ({"peak_memory_bytes": 12 * 2**20}, "Peak memory varies over the seeds"),
        ({"hardware": "1 x other"}, "Run on different machines"),
    ],
)
def test_what_departs_from_the_protocol_is_named(changes: dict[str, Any], remark: str) -> None:
    assert remark in told(changed(**changes)) and remark not in told(COMPLETE)


def test_a_search_that_opened_the_test_set_is_named() -> None:
    rows = [*COMPLETE, run("bop", "search", 9, 1, 0.4, test_opened=1)]
    assert "opened during the search, in Digits-MLP-bop-search-0009" in told(rows)


def test_an_unfinished_search_is_named() -> None:
    """§4.6"""
    assert "bop is not finished: 4 of 5 search trials have ended" in told(COMPLETE[:-1])


def test_a_fixed_setting_that_differs_is_named() -> None:
    """§2.3"""
    rows = [*COMPLETE, *confirmed("binary", [0.9, 0.91, 0.92], batch_size=64), *searched("binary")]
    assert "batch_size is 64 for binary; None for bop" in told(rows)
    tags = sweep_tags("bop", "binary", objectives='["val_accuracy", "peak_memory_bytes"]')
    assert "should be fixed" not in told(rows, tags) and "each confirmed configuration is a row" in told(rows, tags)


def test_what_matters_for_memory_alone_may_differ_and_is_named() -> None:
    """§2.3"""
    rows = [row | {"activation_memory": "stock"} for row in COMPLETE]
    rows += [*confirmed("binary", [0.9, 0.91, 0.92], activation_memory="packed"), *searched("binary")]
    assert "which matters for memory and seconds (§2.3): activation_memory is packed for binary; stock for bop" in told(
        rows
    )


@pytest.mark.parametrize(("name", "own", "other"), [("depth", 3, 4), ("val_fraction", 0.1, 0.2), ("hid_dim", 16, 2048)])
def test_cells_of_another_network_or_split_are_said_to_be_no_one_workload(name: str, own: Any, other: Any) -> None:
    """§2.3"""
    rows = [row | {name: own} for row in COMPLETE]
    rows += [*confirmed("binary", [0.9, 0.91, 0.92], **{name: other}), *searched("binary")]
    assert f"should be fixed (§2.3): {name} is {other} for binary; {own} for bop" in told(rows)


def test_trials_side_by_side_are_said_to_change_the_order_of_the_search() -> None:
    """§8.3"""
    assert "Up to 3 trials ran side by side" in told(COMPLETE, sweep_tags("bop", side_by_side="3"))
    assert "side by side" not in told(COMPLETE)


def test_what_is_not_confirmed_is_said_not_to_compare() -> None:
    assert "* Not confirmed" in told(searched("bop"))


def test_real_parameters_that_each_method_trains_in_its_own_way_are_named() -> None:
    adam = {"model": "AdamBNN", "real_optimizer": "published", "algorithm": "real", "optimizer": "Adam"}
    bop = {**adam, "algorithm": "bop", "optimizer": None}
    remark = "Real parameters are trained as published: by Adam under real-Adam, by SGD under the others."
    tags = sweep_tags("real-Adam", "bop")

    def rows(**changes: Any) -> list[Row]:
        both = [(row, adam) for row in confirmed("real-Adam", [0.9])] + [(row, bop) for row in confirmed("bop", [0.9])]
        return [{**row, **own, **changes} for row, own in both]

    assert remark in told(rows(), tags) and remark not in told(rows(real_optimizer="Adam"), tags)


def test_how_much_of_the_network_each_method_changed_is_named_where_it_is_recorded() -> None:
    rows = [*confirmed("bop", [0.9, 0.91], flipped_share=0.0123), *confirmed("binary", [0.9])]
    assert "differ from those of the run's start, in %, mean over seeds: bop 1.2." in told(rows)
