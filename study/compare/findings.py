"""All that a comparison finds in a study's records, before any of it is shown: scores, verdicts, budgets, banners.

Pure: rows of `results.parquet` and the sweeps' tags in, values out. Here it is decided whether methods are ranked at
all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from study.compare.budget import CellLedger, Key, ledger
from study.compare.footnotes import remarks
from study.compare.overall import Overall, overall
from study.compare.scores import CellGroup, summarise
from study.compare.verdict import WorkloadVerdicts, as_dict, judge
from study.define.cells import ConfirmConfig
from study.define.offer import recorded_contrasts, recorded_margin, refuse_unequal, unequal_workloads
from study.define.workload import refuse_unequal_workloads
from study.define.workload import unequal as unequal_workload
from trainers.predictions import Predictions


@dataclass(frozen=True)
class Findings:
    """What a comparison found.

    Attributes:
        study: the study's name.
        margin: of equivalence, in points.
        banners: what must be read before anything else; empty where nothing stands in the way of a ranking.
        workloads: scores and verdicts, by data set and model; those with a completed run.
        remarks: of each workload, what a reader should know of it, in the same order.
        accounts: each cell's budget.
        overall: the methods over all workloads; None where fewer than two are confirmed.
        additions: by cell, what was offered to it after test accuracies had been seen (`study.record.additions`).
    """

    study: str
    margin: float
    banners: tuple[str, ...]
    workloads: tuple[WorkloadVerdicts, ...]
    remarks: tuple[tuple[str, ...], ...]
    accounts: Mapping[Key, CellLedger]
    overall: Overall | None
    additions: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[CellGroup, ...]:
        return tuple(workload.group for workload in self.workloads)

    def account(self, group: CellGroup, method: str) -> CellLedger:
        """The budget of a method of a workload."""
        return self.accounts[group.dataset, group.model, method]

    def accounts_of(self, group: CellGroup) -> list[CellLedger]:
        """The budgets of a workload's methods, each once, in the order of its rows."""
        return [self.account(group, method) for method in dict.fromkeys(row.method for row in group.methods)]

    @property
    def short_banners(self) -> tuple[str, ...]:
        """The banners in a few words each, as figures bear them."""
        return tuple(banner.split(":")[0] for banner in self.banners)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `verdicts.json`."""
        return {
            "study": self.study,
            "protocol": "study/PROTOCOL.md",
            "margin_points": self.margin,
            "banners": list(self.banners),
            "family": self.workloads[0].family if self.workloads else 0,
            "workloads": [
                {**as_dict(workload), "remarks": list(own)}
                for workload, own in zip(self.workloads, self.remarks, strict=True)
            ],
            "overall": self.overall.as_dict() if self.overall else None,
            "added_after_a_look": dict(self.additions),
            "ledger": [account.as_dict() for account in self.accounts.values()],
        }


def find(
    study: str,
    table: pa.Table,
    sweeps: Mapping[str, Mapping[str, str]],
    *,
    predictions: Mapping[str, Predictions] | None = None,
    allow_unequal: bool = False,
    margin: float | None = None,
) -> Findings:
    """Compare a study's recorded runs by the protocol.

    Args:
        study: its name.
        table: one row a run, as in `results.parquet`.
        sweeps: the tags of each sweep's run, by cell.
        predictions: by trial id, the answers of confirmed runs, as far as they are kept.
        allow_unequal: compare methods whose offered budgets differ, below a banner.
        margin: of equivalence in points; None takes the study's own.

    Raises:
        UserError: offered budgets differ within a workload, and `allow_unequal` is not given.
    """
    rows = table.to_pylist()
    accounts = ledger(rows, sweeps)
    groups = tuple(group for group in summarise(table, sweeps, predictions) if group.methods)
    searched = [
        accounts[group.dataset, group.model, row.method]
        for group in groups
        for row in group.methods
        if row.phase != "train"
    ]
    unequal = _unequal(searched)
    tasks = _unequal_tasks(searched, sweeps)
    if not allow_unequal:
        refuse_unequal_workloads(tasks)
        refuse_unequal(unequal, "Run the study again with one budget for all of them")
    margin = _margin(sweeps) if margin is None else margin
    banners = [*_simulated(rows, sweeps), *_tasks_banner(tasks), *_unequal_banner(unequal), *_unknown_banner(searched)]
    own = [[row for row in rows if (row["dataset"], row["model"]) == (group.dataset, group.model)] for group in groups]
    judged = judge(groups, margin, _named(sweeps))
    return Findings(
        study=study,
        margin=margin,
        banners=tuple(banners),
        workloads=tuple(judged),
        remarks=tuple(tuple(remarks(group, runs, accounts, sweeps)) for group, runs in zip(groups, own, strict=True)),
        accounts=accounts,
        overall=overall(judged, accounts.keys()),
        additions={cell: json.loads(tags["added"]) for cell, tags in sorted(sweeps.items()) if tags.get("added")},
    )


def _unequal(accounts: Sequence[CellLedger]) -> list[str]:
    offers: dict[tuple[str, str], dict[str, Any]] = {}
    for account in accounts:
        if account.offered:
            offers.setdefault((account.dataset, account.model), {})[account.method] = account.offered
    return unequal_workloads(offers)


def _unequal_tasks(accounts: Sequence[CellLedger], sweeps: Mapping[str, Mapping[str, str]]) -> list[str]:
    """In what the compared methods' workloads differ, as far as their sweeps' tags say what they were."""
    compared = {(account.dataset, account.model, account.method) for account in accounts}
    recorded = {
        (tags["dataset"], tags["model"], tags["method"]): json.loads(tags["workload"])
        for tags in sweeps.values()
        if tags.get("workload")
    }
    return unequal_workload({key: values for key, values in recorded.items() if key in compared})


def _tasks_banner(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return ["UNEQUAL WORKLOADS, so nothing below compares methods (PROTOCOL §2.3): " + "; ".join(lines)]


def _unequal_banner(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return ["UNEQUAL BUDGETS, so nothing below is a ranking (PROTOCOL §4.4): " + "; ".join(lines)]


def _unknown_banner(accounts: Sequence[CellLedger]) -> list[str]:
    unknown = list(dict.fromkeys(account.method for account in accounts if account.offered is None))
    if not unknown:
        return []
    whose = "any method" if all(account.offered is None for account in accounts) else ", ".join(unknown)
    return [
        f"UNKNOWN BUDGETS: the records do not say what was offered to {whose}, so nobody can tell whether the methods "
        "were offered the same (PROTOCOL §4.5)"
    ]


def _simulated(rows: Sequence[Mapping[str, Any]], sweeps: Mapping[str, Mapping[str, str]]) -> list[str]:
    kinds = {row.get("simulated") for row in rows} | {tags.get("simulated") for tags in sweeps.values()}
    named = " and ".join(sorted(kind for kind in kinds if kind))
    if not named:
        return []
    return [
        f"SIMULATED on {named} learning curves: no network was trained, and nothing below is a result (PROTOCOL §9)"
    ]


def _margin(sweeps: Mapping[str, Mapping[str, str]]) -> float:
    """The study's margin, which its sweeps' tags hold beside the budget; the narrowest, where they hold several."""
    recorded = (recorded_margin(tags.get("offered")) for tags in sweeps.values())
    return min((margin for margin in recorded if margin is not None), default=ConfirmConfig().margin)


def _named(sweeps: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """The comparisons that the study file asks for, which its sweeps' tags hold; each once, in order."""
    return list(dict.fromkeys(pair for tags in sweeps.values() for pair in recorded_contrasts(tags.get("offered"))))
