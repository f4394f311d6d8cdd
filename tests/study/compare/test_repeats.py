"""Scores and comparisons over repeated searches (PROTOCOL §4.1, §5.1 to §5.4)."""

import numpy as np
import pytest

from study.compare.budget import ledger
from study.compare.contrasts import Contrast, decided, measure
from study.compare.findings import find
from study.compare.repeats import run_table, table_interval, table_p, variance_split
from study.compare.scores import CellGroup, summarise
from study.compare.table import offer_text, render
from study.define.offer import Offered, differences
from tests.study.made_up_runs import Row, confirmed, run, sweep_tags, table
from trainers.predictions import Predictions

SEEDS, IMAGES = (11, 12, 13), 3000
OFFER = Offered(5, 4, (1, 3), 1, SEEDS, repeats=3)


def repeated(
    method: str, by_search: list[float], *, seed: int = 0, lr: list[float] | None = None
) -> tuple[list[Row], dict[str, Predictions]]:
    """A method whose searches found configurations of these accuracies, each confirmed on three seeds."""
    generator, rows, kept = np.random.default_rng(seed), list[Row](), dict[str, Predictions]()
    for repeat, accuracy in enumerate(by_search, start=1):
        name = method if repeat == 1 else f"{method}-r{repeat}"
        rows += [
            run(method, "search", number, repeat, 0.5, repeat=repeat, trial_id=f"Digits-MLP-{name}-search-{number:04d}")
            for number in range(5)
        ]
        for one in SEEDS:
            correct = np.sort(generator.random(IMAGES)) < accuracy  # nearly the same images each time
            trial_id = f"Digits-MLP-{name}-confirm-0000-s{one}"
            kept[trial_id] = Predictions("set", "", correct.astype(int), correct)
            rows += confirmed(
                method, [float(correct.mean())], seeds=[one], repeat=repeat, trial_id=trial_id,
                lr=(lr or [0.1] * len(by_search))[repeat - 1],
            )  # fmt: skip
    return rows, kept


def group(**methods: list[float]) -> CellGroup:
    made = [
        repeated(name.replace("_", "-"), values, seed=place) for place, (name, values) in enumerate(methods.items())
    ]
    (found,) = summarise(table(*(rows for rows, _ in made)), {}, {k: v for _, kept in made for k, v in kept.items()})
    return found


def test_a_methods_score_is_over_searches_and_seeds() -> None:
    (row,) = group(bop=[0.90, 0.92, 0.94]).methods
    assert row.n == "3x3" and row.completed == 9 and row.seeds == SEEDS
    assert row.test_accuracy is not None and row.test_accuracy.mean == pytest.approx(0.92, abs=0.01)
    by_search = [np.mean(list(one.test.values())) for one in row.repeats.values()]
    assert row.test_accuracy.mean == pytest.approx(np.mean(by_search))
    assert row.test_accuracy.low is not None and row.test_accuracy.low < min(by_search)  # three searches say little


def test_the_variance_of_a_score_is_split_into_search_seed_and_images() -> None:
    split = group(bop=[0.90, 0.92, 0.94]).methods[0].split
    calm = group(bop=[0.92, 0.92, 0.92]).methods[0].split
    assert split is not None and calm is not None
    assert (
        split.search == pytest.approx(4 / 3, rel=0.4) and split.shares()[0] > 0.8
    )  # of variance 4 points, three draws
    assert calm.search < split.search / 10 and sum(calm.shares()) == pytest.approx(1)
    assert calm.error == pytest.approx(np.sqrt(calm.search + calm.seed + calm.image))
    still = np.ones((2, 2, 10), dtype=bool)
    assert variance_split(list(map(list, still))).search == 0


def test_search_luck_leaves_undecided_what_seeds_would_call_different() -> None:
    lucky = group(real_Adam=[0.92, 0.92, 0.92], bop=[0.955, 0.94, 0.905])
    adam, bop = sorted(lucky.methods, key=lambda row: row.method == "bop")
    (found,) = decided([Contrast(bop, adam, "baseline", measured=measure(lucky, bop, adam))], 1.0)
    assert found.kind == "undecided" and found.measured is not None and found.measured.estimate.n == 9
    assert found.as_dict()["searches"] == 3 and found.as_dict()["search_error_points"] > 1
    assert found.needed is not None and (found.needed.searches is None or found.needed.searches > 3)
    first = measure(lucky, bop.repeats[1], adam.repeats[1])
    assert first is not None and first.p_different is not None and first.p_different < 0.05


def test_a_search_that_is_lost_in_one_method_is_left_out_of_its_comparisons() -> None:
    both = group(real_Adam=[0.92, 0.93], bop=[0.92, 0.93, 0.94])
    adam, bop = sorted(both.methods, key=lambda row: row.method == "bop")
    found = measure(both, bop, adam)
    assert found is not None and found.moments is not None and found.moments.searches == 2


def test_without_answers_the_runs_are_compared_and_agreeing_ones_show_no_equivalence() -> None:
    rows = [*repeated("real-Adam", [0.9, 0.9])[0], *repeated("bop", [0.9, 0.9])[0]]
    (found,) = summarise(table([{**row, "test_accuracy": row["test_accuracy"] and 0.9} for row in rows]))
    bop, adam = found.methods
    measured = measure(found, bop, adam)
    assert measured is not None and measured.moments is None and measured.differences == ((0.0,) * 3,) * 2
    assert measured.p_equivalent(1.0) == 1.0 and measured.p_different == 1.0


def test_the_interval_of_a_table_has_the_width_of_both_its_sides() -> None:
    values = run_table([{11: 0.90, 12: 0.92, 13: 0.9}, {11: 0.94, 12: 0.96, 14: 0.1}])
    assert values.tolist() == [[0.90, 0.92], [0.94, 0.96]]
    found = table_interval(values)
    assert found.mean == pytest.approx(0.93) and found.n == 4
    assert found.low is not None and found.low < 0.93 - 12 * 0.02  # Student's t with one degree of freedom
    assert table_interval(values[:1]).n == 2
    assert table_p(values, 0.93) == pytest.approx(1) and table_p(values, 0.5) < 0.05
    assert table_p(values, 2.0, side=1) < table_p(values, 0.94, side=1) < 0.5 < table_p(values, 0.90, side=1)


def test_what_is_offered_and_used_counts_every_search() -> None:
    rows, _ = repeated("bop", [0.9, 0.92, 0.94])
    tags = {
        f"Digits-MLP-bop{end}": {**sweep_tags("bop", offered=OFFER.tag())["Digits-MLP-bop"], "side_by_side": width}
        for end, width in (("", "1"), ("-r2", "2"), ("-r3", "1"))
    }
    (account,) = ledger(rows, tags).values()
    assert account.planned == 15 and account.wanted == 9 and not account.unfinished and account.side_by_side == 2
    (less,) = ledger(rows[:-8], tags).values()
    assert less.unfinished == ["10 of 15 search trials have ended"]
    assert Offered.from_tag(OFFER.tag()) == OFFER and Offered.from_tag('{"trials": 5}') is None
    assert "3 searches of 5 trials" in offer_text(OFFER) and "the best configuration of each confirmed" in offer_text(
        OFFER
    )
    (line,) = differences({"bop": OFFER, "binary": Offered(5, 4, (1, 3), 1, SEEDS)})
    assert line.startswith("searches: 3 for bop; 1 for binary")


def test_table_and_verdicts_show_each_search_and_whose_the_variance_is() -> None:
    made = [repeated("bop", [0.90, 0.92, 0.94], lr=[0.1, 0.2, 0.3]), repeated("real-Adam", [0.92, 0.92, 0.92])]
    tags = sweep_tags("bop", "real-Adam", offered=OFFER.tag())
    kept = {name: one for _, own in made for name, one in own.items()}
    found = find("study", table(*(rows for rows, _ in made)), tags, predictions=kept)
    text = render(found)
    assert "3x3" in text and "bop r3" in text and "lr 0.3" in text
    assert "Standard error of each score over other searches, seeds and images" in text and "% search" in text
    (workload,) = found.as_dict()["workloads"]
    bop = next(row for row in workload["methods"] if row["label"] == "bop")
    assert [one["configuration"]["lr"] for one in bop["searches"]] == [0.1, 0.2, 0.3]
    assert bop["variance_points2"]["search"] > bop["variance_points2"]["seed"]
    assert bop["comparison"]["searches"] == 3
