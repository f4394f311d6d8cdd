"""What methods differ by on average over data sets, and their ranks and profiles (PROTOCOL §6.5)."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from study.compare.contrasts import BASELINE, LIFT
from study.compare.findings import find
from study.compare.moments import MeanMoments, PairedMoments, satterthwaite
from study.compare.overall import MeanContrast, Overall, overall
from study.compare.paired import interval_of, p_different, p_equivalent
from study.compare.power import Variances
from study.compare.scores import CellGroup, summarise
from study.compare.table import render
from study.compare.verdict import judge
from tests.study.made_up_runs import answered_study, confirmed, sweep_tags, table


def moments(difference: float, *, images: int = 1000, seeds: int = 5, seed: int = 0) -> PairedMoments:
    """Of two methods that differ by so many points, with a tenth of discordant answers."""
    generator = np.random.default_rng(seed)
    favour = (0.1 + difference / 100) / 2
    drawn = generator.random((seeds, images))
    return PairedMoments.of_answers(drawn < favour, (drawn >= favour) & (drawn < 0.1))


def found_in(accuracies: Mapping[str, Mapping[str, float]], **options: object) -> Overall:
    rows, kept = answered_study(accuracies, **options)  # type: ignore[arg-type]
    cells = {(row["dataset"], row["model"], row["method"]) for row in rows}
    found = overall(judge(summarise(table(rows), {}, kept), 1.0), cells)
    assert found is not None
    return found


def mean_of(found: Overall, method: str, against: str = "real-Adam") -> MeanContrast:
    return next(one for one in found.means if one.names == (method, against))


def test_the_mean_of_one_data_set_is_its_own_difference() -> None:
    one = moments(-1.5)
    mean = MeanMoments((one,))
    assert interval_of(mean) == pytest.approx(interval_of(one), rel=1e-9)
    assert p_different(mean) == pytest.approx(p_different(one), rel=1e-9)
    assert p_equivalent(mean, 1.0) == pytest.approx(p_equivalent(one, 1.0), rel=1e-9)
    assert Variances.of(mean) == pytest.approx(Variances.of(one))


def test_data_sets_count_alike_whatever_images_they_have_and_their_errors_add_up_in_squares() -> None:
    parts = moments(-2.0, images=400), moments(1.0, images=4000, seed=1), moments(0.0, seed=2)
    mean = MeanMoments(parts)
    assert mean.mean == pytest.approx(sum(part.mean for part in parts) / 3)
    assert mean.luck[0] == pytest.approx(sum(part.luck[0] for part in parts) / 9)
    assert mean.image_part(mean.mean) == pytest.approx(sum(part.image_part(part.mean) for part in parts) / 9)
    errors = [Variances.of(part).error(part.seeds, part.images) for part in parts]
    assert Variances.of(mean).error(mean.seeds, mean.images) == pytest.approx(np.linalg.norm(errors) / 3)
    assert Variances.of(mean).error(mean.seeds, 4 * mean.images) < Variances.of(mean).error(mean.seeds, mean.images)


def test_intervals_of_four_add_up_in_squares_with_more_degrees_of_freedom() -> None:
    parts = tuple(moments(0.0, images=4000, seed=seed) for seed in range(4))
    widths = [high - low for low, high in (interval_of(part) for part in parts)]
    low, high = interval_of(MeanMoments(parts))
    assert 0.8 < (high - low) / (np.linalg.norm(widths) / 4) < 1.0


def test_freedoms_of_a_sum_lie_between_the_fewest_and_all() -> None:
    assert satterthwaite((1.0, 1.0, 1.0), (4, 4, 4)) == pytest.approx(12)
    assert satterthwaite((1.0, 0.0, 0.0), (4, 4, 4)) == pytest.approx(4)
    assert satterthwaite((0.0, 0.0), (4, 2)) == 2
    assert satterthwaite((np.array([1.0, 0.0]), np.array([1.0, 0.0])), (4, 2)) == pytest.approx([16 / 3, 2])


def test_what_no_data_set_decides_their_mean_decides() -> None:
    accuracies = {name: {"real-Adam": 0.7, "binary": 0.675} for name in "ABCDEF"}
    rows, kept = answered_study(accuracies, images=200, apart=0.05)
    judged = judge(summarise(table(rows), {}, kept), 1.0)
    assert {verdict.kind for one in judged for verdict in one.verdicts} == {"baseline", "undecided"}
    found = overall(judged, {(name, "MLP", method) for name in "ABCDEF" for method in ("real-Adam", "binary")})
    assert found is not None and found.family == 1
    (mean,) = found.means
    assert mean.kind == "lower" and mean.datasets == tuple("ABCDEF") and mean.without == ()
    assert mean.memory_ratio == pytest.approx(0.1)
    assert mean.measured is not None and mean.measured.differences == tuple(
        (verdict.difference.mean,) for one in judged for verdict in one.verdicts if verdict.difference
    )


def test_as_good_is_said_of_a_mean_that_lies_within_the_margin_for_sure() -> None:
    found = found_in({name: {"real-Adam": 0.7, "binary": 0.7} for name in "ABCD"}, images=4000)
    assert mean_of(found, "binary").kind == "comparable"


def test_a_data_set_without_both_or_without_answers_is_named() -> None:
    both, one = {"real-Adam": 0.8, "binary": 0.7}, {"real-Adam": 0.8}
    found = found_in({"A": both, "B": both, "C": one, "D": both}, unanswered=["D"])
    mean = mean_of(found, "binary")
    assert mean.datasets == ("A", "B") and mean.without == ("C", "D")
    assert found_in({"A": both, "C": one}).means == ()


def test_lifts_are_means_too_and_the_baselines_is_the_controls_turned_round() -> None:
    methods = {"real-Adam": 0.8, "binary": 0.78, "frozen": 0.6}
    found = found_in({"A": methods, "B": methods})
    lift = mean_of(found, "binary", "frozen")
    assert lift.sort == LIFT and lift.kind == "higher" and lift.memory_ratio is None
    control = mean_of(found, "frozen")
    assert control.sort == BASELINE and control.kind == "lower"
    back = control.turned_round()
    assert back.names == ("real-Adam", "frozen") and back.kind == "higher"
    assert back.measured is not None and control.measured is not None
    (low, high), turned = control.measured.estimate.interval, back.measured.estimate
    assert turned.interval == (-high, -low) and turned.mean == -control.measured.estimate.mean


def test_an_unfinished_data_set_changes_neither_what_is_asked_nor_which_way_round() -> None:
    """What needs most memory stands in for a baseline that is not confirmed yet: `frozen - bop` is asked there."""
    methods = {"real-Adam": 0.8, "bop": 0.78, "binary": 0.7, "frozen": 0.6}
    rest = {name: value for name, value in methods.items() if name != "real-Adam"}
    found = found_in({"A": rest, "B": methods, "C": methods})
    assert mean_of(found, "frozen").sort == BASELINE and mean_of(found, "frozen").datasets == ("B", "C")
    lift = mean_of(found, "bop", "frozen")
    assert lift.sort == LIFT and lift.datasets == ("A", "B", "C") and lift.memory_ratio is None
    assert lift.measured is not None and all(17 < points < 20 for (points,) in lift.measured.differences)
    assert ("frozen", "bop") not in {one.names for one in found.means}


def test_table_and_values_say_the_means() -> None:
    methods = {"real-Adam": 0.8, "binary": 0.7, "frozen": 0.6}
    rows, kept = answered_study({"A": methods, "B": methods})
    tags = {**sweep_tags(*methods, dataset="A"), **sweep_tags(*methods, dataset="B")}
    findings = find("made up", table(rows), tags, predictions=kept)
    said = render(findings)
    assert "On average over data sets, each counted alike (margin ±1 point; Holm over 3 such means; §6.5):" in said
    assert "  MLP, A, B\n" in said and "at 0.10x memory; p " in said
    values = json.loads(json.dumps(findings.as_dict()))["overall"]
    assert values["means_family"] == 3
    (binary,) = (one for one in values["means"] if (one["method"], one["against"]) == ("binary", "real-Adam"))
    assert binary["kind"] == "lower" and set(binary["by_dataset_points"]) == {"A", "B"}
    assert binary["text"].startswith("lower by 10.")


def groups(**scores: Sequence[Sequence[float]]) -> list[CellGroup]:
    """By method, the accuracies on two workloads."""
    rows = [
        confirmed(method.replace("_", "-"), accuracies, dataset=dataset)
        for method, both in scores.items()
        for dataset, accuracies in zip(("A", "B"), both, strict=False)
    ]
    return summarise(table(*rows))


def test_over_several_workloads_ranks_and_profiles_are_given() -> None:
    """Errors 0.1, 0.2 and 0.1, 0.4 on the two workloads; without answers there are no means."""
    found = groups(bop=[[0.9, 0.9], [0.9, 0.9]], binary=[[0.8, 0.8], [0.6, 0.6]])
    cells = {(dataset, "MLP", method) for dataset in "AB" for method in ("bop", "binary")}
    result = overall(judge(found, 1.0), cells)
    assert result is not None and result.workloads == (("A", "MLP"), ("B", "MLP")) and result.means == ()
    assert [(one.method, one.mean_rank) for one in result.standings] == [("bop", 1.0), ("binary", 2.0)]
    assert result.standings[1].ratios == pytest.approx((2.0, 4.0)) and result.standings[0].area == 1.0


def test_a_cell_without_a_score_is_last_and_a_method_without_a_cell_left_out() -> None:
    found = groups(bop=[[0.9, 0.9], [0.9, 0.9]], binary=[[0.8, 0.8]], frozen=[[0.7, 0.7]])
    cells = {("A", "MLP", "frozen")} | {(dataset, "MLP", method) for dataset in "AB" for method in ("bop", "binary")}
    result = overall(judge(found, 1.0), cells)
    assert result is not None and result.left_out == ("frozen",)
    binary = result.standings[1]
    assert binary.mean_rank == 2.0 and binary.ratios[1] == float("inf")


def test_one_workload_is_no_overall() -> None:
    assert overall(judge(groups(bop=[[0.9, 0.9]]), 1.0), {("A", "MLP", "bop")}) is None
