"""Which methods are compared, and what is said of all comparisons together (PROTOCOL §5.5, §6.1, §6.2)."""

from collections.abc import Sequence

import numpy as np
import pytest

from study.compare.contrasts import BASELINE, LIFT, NAMED, Contrast, contrasts_of, decided, measure
from study.compare.scores import CellGroup, summarise
from study.compare.statistics import holm
from tests.study.made_up_runs import Row, confirmed, table
from trainers.predictions import Predictions

IMAGES = 4000


def answered(methods: dict[str, float], *, images: int = IMAGES, discordance: float = 0.03) -> CellGroup:
    """Methods that differ from the first in so many points, with the answers of three seeds."""
    generator = np.random.default_rng(5)
    common = generator.random(images) < 0.9
    rows: list[list[Row]] = []
    kept: dict[str, Predictions] = {}
    for method, points in methods.items():
        accuracies = []
        for seed in (11, 12, 13):
            turned = generator.random(images) < discordance / 2
            correct = common ^ turned
            lost = np.flatnonzero(correct)[: round(-points / 100 * images)]
            correct[generator.permutation(np.flatnonzero(correct))[: len(lost)]] = False
            kept[f"Digits-MLP-{method}-confirm-0000-s{seed}"] = Predictions("set", "", correct.astype(int), correct)
            accuracies.append(float(correct.mean()))
        rows.append(confirmed(method, accuracies))
    (group,) = summarise(table(*rows), {}, kept)
    return group


def made(group: CellGroup, named: Sequence[tuple[str, str]] = ()) -> list[Contrast]:
    return [
        Contrast(row, against, sort, measured=measure(group, row, against))
        for row, against, sort in contrasts_of(group, named)
    ]


def names(contrasts: list[Contrast]) -> list[tuple[str, str, str]]:
    return [(one.row.label, one.against.label, one.sort) for one in contrasts]


def test_every_method_is_compared_with_the_baseline_and_the_control_and_as_named_each_pair_once() -> None:
    group = answered({"real-Adam": 0, "bop": 0, "binary-4bit": 0, "frozen": -5})
    found = names(made(group, [("binary-4bit", "bop"), ("bop", "real-Adam"), ("binary-4bit", "absent")]))
    assert sorted(found) == sorted(
        [
            ("bop", "real-Adam", BASELINE),
            ("binary-4bit", "real-Adam", BASELINE),
            ("frozen", "real-Adam", BASELINE),
            ("bop", "frozen", LIFT),
            ("binary-4bit", "frozen", LIFT),
            ("binary-4bit", "bop", NAMED),
        ]
    )


def test_answers_make_a_comparison_one_over_seeds_and_images() -> None:
    group = answered({"real-Adam": 0, "bop": 0, "frozen": -5})
    by_row = {(one.row.label, one.against.label): one for one in decided(made(group), 1.0)}
    assert by_row["bop", "real-Adam"].kind == "comparable" and by_row["bop", "real-Adam"].over_images
    assert by_row["frozen", "real-Adam"].kind == "lower" and by_row["bop", "frozen"].kind == "higher"


def test_few_images_leave_undecided_what_seeds_alone_call_comparable() -> None:
    """The quickstart's 270 images: the seeds agree, and the images cannot show a point."""
    group = answered({"real-Adam": 0, "bop": 0}, images=270, discordance=0.06)
    (found,) = decided(made(group), 1.0)
    assert found.kind == "undecided" and found.needed is not None
    assert found.needed.images is not None and found.needed.images > 1000


def test_answers_to_another_test_set_are_not_paired() -> None:
    group = answered({"real-Adam": 0, "bop": 0})
    row, against = group.methods
    other = type(row)(**{**vars(row), "test_set": "another"})
    assert measure(group, row, against).moments is not None  # type: ignore[union-attr]
    assert measure(group, other, against).moments is None  # type: ignore[union-attr]


def test_a_seed_whose_answers_are_lost_leaves_the_comparison_to_the_seeds() -> None:
    group = answered({"real-Adam": 0, "bop": 0})
    row, against = group.methods
    less = type(row)(**{**vars(row), "answers": {11: row.answers[11]}})
    found = measure(group, less, against)
    assert found is not None and found.moments is None and found.estimate.n == 3


def test_equivalences_are_corrected_as_differences_are() -> None:
    group = answered({"real-Adam": 0, "bop": -0.4, "binary": -0.5, "frozen": -0.3})
    contrasts = decided(made(group), 1.0)
    raw = [one.measured.p_equivalent(1.0) for one in contrasts if one.measured]
    assert [one.adjusted_p_equivalent for one in contrasts] == pytest.approx(holm(raw))
    p_values = [one.measured.p_different for one in contrasts if one.measured and one.measured.p_different is not None]
    assert [one.adjusted_p for one in contrasts] == pytest.approx(holm(p_values))


def test_each_verdict_is_looked_at_with_half_and_twice_the_margin() -> None:
    group = answered({"real-Adam": 0, "bop": -0.7})
    (found,) = decided(made(group), 1.0)
    assert found.at_margins[1] == "comparable" and found.at_margins[0] != "comparable"


def test_agreeing_seeds_without_answers_are_never_comparable() -> None:
    """Three equal differences of -0.6 points."""
    (group,) = summarise(table(confirmed("real-Adam", [0.95] * 3), confirmed("bop", [0.944] * 3)))
    (found,) = decided(made(group), 1.0)
    assert found.kind == "undecided" and found.adjusted_p_equivalent == 1.0 and not found.over_images
