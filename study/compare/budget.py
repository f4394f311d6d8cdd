"""The budget ledger: what every method was offered, what it used, and whether a ranking is fair (PROTOCOL §4).

Equality is a matter of what was *offered*: search trials, epochs a trial, the pruner's settings, configurations and
seeds of the confirmation (§4.1). What was *used* is summed over every run, pruned, diverged, failed and infeasible ones
included (§4.2, §4.3). All of it comes from the rows of `results.parquet` and the tags of the sweeps' runs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.define.offer import EARLIER_STARTUP, Offered, recorded_sampler

COUNTED = ("completed", "pruned", "diverged", "failed", "infeasible")
"""The outcomes that count as one of the offered trials (§4.3); `running` and `interrupted` runs go on."""

PHASES: tuple[str, ...] = ("search", "confirm", "train")


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
        sampler: how its configurations were drawn, by name.
        startup: random draws that its sampler began with; None where it never learns.
        wanted: confirmation runs that it is to have; None where the records do not say.
    """

    dataset: str
    model: str
    method: str
    offered: Offered | None
    planned: int | None
    used: Mapping[str, Used]
    side_by_side: int | None = None
    sampler: str = "tpe"
    startup: int | None = EARLIER_STARTUP
    wanted: int | None = None

    @property
    def searched(self) -> Used:
        """By its search trials."""
        return self.used.get("search", Used())

    @property
    def trained(self) -> Used:
        """By its runs for a score."""
        return self.used.get("confirm", Used()) + self.used.get("train", Used())

    def behind(self, phase: str) -> Used:
        """What a score of a phase took in all: a confirmed one follows from the search."""
        return self.used[phase] + (self.searched if phase == "confirm" else Used())

    @property
    def searches(self) -> int:
        """How often the search was to be repeated."""
        return self.offered.repeats if self.offered else 1

    @property
    def drawn_at_random(self) -> bool:
        """Whether no draw can have learnt from another: all trials were random ones, whatever the sampler is called."""
        few = self.startup is not None and self.searched.ended <= self.startup * self.searches
        return self.sampler == "random" or few

    @property
    def total(self) -> Used:
        """Over all phases."""
        return sum(self.used.values(), Used())

    @property
    def unfinished(self) -> list[str]:
        """What the cell still lacks of its budget, in words (§4.6)."""
        lacks = []
        ended = self.searched.ended
        if self.planned is not None and ended < self.planned:
            lacks.append(f"{ended} of {self.planned} search trials have ended")
        confirmed = self.used.get("confirm", Used()).ended
        if self.wanted is not None and confirmed < self.wanted:
            lacks.append(f"{confirmed} of {self.wanted} confirmation runs have ended")
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
            "sampler": self.sampler,
            "startup_trials": self.startup,
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


def offers(accounts: Sequence[CellLedger]) -> Iterator[tuple[str, Offered]]:
    """Every budget that was offered, once, and to whom: `each method` where it is the same for all."""
    for offered in dict.fromkeys(account.offered for account in accounts if account.offered):
        whose = [account.method for account in accounts if account.offered == offered]
        yield "each method" if len(whose) == len(accounts) else ", ".join(whose), offered


def ledger(rows: Iterable[Mapping[str, Any]], sweeps: Mapping[str, Mapping[str, str]]) -> dict[Key, CellLedger]:
    """Every cell's account, by (data set, model, method).

    Args:
        rows: the rows of `results.parquet`.
        sweeps: the tags of each sweep's run, by cell.
    """
    tags: dict[Any, list[Mapping[str, str]]] = {}
    for one in sweeps.values():
        tags.setdefault((one.get("dataset"), one.get("model"), one.get("method")), []).append(one)
    runs: dict[Key, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        key = (row["dataset"], row["model"], row["method"])
        runs.setdefault(key, {}).setdefault(row["phase"], []).append(row)
    accounts = {}
    for key, by_phase in sorted(runs.items()):
        searches = tags.get(key, [{}])
        own = searches[0]
        offered = Offered.from_tag(own.get("offered"))
        planned = _number(own.get("trials"))
        used = {phase: _used(by_phase[phase]) for phase in PHASES if phase in by_phase}
        planned = offered.trials if planned is None and offered else planned
        if planned is not None and offered:
            planned *= offered.repeats
        side_by_side = max((_number(one.get("side_by_side")) or 0 for one in searches), default=0) or None
        sampler = recorded_sampler(own.get("sampler"))
        wanted = _wanted(by_phase.get("search", ()), offered) if offered and offered.k else None
        accounts[key] = CellLedger(*key, offered, planned, used, side_by_side, *sampler, wanted)
    return accounts


def _wanted(rows: Sequence[Mapping[str, Any]], offered: Offered) -> int:
    """Confirmation runs that follow from the trials that completed, in each search."""
    tried = Counter(row.get("repeat") or 1 for row in rows if row["status"] == "completed")
    return sum(min(offered.k, count) for count in tried.values()) * len(offered.seeds)


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
