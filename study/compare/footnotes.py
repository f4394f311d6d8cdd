"""What a reader of one workload's table should know beside its numbers: each a sentence that cites the protocol."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from study.compare.budget import CellLedger, Key
from study.compare.scores import CellGroup, MethodSummary, two_objectives
from study.compare.statistics import Estimate
from study.define.settings import SAMPLERS
from study.define.workload import MAY_DIFFER
from trainers.registry import configuration_settings

MIB = 2**20
Row = Mapping[str, Any]


def remarks(
    group: CellGroup,
    rows: Sequence[Row],
    accounts: Mapping[Key, CellLedger],
    sweeps: Mapping[str, Mapping[str, str]],
) -> Iterator[str]:
    """The remarks on a workload.

    Args:
        group: its scores.
        rows: its runs, as in `results.parquet`.
        accounts: the budgets of the study's cells.
        sweeps: the tags of the study's sweeps, by cell.
    """
    own = [accounts[key] for key in accounts if key[:2] == (group.dataset, group.model)]
    tags = [one for one in sweeps.values() if (one.get("dataset"), one.get("model")) == (group.dataset, group.model)]
    yield from _uncertainty(group)
    yield from _answers(group)
    yield from _incomplete(group)
    yield from (
        f"{account.method} is not finished: {'; '.join(account.unfinished)} (§4.6)."
        for account in own
        if account.unfinished
    )
    yield from _additions(tags)
    yield from _samplers(own)
    yield from _use_unknown(own)
    yield from _test_openings(rows)
    two = any(two_objectives(one) for one in tags)
    if two:
        yield "The search went by accuracy and memory; each confirmed configuration is a row of its own (§7)."
    else:
        yield from _fixed_settings(group)
    yield from _real_parameters(group)
    yield from _memory_spread(group)
    yield from _flipped(group, rows)
    yield from _hardware(group, rows)
    yield from _fewer_workers(group, rows)
    yield from _side_by_side(own)


def _uncertainty(group: CellGroup) -> Iterator[str]:
    confirmed = [row for row in group.methods if row.confirmed]
    if any(len(row.seeds) > 1 or row.repeats for row in confirmed):
        over = "n searches x confirmation seeds" if any(row.repeats for row in confirmed) else "n confirmation seeds"
        alone = _over_runs_alone(confirmed)
        if len(alone) < 2:
            yield f"Accuracies: mean [95 % interval] over {over} and the images that they were measured on (§5.2)."
        yield from _splits(group)
        if alone:
            yield (
                f"Intervals of {' and '.join(alone)} accuracies are over {over} alone, since it is not recorded how "
                "many images they were measured on (§5.2)."
            )
    elif confirmed:
        yield "Accuracies: of a single confirmation seed, which gives no interval (§5.2)."
    if any(not row.confirmed for row in group.methods):
        yield (
            "* Not confirmed: the best search or train result, chosen by the value that it shows. It does not compare "
            "with a confirmed one (§3.2)."
        )


def _over_runs_alone(rows: Sequence[MethodSummary]) -> list[str]:
    """Which accuracies have intervals that leave out that their images are a sample."""
    measured = {"validation": [row for row in rows if row.validation], "test": [row for row in rows if row.test]}
    return [measure for measure, own in measured.items() if not all(row.over_images(measure) for row in own)]


def _splits(group: CellGroup) -> Iterator[str]:
    """What each score would change with: other searches, seeds and images."""
    told = []
    for row in group.methods:
        if (split := row.split) is not None:
            shares = zip(split.shares(), ("search", "seed", "images"), strict=True)
            parts = ", ".join(f"{100 * share:.0f} % {name}" for share, name in shares)
            told.append(f"{row.label} {split.error:.2f} points ({parts})")
    if told:
        yield (
            "Standard error of each score over other searches, seeds and images, and whose its variance is (§5.2): "
            f"{'; '.join(told)}."
        )


def _answers(group: CellGroup) -> Iterator[str]:
    """What differences are intervals over: seeds and images, or seeds alone, which is too little."""
    confirmed = [row for row in group.methods if row.confirmed]
    if len(confirmed) < 2:
        return
    lacking = [row.label for row in confirmed if group.measure != "test" or not row.answered]
    images = {len(right) for row in confirmed for part in row.parts for right in part.answers.values()}
    if len(lacking) < len(confirmed):
        sizes = " or ".join(f"{count:,}" for count in sorted(images))
        over = "searches, seeds" if any(row.repeats for row in confirmed) else "seeds"
        yield f"Differences: mean [95 % interval] over {over} and the {sizes} images of the test set, in pairs (§5.3)."
    if lacking:
        whose = "all methods" if len(lacking) == len(confirmed) else ", ".join(lacking)
        yield (
            f"The answers of {whose} to each test image are not kept: their differences have intervals over seeds "
            "alone, which leave out that a test set is finite, and call methods comparable too often (§5.4)."
        )


def _incomplete(group: CellGroup) -> Iterator[str]:
    for row in group.methods:
        if row.completed < row.planned:
            yield (
                f"{row.label}: {row.planned - row.completed} of {row.planned} {row.phase} runs of its configuration "
                "did not complete and are left out (§4.3)."
            )


def _additions(sweeps: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What was added after test accuracies were known, with its date."""
    for tags in sweeps:
        for one in json.loads(tags.get("added") or "[]"):
            day = datetime.fromtimestamp(one["at"], UTC).date()
            known = f"{one['known']} test accurac" + ("y" if one["known"] == 1 else "ies")
            yield f"Added to {tags.get('method')} on {day}, after {known} had been seen: {one['what']} (§4.7)."


def _samplers(accounts: Sequence[CellLedger]) -> Iterator[str]:
    """How configurations were drawn, and how many of the draws could learn from others."""
    sorts: dict[str, list[str]] = {}
    for account in accounts:
        trials = account.searched.ended
        if trials <= account.searches:  # one trial is the whole search where nothing is left to tune
            continue
        if account.sampler == "tpe":
            first = f"random draws until {account.startup} trials had ended"
            drawn = f"TPE, {first}"
            if account.drawn_at_random:
                drawn = f"TPE, {first}, so that all {trials} trials are random draws"
        else:
            drawn = SAMPLERS.get(account.sampler, account.sampler)
        sorts.setdefault(drawn, []).append(account.method)
    for drawn, methods in sorts.items():
        whose = "" if len(sorts) == 1 else f" of {', '.join(methods)}"
        yield f"Sampler{whose}: {drawn} (§3.1)."


def _use_unknown(accounts: Sequence[CellLedger]) -> Iterator[str]:
    unknown = sum(account.total.unknown for account in accounts)
    if unknown:
        yield f"What {unknown} of the runs used is not recorded; sums with a + leave it out (§4.2)."


def _test_openings(rows: Sequence[Row]) -> Iterator[str]:
    """How often the test set was opened, and each run in which that was more than once, forced, or not its phase's."""
    opened = [row for row in rows if row.get("test_opened")]
    usual = [
        row for row in opened if row["phase"] != "search" and row["test_opened"] == 1 and not row.get("test_forced")
    ]
    if usual:
        yield f"Test set: opened once in each of {len(usual)} runs, after the last epoch (§3.3)."
    for row in opened:
        times, forced = row["test_opened"], row.get("test_forced") or 0
        if times > 1 or forced:
            yield f"Test set: opened {times} times in {row['trial_id']}, {forced} of them forced (§3.3)."
        if row["phase"] == "search":
            yield f"Test set: opened during the search, in {row['trial_id']}, which the protocol forbids (§3.3)."
    if any(row["test_accuracy"] is not None and row.get("test_opened") is None for row in rows):
        yield "Test set: how often it was opened is not recorded (§3.3)."


def fixed_columns() -> list[str]:
    """The columns of what is the same for every method of a workload (§2.3), the workers and their threads included."""
    scopes = ("workload", "execution")
    return [setting.name for setting in configuration_settings() if setting.scope in scopes]


def _fixed_settings(group: CellGroup) -> Iterator[str]:
    may_differ = {*MAY_DIFFER, *(one.name for one in configuration_settings() if one.scope == "execution")}
    for name in fixed_columns():
        holders: dict[Any, list[str]] = {}
        for row in group.scored:
            holders.setdefault(row.configuration.get(name), []).append(row.label)
        if len(holders) > 1:
            told = "; ".join(f"{value} for {', '.join(labels)}" for value, labels in holders.items())
            why = "which matters for memory and seconds" if name in may_differ else "though it should be fixed"
            yield f"Not the same for all, {why} (§2.3): {name} is {told}."


def _real_parameters(group: CellGroup) -> Iterator[str]:
    """That the methods trained their real parameters by optimizers of their own, where they did."""
    published = [row for row in group.scored if row.configuration.get("real_optimizer") == "published"]
    by_adam = [row.label for row in published if row.configuration.get("optimizer") == "Adam"]
    if by_adam and len(by_adam) < len(published):
        yield (
            f"Real parameters are trained as published: by Adam under {', '.join(by_adam)}, by SGD under the others. "
            "Differences between them are also those of these optimizers (§2.3)."
        )


def _memory_spread(group: CellGroup) -> Iterator[str]:
    spread = [(row, row.peak_memory) for row in group.methods if len(set(row.memory.values())) > 1]
    told = [f"{row.label} {_mib(memory)}" for row, memory in spread if memory]
    if told:
        yield f"Peak memory varies over the seeds, mean [95 % interval] in MiB: {', '.join(told)}."


def _flipped(group: CellGroup, rows: Sequence[Row]) -> Iterator[str]:
    """How much of the network each method changed: the mean over its scored runs, where it is recorded."""
    shares = {row["trial_id"]: row.get("flipped_share") for row in rows}
    told = []
    for method in group.methods:
        known = [share for trial_id in method.trial_ids if (share := shares.get(trial_id)) is not None]
        if known:
            told.append(f"{method.label} {100 * fmean(known):.2g}")
    if told:
        yield f"Binary weights that differ from those of the run's start, in %, mean over seeds: {', '.join(told)}."


def _mib(memory: Estimate) -> str:
    low, high = memory.scaled(1 / MIB).interval
    return f"{memory.mean / MIB:.1f} [{low:.1f}, {high:.1f}]"


def _hardware(group: CellGroup, rows: Sequence[Row]) -> Iterator[str]:
    scored = {trial_id for row in group.methods for trial_id in row.trial_ids}
    machines = sorted({row["hardware"] for row in rows if row["trial_id"] in scored and row.get("hardware")})
    if len(machines) > 1:
        yield f"Run on different machines, so memory and seconds compare with care (§8.2): {'; '.join(machines)}."


def _fewer_workers(group: CellGroup, rows: Sequence[Row]) -> Iterator[str]:
    scored = {trial_id for row in group.methods for trial_id in row.trial_ids}
    found = [row for row in rows if row["trial_id"] in scored and row.get("fewest_workers")]
    if found:
        which = ", ".join(f"{row['trial_id']} ({row['fewest_workers']} of {row.get('workers')})" for row in found)
        yield (
            f"Went on with fewer workers than it began with: {which}. Its accuracy counts, its bits do not repeat, and "
            "its seconds compare with nobody's (§8.5)."
        )


def _side_by_side(accounts: Sequence[CellLedger]) -> Iterator[str]:
    most = max((account.side_by_side or 1 for account in accounts), default=1)
    if most > 1:
        yield (
            f"Up to {most} trials ran side by side, so the order of the search, and with it what it finds, may differ "
            "from run to run (§8.3)."
        )
