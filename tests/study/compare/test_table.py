"""The table in the terminal shows what the protocol asks for beside every score, and fits the page."""

import dataclasses

import pytest

from study.compare.findings import find
from study.compare.statistics import Estimate
from study.compare.table import WIDTH, configuration_text, offer_text, percent, render
from study.define.offer import Offered
from tests.study.made_up_runs import OFFER, Row, confirmed, run, searched, sweep_tags, table

LONG = "binary-EWM-scaled-gaussian"


def shown(*rows: list[Row] | Row, tags: dict[str, dict[str, str]] | None = None, allow_unequal: bool = False) -> str:
    methods = {row["method"] for one in rows for row in ([one] if isinstance(one, dict) else one)}
    tags = sweep_tags(*methods) if tags is None else tags
    return render(find("s", table(*rows), tags, allow_unequal=allow_unequal))


def line_of(text: str, start: str, occurrence: int = 0) -> str:
    return [line for line in text.splitlines() if line.startswith(start)][occurrence]


STUDY = (
    confirmed("bop", [0.949, 0.953, 0.945], 3.6), searched("bop"),
    confirmed("real-Adam", [0.950, 0.955, 0.945], 40), searched("real-Adam"),
)  # fmt: skip


def test_a_score_stands_beside_its_interval_n_memory_and_used_budget() -> None:
    """Used: five trials and three confirmation runs of four epochs and two seconds each (§4.2)."""
    assert line_of(shown(*STUDY), "bop").split() == (
        ["bop", "3", "95.9", "[94.9,", "96.9]", "94.9", "[93.9,", "95.9]", "3.6", "0.09x", "32", "16"]
    )


def test_bits_of_state_have_a_column_where_they_were_recorded() -> None:
    counted = confirmed("binary-4bit", [0.949, 0.953, 0.945], 3.6, state_bits_per_weight=5.002)
    text = shown(counted, STUDY[2])
    assert "  test acc %  bits  peak MiB  " in text
    assert line_of(text, "binary-4bit").split()[8:10] == ["5.0", "3.6"]
    assert line_of(text, "real-Adam").split()[8:10] == ["–", "40.0"]
    assert "  bits  " not in shown(*STUDY)


def test_a_verdict_stands_with_its_p_value_and_its_place_on_the_front() -> None:
    text = shown(*STUDY)
    assert (
        "Verdicts against real-Adam on test accuracy (margin ±1 point; Holm over the study's 1 comparison; §6):" in text
    )
    verdict = line_of(text, "  bop ")
    assert "comparable accuracy (within ±1 point) at 0.09x memory; difference -0.1 [-0.3, 0.1]; p 0.23" in verdict
    assert "of the margin 0.002; at ±0.5 comparable, ±2 comparable; over seeds alone; on the Pareto front" in " ".join(
        text.split()
    )
    assert "the baseline; on the Pareto front" in line_of(text, "  real-Adam")


def test_what_was_offered_is_said_once_and_what_was_used_a_method() -> None:
    text = shown(*STUDY, run("bop", "search", 5, 1, 0.1, status="pruned", rung=1, epochs_used=1, device_seconds=0.5))
    assert f"Offered to each method (§4.1): {offer_text(OFFER)}." in " ".join(text.split())
    assert line_of(text, "bop", 1).split() == (
        ["bop", "5", "1", "0", "0", "0", "21", "10", "3", "12", "6"]  # 10.5 seconds round to even
    )


def test_a_budget_that_is_known_in_part_is_marked() -> None:
    text = shown(*STUDY[:3], [row | {"epochs_used": None} for row in STUDY[3][:1]] + STUDY[3][1:])
    assert line_of(text, "real-Adam", 1).split()[6:8] == ["16+", "10+"]


def test_the_value_of_a_pruned_trial_stands_nowhere() -> None:
    """§3.4"""
    lucky = [run("bop", "search", 9, 1, 0.9876, status="pruned", rung=1, peak_memory_bytes=777 * 2**20)]
    text = shown(*STUDY, lucky)
    assert "98.8" not in text and "98.7" not in text and "777" not in text


def test_banners_come_before_everything() -> None:
    unequal = sweep_tags("bop") | sweep_tags("real-Adam", offered=dataclasses.replace(OFFER, k=2).tag())
    lines = shown(*STUDY, tags=unequal, allow_unequal=True).splitlines()
    assert lines[2].startswith("!! UNEQUAL BUDGETS")
    assert "1 for bop; 2 for real-Adam (1 more)" in " ".join(" ".join(lines[2:5]).split())


def test_variants_and_several_configurations_have_rows_of_their_own() -> None:
    """§1.1, §7"""
    tags = sweep_tags(LONG, "real-Adam", "bop") | sweep_tags("bop", objectives='["val_accuracy", "peak_memory_bytes"]')
    rows = [*STUDY, confirmed("bop", [0.9, 0.91, 0.9], 2, number=4), confirmed(LONG, [0.9, 0.9, 0.91]), searched(LONG)]
    text = shown(*rows, tags=tags)
    starts = ["bop#0", "bop#4", LONG, "real-Adam"]
    for start in starts:
        assert line_of(text, start) and line_of(text, f"  {start}")


def test_no_line_is_wider_than_the_page() -> None:
    unfinished = [run(LONG, "search", 7, 1, 0.1, status="interrupted", epochs_used=None)]
    several = '["val_accuracy", "peak_memory_bytes"]'
    rows = [row for number in (17, 18) for row in confirmed(LONG, [0.9, 0.95, 0.8], [1e4, 1.1e4, 1.2e4], number)]
    rows = [row | {"epochs_used": 10**6, "device_seconds": 1e7, "mask_type": "EWM", "scheduler_type": "scaled-gaussian",
                   "temperature": 123.4, "batch_size": 256, "image_size": 256, "width": 0.25, "bop_momentum_bits": 16,
                   "freeze_num": 3, "activation_memory": "packed", "workers": 4, "simulated": "synthetic",
                   "state_bits_per_weight": 96.1}
            for row in rows]  # fmt: skip
    tags = sweep_tags(LONG, "real-Adam", "bop", objectives=several, side_by_side="8", simulated="synthetic")
    text = render(find("s", table(*STUDY, rows, unfinished), tags), [f"Digits-MLP-{LONG}: " + "lr at the edge; " * 20])
    widest = max(text.splitlines(), key=len)
    assert len(widest) <= WIDTH == 120, widest


def test_over_several_workloads_ranks_and_profile_areas_follow() -> None:
    both = [
        confirmed(name, [accuracy] * 2, dataset=dataset)
        for dataset in ("Digits", "MNIST")
        for name, accuracy in (("bop", 0.9), ("frozen", 0.8))
    ]
    tags = sweep_tags("bop", "frozen") | sweep_tags("bop", "frozen", dataset="MNIST")
    text = shown(*both, tags=tags)
    assert "Over 2 workloads (§6.5; a description, no test):" in text
    assert line_of(text[text.index("Over 2") :], "bop").split() == ["bop", "1.00", "1.00", "2", "of", "2", "1.00"]
    assert "Over" not in shown(*STUDY)


def test_nothing_confirmed_has_no_verdicts_and_a_mark() -> None:
    text = shown(searched("bop"), searched("frozen"))
    assert "No verdicts: nothing is confirmed (§6.2)." in text and line_of(text, "bop (search) *")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (None, "–"),
        (Estimate(0.5, None, None, 1), "50.0 [–]"),
        (Estimate(0.5, 0.5, 0.5, 3), "50.0 [50.0, 50.0]"),
        (Estimate(0.91249, 0.907, 0.92, 3), "91.2 [90.7, 92.0]"),
    ],
)
def test_accuracies_are_shown_in_per_cent(estimate: Estimate | None, text: str) -> None:
    assert percent(estimate) == text


def test_usual_settings_are_not_named() -> None:
    settings = {"lr": 0.1, "width": 1.0, "workers": 1, "freeze_num": 0, "bop_momentum_bits": 32}
    assert configuration_text(settings | {"activation_memory": "stock"}) == "lr 0.1"
    assert configuration_text({"bop_momentum_bits": 16, "freeze_num": 2}) == "momentum bits 16, frozen modules 2"


def test_an_offer_is_said_in_words() -> None:
    assert offer_text(OFFER) == (
        "5 search trials of at most 4 epochs; pruned from epoch 1 on, of 3 at a rung one goes on; "
        "the best configuration confirmed on seeds 11, 12, 13"
    )
    assert offer_text(Offered(1, 1, None, 0, ())) == "1 search trial of at most 1 epoch; no pruner; no confirmation"
