"""Whether methods may be ranked, what stands above the table, and what is written for machines (PROTOCOL §4, §9)."""

import dataclasses
import json

import pytest

from study.compare.findings import find
from tests.study.made_up_runs import OFFER, confirmed, run, searched, sweep_tags, table
from trainers.errors import UserError

ROWS = table(
    confirmed("binary", [0.90, 0.91, 0.92]), searched("binary"),
    confirmed("real-Adam", [0.95, 0.96, 0.94], 40), searched("real-Adam"),
)  # fmt: skip
EQUAL = sweep_tags("binary", "real-Adam")
LONGER = sweep_tags("binary") | sweep_tags("real-Adam", offered=dataclasses.replace(OFFER, epochs=6).tag())


def test_equal_offers_are_ranked_without_a_banner() -> None:
    found = find("s", ROWS, EQUAL)
    assert found.banners == () and len(found.workloads) == 1


def test_unequal_offers_are_refused_and_the_difference_said() -> None:
    """§4.4"""
    with pytest.raises(UserError, match=r"Digits, MLP: epochs a trial: 4 for binary; 6 for real-Adam \(2 more\)"):
        find("s", ROWS, LONGER)


def test_allowed_unequal_offers_stand_below_a_banner_that_says_the_same() -> None:
    (banner,) = find("s", ROWS, LONGER, allow_unequal=True).banners
    assert banner.startswith("UNEQUAL BUDGETS") and "6 for real-Adam (2 more)" in banner


def test_offers_that_no_record_tells_are_neither_equal_nor_refused() -> None:
    """§4.5"""
    (banner,) = find("s", ROWS, {}).banners
    assert banner.startswith("UNKNOWN BUDGETS") and "any method" in banner
    (banner,) = find("s", ROWS, sweep_tags("binary")).banners
    assert "offered to real-Adam" in banner


def test_training_runs_of_one_own_are_offered_nothing_and_need_no_banner() -> None:
    assert find("s", table(run("bop", "train", 0, 1, 0.9)), {}).banners == ()


def test_a_method_that_is_not_in_the_table_needs_no_equal_offer() -> None:
    tags = EQUAL | sweep_tags("bop", offered=dataclasses.replace(OFFER, trials=99).tag())
    assert find("s", table(ROWS.to_pylist(), run("bop", "search", 0, 1, 0.9, status="failed")), tags).banners == ()


@pytest.mark.parametrize("where", ["rows", "sweeps"])
def test_a_simulated_study_says_so_first(where: str) -> None:
    """§9"""
    rows = [row | {"simulated": "synthetic"} for row in ROWS.to_pylist()] if where == "rows" else ROWS.to_pylist()
    tags = EQUAL if where == "rows" else sweep_tags("binary", "real-Adam", simulated="synthetic")
    (banner,) = find("s", table(rows), tags).banners
    assert banner.startswith("SIMULATED on synthetic learning curves") and "§9" in banner


def test_the_margin_is_the_studys_unless_one_is_given() -> None:
    assert find("s", ROWS, EQUAL).margin == 1.0
    tags = sweep_tags("binary", "real-Adam", offered=json.dumps({**OFFER.as_dict(), "margin": 2.5}))
    assert find("s", ROWS, tags).margin == 2.5
    assert find("s", ROWS, tags, margin=0.5).margin == 0.5


def test_everything_can_be_written_as_plain_json() -> None:
    rows = table(ROWS.to_pylist(), confirmed("binary", [0.8, 0.81], dataset="MNIST"), run("real-Adam", "confirm", 0, 1,
                 0.9, dataset="MNIST", status="diverged"))  # fmt: skip
    tags = EQUAL | sweep_tags("binary", "real-Adam", dataset="MNIST")
    values = json.loads(json.dumps(find("s", rows, tags).as_dict(), allow_nan=False))
    assert [entry["dataset"] for entry in values["workloads"]] == ["Digits", "MNIST"]
    assert values["overall"]["methods"][1]["error_ratios"][1] is None
    account = next(entry for entry in values["ledger"] if entry["dataset"] == "Digits")
    assert account["offered"] == OFFER.as_dict() and account["used"]["search"]["epochs"] == 20


def test_methods_of_another_depth_are_refused_with_both_depths_or_shown_below_a_banner() -> None:
    """§2.3"""
    rows = table(confirmed("bop", [0.9, 0.91]), confirmed("real-Adam", [0.95, 0.96], 40))
    tags = sweep_tags("bop", "real-Adam")
    tags["Digits-MLP-bop"]["workload"] = '{"depth": 3, "data": "x"}'
    tags["Digits-MLP-real-Adam"]["workload"] = '{"depth": 4, "data": "x"}'
    with pytest.raises(UserError, match=r"depth is 3 for bop; 4 for real-Adam"):
        find("s", rows, tags)
    (banner,) = find("s", rows, tags, allow_unequal=True).banners
    assert banner.startswith("UNEQUAL WORKLOADS") and "depth is 3 for bop; 4 for real-Adam" in banner


def test_what_was_added_after_a_look_is_disclosed_in_table_and_values() -> None:
    """§4.7"""
    rows = table(confirmed("bop", [0.9, 0.91]), confirmed("real-Adam", [0.95, 0.96], 40))
    tags = sweep_tags("bop", "real-Adam")
    tags["Digits-MLP-bop"]["added"] = '[{"at": 86400.0, "what": "confirmation seeds 13", "known": 4}]'
    found = find("s", rows, tags)
    text = "Added to bop on 1970-01-02, after 4 test accuracies had been seen: confirmation seeds 13 (§4.7)."
    assert text in found.remarks[0]
    assert found.as_dict()["added_after_a_look"]["Digits-MLP-bop"][0]["known"] == 4


def test_a_named_contrast_of_the_study_file_is_in_the_family() -> None:
    rows = table(*(confirmed(name, [0.9, 0.91, 0.92]) for name in ("bop", "binary", "real-Adam")))
    tags = sweep_tags("bop", "binary", "real-Adam")
    tags["Digits-MLP-bop"]["offered"] = tags["Digits-MLP-bop"]["offered"][:-1] + ', "contrasts": [["binary", "bop"]]}'
    (workload,) = find("s", rows, tags).workloads
    assert workload.family == 3
    assert [(one.row.method, one.against.method, one.sort) for one in workload.contrasts] == [
        ("binary", "bop", "named")
    ]
