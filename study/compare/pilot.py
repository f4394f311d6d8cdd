"""What a planned study will be able to decide, by the variances of one that was run (PROTOCOL §6.6)."""

from collections.abc import Iterator
from pathlib import Path

from study.compare.contrasts import CONTROL, contrasts_of, measure
from study.compare.found import read_predictions
from study.compare.paired import POINTS
from study.compare.power import POWER, Variances, needed
from study.compare.scores import BASELINE, summarise
from study.define.cells import StudyConfig
from study.record.runs_table import read_study
from trainers.errors import UserError


def planned_comparisons(study: StudyConfig) -> int:
    """How many comparisons a study will make: with the baselines, with the control, and those that it names."""
    count = 0
    for workload in dict.fromkeys((cell.base.dataset, cell.base.model) for cell in study.cells):
        methods = {cell.method for cell in study.cells if (cell.base.dataset, cell.base.model) == workload}
        lifts = max(0, len(methods) - 2) if CONTROL in methods else 0
        pairs = {frozenset(pair) for pair in study.contrasts if set(pair) <= set(methods)}
        named = sum(not pair & {BASELINE, CONTROL} for pair in pairs)
        count += len(methods) - 1 + lifts + named
    return count


ASSUMED = Variances(seed=0.2**2, image=0.5 * 0.05 * POINTS**2, rest=0.5 * 0.05 * POINTS**2)
"""Where nothing was measured: 5 % of answers differ, half of it on images on which seeds agree; seeds by 0.2 points."""
ASSUMED_IMAGES = (1000, 2000, 10_000)


def assumed_power(study: StudyConfig) -> Iterator[str]:
    """What a plan without a pilot can say: its power under assumptions that are stated, by the size of a test set."""
    margin, seeds, comparisons = study.confirm.margin, len(study.confirm.seeds), planned_comparisons(study)
    if not study.confirm.k or not comparisons or seeds < 2:
        yield "power: none, since verdicts need two methods confirmed on two seeds or more (PROTOCOL §6.2)"
        return
    yield (
        "power, assumed: 5 % of answers discordant, half of them on images on which seeds agree, seeds that differ by "
        f"0.2 points; margin {margin:g}, {seeds} seeds, Holm over {comparisons} comparisons (--pilot DIR: by a study)"
    )
    told = (f"{ASSUMED.power(margin, seeds, m, comparisons):.0%} with {m:,} test images" for m in ASSUMED_IMAGES)
    yield f"no difference is found comparable in {', '.join(told)} of studies"
    told = (f"{ASSUMED.least_told(seeds, m, comparisons):.1f} with {m:,} test images" for m in ASSUMED_IMAGES)
    yield f"a difference is told from none in {100 * POWER:.0f} % of studies, in points: {', '.join(told)}"


def power_of_plan(study: StudyConfig, pilot: str | Path) -> Iterator[str]:
    """A line a workload of the plan: how often it will find no difference comparable, what would do so in 80 %, and the
    smallest difference that it will tell.

    Args:
        study: the plan.
        pilot: the folder of a study of the same workloads, with at least two seeds confirmed and their answers kept.

    Raises:
        UserError: the pilot knows none of the plan's workloads.
    """
    records = read_study(pilot)
    groups = summarise(records.table, records.sweeps, read_predictions(pilot, records.table))
    margin, seeds, comparisons = study.confirm.margin, len(study.confirm.seeds), planned_comparisons(study)
    searches = study.search.repeats
    over = f"{seeds} seeds" if searches == 1 else f"{searches} searches x {seeds} seeds"
    yield f"power, by the variances of {pilot}: margin {margin:g}, {over}, Holm over {comparisons} comparisons"
    wanted = {(cell.base.dataset, cell.base.model) for cell in study.cells}
    known = 0
    for group in groups:
        measured = [measure(group, row, against) for row, against, _ in contrasts_of(group, study.contrasts)]
        moments = [one.moments for one in measured if one and one.moments and one.moments.seeds > 1]
        if (group.dataset, group.model) not in wanted or not moments:
            continue
        known += 1
        variances, images = Variances.largest([Variances.of(one) for one in moments]), moments[0].images
        power = variances.power(margin, seeds, images, comparisons, searches) if seeds > 1 else 0.0
        line = f"{group.dataset}, {group.model}: no difference is found comparable in {100 * power:.0f} % of studies"
        if power < POWER:
            line += f"; in {100 * POWER:.0f} % by "
            line += needed(variances, margin, seeds, images, comparisons, searches).text(seeds, images)
        if seeds > 1:
            least = variances.least_told(seeds, images, comparisons, searches)
            line += f"; a difference of {least:.1f} points or more is told from none in {100 * POWER:.0f} %"
        yield line
    if not known:
        raise UserError(
            f"{pilot} holds no workload of this study with two methods whose answers to the test set are kept for two "
            "seeds or more; give a study of the same data sets and models"
        )
