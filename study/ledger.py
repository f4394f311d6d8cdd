"""The budget ledger: what every method was offered, what it used, and whether a ranking is fair (PROTOCOL §4).

Equality is a matter of what was *offered*: search trials, epochs a trial, the pruner's settings, configurations and
seeds of the confirmation (§4.1). What was *used* is summed over every run, pruned, diverged, failed and infeasible ones
included (§4.2, §4.3). All of it comes from the rows of `results.parquet` and the tags of the sweeps' runs.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.config import Cell, ConfirmConfig, StudyConfig
from trainers.errors import UserError

COUNTED = ("completed", "pruned", "diverged", "failed", "infeasible")
"""The outcomes that count as one of the offered trials (§4.3); `running` and `interrupted` runs go on."""

PHASES: tuple[str, ...] = ("search", "confirm", "train")

PARTS = {
    "trials": "search trials",
    "epochs": "epochs a trial",
    "pruner": "pruner",
    "k": "configurations confirmed",
    "seeds": "confirmation seeds",
}


@dataclass(frozen=True)
class Offered:
    """What a cell may spend: O = (T, E, P, k, S) of §4.1.

    Attributes:
        trials: search trials, T.
        epochs: the most that a trial may train, E.
        pruner: (epochs of grace, reduction factor), P; None where every trial may finish.
        k: configurations that are confirmed.
        seeds: the confirmation's seeds, S.
    """

    trials: int
    epochs: int
    pruner: tuple[int, int] | None
    k: int
    seeds: tuple[int, ...]

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
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain values, in which form it is recorded."""
        names = ("grace_period", "reduction_factor")
        pruner = dict(zip(names, self.pruner, strict=True)) if self.pruner else None
        return {"trials": self.trials, "epochs": self.epochs, "pruner": pruner, "k": self.k, "seeds": list(self.seeds)}

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
            )
        except (ValueError, KeyError, TypeError):
            return None


def offers_of(study: StudyConfig, confirm: ConfirmConfig | None) -> dict[str, dict[str, Any]]:
    """By cell name, what a command offers, as plain values; and with it the margin by which scores are compared (§6.2).

    Args:
        study: whose cells.
        confirm: the confirmation; None where the command confirms nothing.
    """
    margin = {"margin": confirm.margin} if confirm else {}
    return {cell.name: {**Offered.to_cell(cell, confirm).as_dict(), **margin} for cell in study.cells}


def recorded_margin(tag: str | None) -> float | None:
    """The margin of equivalence (§6.2) that a sweep's tag `offered` holds beside the budget; None where it does not."""
    try:
        return float(json.loads(tag or "null")["margin"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Used:
    """What the runs of one phase of a cell took (§4.2).

    Attributes:
        outcomes: how many runs ended, or stand, in each way.
        epochs: epochs trained, again-trained ones included; None where no run recorded them.
        device_seconds: wall-clock seconds times workers, over all attempts; None where no run recorded them.
        unknown: runs that did not record what they took, so that the sums are lower bounds.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    epochs: int | None = None
    device_seconds: float | None = None
    unknown: int = 0

    @property
    def ended(self) -> int:
        """Runs that count against the budget."""
        return sum(self.outcomes[outcome] for outcome in COUNTED)

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.outcomes + other.outcomes,
            _sum([self.epochs, other.epochs]),
            _sum([self.device_seconds, other.device_seconds]),
            self.unknown + other.unknown,
        )


@dataclass(frozen=True)
class CellLedger:
    """One cell's account.

    Attributes:
        dataset, model, method: whose.
        offered: None where the records do not say.
        planned: the trials that its search is to have, fewer than offered where nothing is left to tune; None where
            the records do not say.
        used: by phase (search, confirm, train), of the phases that have runs.
        side_by_side: the most trials that ran at once; None where the records do not say.
    """

    dataset: str
    model: str
    method: str
    offered: Offered | None
    planned: int | None
    used: Mapping[str, Used]
    side_by_side: int | None = None

    @property
    def total(self) -> Used:
        """Over all phases."""
        return sum(self.used.values(), Used())

    @property
    def unfinished(self) -> list[str]:
        """What the cell still lacks of its budget, in words (§4.6)."""
        lacks = []
        ended = self.used.get("search", Used()).ended
        if self.planned is not None and ended < self.planned:
            lacks.append(f"{ended} of {self.planned} search trials have ended")
        if self.offered and self.offered.k:
            repeats = self.used.get("confirm", Used())
            tried = self.used.get("search", Used()).outcomes["completed"]
            wanted = min(self.offered.k, tried) * len(self.offered.seeds)
            if repeats.ended < wanted:
                lacks.append(f"{repeats.ended} of {wanted} confirmation runs have ended")
        return lacks

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `verdicts.json`."""
        return {
            "dataset": self.dataset,
            "model": self.model,
            "method": self.method,
            "offered": self.offered.as_dict() if self.offered else None,
            "planned_trials": self.planned,
            "side_by_side": self.side_by_side,
            "used": {
                phase: {
                    "runs": dict(sorted(used.outcomes.items())),
                    "epochs": used.epochs,
                    "device_seconds": used.device_seconds,
                    "runs_without_record": used.unknown,
                }
                for phase, used in self.used.items()
            },
            "unfinished": self.unfinished,
        }


Key = tuple[str, str, str]


def ledger(rows: Iterable[Mapping[str, Any]], sweeps: Mapping[str, Mapping[str, str]]) -> dict[Key, CellLedger]:
    """Every cell's account, by (data set, model, method).

    Args:
        rows: the rows of `results.parquet`.
        sweeps: the tags of each sweep's run, by cell.
    """
    tags = {(one.get("dataset"), one.get("model"), one.get("method")): one for one in sweeps.values()}
    runs: dict[Key, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        key = (row["dataset"], row["model"], row["method"])
        runs.setdefault(key, {}).setdefault(row["phase"], []).append(row)
    accounts = {}
    for key, by_phase in sorted(runs.items()):
        own = tags.get(key, {})
        offered = Offered.from_tag(own.get("offered"))
        planned = _number(own.get("trials"))
        used = {phase: _used(by_phase[phase]) for phase in PHASES if phase in by_phase}
        planned = offered.trials if planned is None and offered else planned
        accounts[key] = CellLedger(*key, offered, planned, used, _number(own.get("side_by_side")))
    return accounts


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


def _used(rows: Sequence[Mapping[str, Any]]) -> Used:
    unknown = sum(row.get("epochs_used") is None or row.get("device_seconds") is None for row in rows)
    return Used(
        Counter(row["status"] for row in rows),
        _sum([row.get("epochs_used") for row in rows]),
        _sum([row.get("device_seconds") for row in rows]),
        unknown,
    )


def _sum(values: Iterable[Any]) -> Any:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


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
