"""Every method is charged all that it ran, and ranked only beside methods that were offered the same (PROTOCOL §4)."""

import dataclasses
import json
from collections import Counter
from typing import Any

import pytest

from study.compare.budget import CellLedger, Used, ledger
from study.define.cells import AshaConfig, ConfirmConfig, ResourcesConfig, SearchConfig, make_cell
from study.define.offer import Offered, check_offers, differences, recorded_margin, refuse_unequal, unequal_workloads
from trainers.errors import UserError

OFFER = Offered(20, 10, (1, 3), 1, (11, 12, 13))


def run(phase: str, status: str, epochs: int | None, seconds: float | None, method: str = "bop") -> dict[str, Any]:
    return {
        "dataset": "Digits", "model": "MLP", "method": method, "phase": phase, "status": status,
        "epochs_used": epochs, "device_seconds": seconds,
    }  # fmt: skip


def tags(method: str = "bop", **changes: str) -> dict[str, dict[str, str]]:
    own = {"dataset": "Digits", "model": "MLP", "method": method, "offered": OFFER.tag(), "trials": "20"}
    return {f"Digits-MLP-{method}": own | changes}


def account(rows: list[dict[str, Any]], **changes: str) -> CellLedger:
    return ledger(rows, tags(**changes))["Digits", "MLP", "bop"]


def test_every_outcome_is_charged_what_it_trained() -> None:
    """§4.2, §4.3: also what came to nothing."""
    rows = [
        run("search", "completed", 10, 5.0),
        run("search", "pruned", 3, 1.5),
        run("search", "diverged", 1, 0.5),
        run("search", "failed", 2, 1.0),
        run("search", "infeasible", 0, 0.25),
        run("confirm", "completed", 14, 7.0),  # four of its epochs were trained twice
    ]
    used = account(rows).used
    assert used["search"].outcomes == Counter(
        {"completed": 1, "pruned": 1, "diverged": 1, "failed": 1, "infeasible": 1}
    )
    assert (used["search"].epochs, used["search"].device_seconds, used["search"].ended) == (16, 8.25, 5)
    assert (used["confirm"].epochs, used["confirm"].device_seconds) == (14, 7.0)
    assert (account(rows).total.epochs, account(rows).total.device_seconds) == (30, 15.25)


def test_a_run_that_goes_on_is_charged_but_does_not_count_as_a_trial() -> None:
    search = account([run("search", "interrupted", 4, 2.0), run("search", "running", None, None)]).used["search"]
    assert (search.ended, search.epochs, search.unknown) == (0, 4, 1)


def test_use_that_was_not_recorded_is_unknown_not_zero() -> None:
    search = account([run("search", "completed", None, None)]).used["search"]
    assert (search.epochs, search.device_seconds, search.unknown) == (None, None, 1)
    assert (Used() + search).epochs is None


def test_records_without_the_later_columns_can_be_read() -> None:
    row = {"dataset": "Digits", "model": "MLP", "method": "bop", "phase": "train", "status": "completed"}
    entry = ledger([row], {})["Digits", "MLP", "bop"]
    assert entry.offered is None and entry.planned is None and entry.used["train"].epochs is None


def test_what_was_offered_survives_its_tag() -> None:
    for offer in (OFFER, dataclasses.replace(OFFER, pruner=None, k=0, seeds=())):
        assert Offered.from_tag(offer.tag()) == offer


@pytest.mark.parametrize("text", [None, "", "null", "[]", "{", '{"trials": 3}', '"x"', '{"trials": "many"}'])
def test_a_tag_that_does_not_say_what_was_offered_is_unknown(text: str | None) -> None:
    """§4.5"""
    assert Offered.from_tag(text) is None and recorded_margin(text) is None


def test_the_margin_stands_beside_the_budget() -> None:
    text = json.dumps({**OFFER.as_dict(), "margin": 2.5})
    assert recorded_margin(text) == 2.5 and Offered.from_tag(text) == OFFER


def test_the_order_of_seeds_is_no_difference() -> None:
    other = Offered.from_tag(OFFER.tag().replace("[11, 12, 13]", "[13, 11, 12]"))
    assert other is not None and differences({"a": OFFER, "b": other}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trials": 50}, "search trials: 20 for a, b; 50 for c (30 more)"),
        ({"epochs": 8}, "epochs a trial: 10 for a, b; 8 for c (2 fewer)"),
        ({"pruner": None}, "pruner: grace 1 and reduction 3 for a, b; none for c"),
        ({"k": 2}, "configurations confirmed: 1 for a, b; 2 for c (1 more)"),
        ({"seeds": (11, 12)}, "confirmation seeds: 11, 12, 13 for a, b; 11, 12 for c (1 fewer)"),
        ({"seeds": (11, 12, 14)}, "confirmation seeds: 11, 12, 13 for a, b; 11, 12, 14 for c"),
    ],
)
def test_every_part_of_an_offer_is_held_equal_and_the_difference_named(change: dict[str, Any], said: str) -> None:
    """§4.4"""
    assert differences({"a": OFFER, "b": OFFER, "c": dataclasses.replace(OFFER, **change)}) == [said]


def test_offers_are_compared_within_a_workload_only() -> None:
    more = dataclasses.replace(OFFER, epochs=30)
    assert unequal_workloads({("A", "MLP"): {"bop": OFFER}, ("B", "MLP"): {"bop": more}}) == []
    (line,) = unequal_workloads({("A", "MLP"): {"bop": OFFER, "binary": more}})
    assert line == "A, MLP: epochs a trial: 10 for bop; 30 for binary (20 more)"


def test_unequal_offers_are_refused_with_the_way_out() -> None:
    refuse_unequal([], "")
    with pytest.raises(UserError, match=r"§4\.4.*20 more.*Do that, or add --allow-unequal"):
        refuse_unequal(["A, MLP: epochs a trial: 10 for bop; 30 for binary (20 more)"], "Do that")


def cells(**by_method: int) -> list[Any]:
    search = SearchConfig(trials=7, fixed={method: {"epochs": epochs} for method, epochs in by_method.items()})
    return [
        make_cell("Digits", "MLP", method, fixed={"epochs": 4}, search=search, resources=ResourcesConfig())
        for method in ("binary", "bop", "frozen")
    ]


def test_a_study_is_checked_before_it_runs() -> None:
    """§4.4: `search: fixed` may give one method more epochs than another."""
    assert check_offers(cells(), ConfirmConfig()) == []
    (line,) = check_offers(cells(bop=6), ConfirmConfig())
    assert line == "Digits, MLP: epochs a trial: 4 for binary, frozen; 6 for bop (2 more)"


def test_a_method_with_nothing_to_tune_is_offered_the_same_trials() -> None:
    """§4.1"""
    frozen = cells()[2]
    assert frozen.trials == 1
    expected = Offered(7, 4, (1, 3), 2, (5, 6))
    assert Offered.to_cell(frozen, ConfirmConfig(2, (6, 5))) == expected
    plain = dataclasses.replace(frozen, search=dataclasses.replace(frozen.search, asha=None))
    assert Offered.to_cell(plain, None) == Offered(7, 4, None, 0, ())
    slow = dataclasses.replace(frozen, search=dataclasses.replace(frozen.search, asha=AshaConfig(2, 4)))
    assert Offered.to_cell(slow, None).pruner == (2, 4)


def test_an_unfinished_cell_says_what_it_lacks() -> None:
    """§4.6"""
    rows = [run("search", "completed", 10, 1.0), run("confirm", "completed", 10, 1.0)]
    assert account(rows).unfinished == [
        "1 of 20 search trials have ended",
        "1 of 3 confirmation runs have ended",
    ]
    assert (
        account([*rows, run("confirm", "failed", 1, 1.0), run("confirm", "diverged", 1, 1.0)], trials="1").unfinished
        == []
    )


def test_a_search_without_a_completed_trial_has_nothing_to_confirm() -> None:
    assert account([run("search", "diverged", 1, 1.0)], trials="1").unfinished == []
