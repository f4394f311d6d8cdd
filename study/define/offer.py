"""What every method of a workload is offered, and whether that is equal (PROTOCOL §4).

Equality is a matter of what was *offered*: search trials, epochs a trial, the pruner's settings, configurations and
seeds of the confirmation (§4.1). What was used of it stands in `study.compare.budget`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.define.cells import Cell, ConfirmConfig, StudyConfig
from trainers.errors import UserError

EARLIER_STARTUP = 10
"""Start-up draws of every search that does not say how many it had: Optuna's own number, then and now."""
PARTS = {
    "trials": "search trials",
    "repeats": "searches",
    "epochs": "epochs a trial",
    "pruner": "pruner",
    "k": "configurations confirmed",
    "seeds": "confirmation seeds",
}


@dataclass(frozen=True)
class Offered:
    """What a method may spend on a workload: O = (T, E, P, k, S, R) of §4.1.

    Attributes:
        trials: search trials, T.
        epochs: the most that a trial may train, E.
        pruner: (epochs of grace, reduction factor), P; None where every trial may finish.
        k: configurations that are confirmed.
        seeds: the confirmation's seeds, S.
        repeats: how often it is searched with so many trials, and confirmed, R.
    """

    trials: int
    epochs: int
    pruner: tuple[int, int] | None
    k: int
    seeds: tuple[int, ...]
    repeats: int = 1

    @classmethod
    def to_cell(cls, cell: Cell, confirm: ConfirmConfig | None) -> "Offered":
        """What a study offers to one of its cells; `confirm` is None where nothing is to be confirmed."""
        asha = cell.search.asha if len(cell.search.objectives) == 1 else None  # §7: with two, nothing is pruned
        return cls(
            trials=cell.search.trials,
            epochs=cell.base.epochs,
            pruner=(asha.grace_period, asha.reduction_factor) if asha else None,
            k=confirm.k if confirm else 0,
            seeds=tuple(sorted(confirm.seeds)) if confirm and confirm.k else (),
            repeats=cell.search.repeats,
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain values, in which form it is recorded."""
        names = ("grace_period", "reduction_factor")
        pruner = dict(zip(names, self.pruner, strict=True)) if self.pruner else None
        parts = {"trials": self.trials, "epochs": self.epochs, "pruner": pruner, "k": self.k, "seeds": list(self.seeds)}
        return {**parts, **({"repeats": self.repeats} if self.repeats > 1 else {})}

    def tag(self) -> str:
        """The value of a sweep run's tag `offered`.

        >>> Offered(20, 10, None, 1, (11, 12)).tag()
        '{"trials": 20, "epochs": 10, "pruner": null, "k": 1, "seeds": [11, 12]}'
        """
        return json.dumps(self.as_dict())

    @classmethod
    def from_tag(cls, text: str | None) -> "Offered | None":
        """What a tag says; None, which is unknown (§4.5), where there is none or it says something else."""
        try:
            values = json.loads(text or "null")
            asha = values["pruner"]
            return cls(
                trials=int(values["trials"]),
                epochs=int(values["epochs"]),
                pruner=(int(asha["grace_period"]), int(asha["reduction_factor"])) if asha else None,
                k=int(values["k"]),
                seeds=tuple(sorted(int(seed) for seed in values["seeds"])),
                repeats=int(values.get("repeats", 1)),
            )
        except (ValueError, KeyError, TypeError):
            return None


def offers_of(study: StudyConfig, confirm: ConfirmConfig | None) -> dict[str, dict[str, Any]]:
    """By cell name, what a command offers, as plain values; and how scores are compared: margin and contrasts (§6).

    Args:
        study: whose cells.
        confirm: the confirmation; None where the command confirms nothing.
    """
    compared: dict[str, Any] = {"margin": confirm.margin} if confirm else {}
    if study.contrasts:
        compared["contrasts"] = [list(pair) for pair in study.contrasts]
    return {cell.name: {**Offered.to_cell(cell, confirm).as_dict(), **compared} for cell in study.cells}


def sampler_tag(sampler: str, startup: int | None) -> str:
    """The value of a sweep run's tag `sampler`: its name, and the random draws that it began with."""
    return json.dumps({"name": sampler, "startup_trials": startup})


def recorded_sampler(tag: str | None) -> tuple[str, int | None]:
    """What such a tag says; where there is none it is a search of before there was a choice."""
    try:
        said = json.loads(tag or "null")
        startup = said["startup_trials"]
        return str(said["name"]), None if startup is None else int(startup)
    except (ValueError, KeyError, TypeError):
        return "tpe", EARLIER_STARTUP


def recorded_contrasts(tag: str | None) -> list[tuple[str, str]]:
    """The pairs of methods that a sweep's tag `offered` names for comparison (§6.1)."""
    try:
        return [(str(one), str(other)) for one, other in json.loads(tag or "null").get("contrasts", ())]
    except (ValueError, TypeError, AttributeError):
        return []


def recorded_margin(tag: str | None) -> float | None:
    """The margin of equivalence (§6.2) that a sweep's tag `offered` holds beside the budget; None where it does not."""
    try:
        return float(json.loads(tag or "null")["margin"])
    except (ValueError, KeyError, TypeError):
        return None


def differences(offers: Mapping[str, Offered]) -> list[str]:
    """In what the offers to the methods of one workload differ, and by how much; empty where they are equal (§4.4).

    >>> differences({"binary": Offered(20, 10, None, 1, (11,)), "bop": Offered(20, 15, None, 1, (11,))})
    ['epochs a trial: 10 for binary; 15 for bop (5 more)']
    """
    lines = []
    for part, words in PARTS.items():
        holders: dict[Any, list[str]] = {}
        for method, offered in offers.items():
            holders.setdefault(getattr(offered, part), []).append(method)
        if len(holders) > 1:
            usual, *others = sorted(holders, key=lambda value: -len(holders[value]))
            told = [f"{_shown(part, usual)} for {', '.join(holders[usual])}"]
            told += [
                f"{_shown(part, value)} for {', '.join(holders[value])}{_by(part, value, usual)}" for value in others
            ]
            lines.append(f"{words}: {'; '.join(told)}")
    return lines


def check_offers(cells: Sequence[Cell], confirm: ConfirmConfig | None) -> list[str]:
    """Which workloads of a study that is about to run offer their methods different budgets, and how; pure.

    Returns:
        One line a workload; empty where all is equal.
    """
    offers: dict[tuple[str, str], dict[str, Offered]] = {}
    for cell in cells:
        workload = (cell.base.dataset, cell.base.model)
        offers.setdefault(workload, {})[cell.method] = Offered.to_cell(cell, confirm)
    return unequal_workloads(offers)


def unequal_workloads(offers: Mapping[tuple[str, str], Mapping[str, Offered]]) -> list[str]:
    """`<data set>, <model>: <how the offers differ>`, of those workloads where they do."""
    found = ((workload, differences(by_method)) for workload, by_method in offers.items())
    return [f"{dataset}, {model}: {'. '.join(lines)}" for (dataset, model), lines in found if lines]


def refuse_unequal(lines: Sequence[str], remedy: str) -> None:
    """Refuse a comparison of methods that were offered different budgets (§4.4).

    Args:
        lines: what `check_offers` or `unequal_workloads` found.
        remedy: how the user can make the budgets equal.

    Raises:
        UserError: there are any; says by how much they differ.
    """
    if lines:
        raise UserError(
            f"the budgets offered differ, so the methods cannot be ranked (PROTOCOL §4.4): {'; '.join(lines)}. "
            f"{remedy}, or add --allow-unequal to compare them all the same, below a banner"
        )


def _shown(part: str, value: Any) -> str:
    if part == "pruner" and value:
        return "grace {} and reduction {}".format(*value)
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value or "none")) or "none"


def _by(part: str, value: Any, usual: Any) -> str:
    """By how much a part of an offer departs from the usual one; nothing where no number says it."""
    if part == "pruner":
        return ""
    more = len(value) - len(usual) if part == "seeds" else value - usual
    return f" ({abs(more)} {'more' if more > 0 else 'fewer'})" if more else ""
