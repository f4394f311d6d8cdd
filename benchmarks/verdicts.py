"""How often the protocol's verdicts are wrong (study/PROTOCOL.md §6.2): their operating characteristics.

    python -m benchmarks.verdicts

Studies of two methods are drawn from worlds whose true difference is known (`benchmarks.simulated_answers`), over true
difference x test images x seeds x discordance x how far seeds agree on an image x the seeds' own deviation. Asked is

- at a true difference of exactly the margin: how often is "comparable" said? At most in 5 %;
- at no difference: how often is "higher" or "lower" said? At most in 5 %;
- at no difference: how often is "comparable" said, where a normal calculation would allow it in 90 %? At least in 80 %.

The normal calculation is made twice: as if all variances were known, and as somebody can who has to learn the seeds'
variance from the seeds. Where they part, with three seeds, no rule keeps all three promises: one that says "comparable"
in 80 % of studies whose seeds differ by 0.1 points says so too in more than 5 % of those whose seeds differ by 0.5.

Beside the protocol's rule stand the candidates that it was chosen from. Writes `verdicts.csv`, a row a world, and
`verdicts.png` and `.svg` into a folder.
"""

import argparse
import csv
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.simulated_answers import World, latent_answers, simulate
from study.compare.moments import PairedMoments
from study.compare.paired import decide

MARGIN = 1.0
IMAGES, SEEDS, DISCORDANCES = (270, 370, 1000, 2000, 10_000), (3, 5, 10, 20), (0.02, 0.05, 0.2)
SHARED, DEVIATIONS, DIFFERENCES = (0.0, 0.5, 1.0), (0.1, 0.3), (0.0, 0.5, 1.0, 1.5, 2.0)
WRONG, POSSIBLE, SAID = 0.05, 0.9, 0.8
TOLERATED = 3.5
"""Standard errors of a share by which a cell may miss a bound: of some thousand cells one in two thousand does."""


def tail_worlds() -> Iterator[World]:
    """Worlds where normal theory fails: hardly a discordant answer, few images, two seeds, seeds far apart."""
    for seeds, images, discordance, shared in itertools.product(
        (2, 3, 20), (100, 270, 370, 1000), (0.002, 0.005, 0.01), SHARED
    ):
        yield World(seeds, images, discordance, shared, 0.0)
    for seeds, images, discordance, deviation in itertools.product((2, 3, 5), (2000, 10_000), (0.02, 0.05), (0.5, 1.0)):
        yield World(seeds, images, discordance, 0.0, deviation)


def grid() -> Iterator[World]:
    """The worlds of the table."""
    for seeds, images, discordance, shared, deviation in itertools.product(
        SEEDS, IMAGES, DISCORDANCES, SHARED, DEVIATIONS
    ):
        yield World(seeds, images, discordance, shared, deviation)


def quick_grid() -> Iterator[World]:
    """Of the grid the cells that are hardest to hold, for a test of seconds."""
    for seeds, images, discordance, shared, deviation in itertools.product(
        (3, 10), (270, 2000), (0.02, 0.05), SHARED, (0.1, 0.3)
    ):
        yield World(seeds, images, discordance, shared, deviation)


Rule = Callable[[PairedMoments, float], tuple[Any, Any]]


def normal_rule(quantile_and_error: Callable[[PairedMoments], tuple[Any, Any]]) -> Rule:
    """A rule that says comparable where mean ± quantile x error lies within the margin, else different off 0."""

    def rule(moments: PairedMoments, margin: float) -> tuple[Any, Any]:
        quantile, error = quantile_and_error(moments)
        reach = quantile * error
        comparable = np.abs(moments.mean) + reach <= margin / 100
        return comparable, (np.abs(moments.mean) > reach) & ~comparable

    return rule


def _seeds_only(moments: PairedMoments) -> tuple[Any, Any]:
    return stats.t.isf(0.025, moments.seeds - 1), np.sqrt(moments.seed_square / (moments.seeds * moments.images))


def _larger(moments: PairedMoments) -> tuple[Any, Any]:
    squares = np.maximum(moments.seed_square, moments.image_square)
    return stats.t.isf(0.025, moments.seeds - 1), np.sqrt(squares / (moments.seeds * moments.images))


def _satterthwaite(moments: PairedMoments) -> tuple[Any, Any]:
    n, m = moments.seeds, moments.images
    square = np.maximum(
        moments.seed_square + moments.image_square - moments.rest_square,
        np.maximum(moments.seed_square, moments.image_square),
    )
    spread = moments.seed_square**2 / (n - 1) + moments.image_square**2 / (m - 1)
    freedom = np.maximum(square, 1e-12) ** 2 / np.maximum(spread, 1e-24)
    return stats.t.isf(0.025, freedom), np.sqrt(square / (n * m))


def _two_way_bootstrap(moments: PairedMoments) -> tuple[Any, Any]:
    """The variance over resamples of seeds and of images, which has a closed form (Owen 2007); a normal quantile."""
    n, m = moments.seeds, moments.images
    square = (
        moments.seed_square * (n - 1) / n
        + moments.image_square * (m - 1) / m
        + moments.rest_square * (n - 1) * (m - 1) / (n * m)
    )
    return stats.norm.isf(0.025), np.sqrt(square / (n * m))


CANDIDATES: dict[str, Rule] = {
    "protocol": decide,
    "seeds only, t": normal_rule(_seeds_only),
    "ANOVA, Satterthwaite": normal_rule(_satterthwaite),
    "larger of both, t": normal_rule(_larger),
    "two-way bootstrap": normal_rule(_two_way_bootstrap),
}


def shares(world: World, studies: int, seed: int, rules: Sequence[str] = ("protocol",)) -> dict[str, dict[str, float]]:
    """By rule, of so many studies of a world the shares that are called comparable, different and undecided."""
    moments = simulate(world, studies, seed)
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in rules:
            comparable, different = CANDIDATES[name](moments, MARGIN)
            low = different & (moments.mean < 0)
            found[name] = {
                "comparable": float(np.mean(comparable)),
                "higher": float(np.mean(different & ~low)),
                "lower": float(np.mean(low)),
                "undecided": float(np.mean(~comparable & ~different)),
            }
    return found


def beyond(share: float, bound: float, studies: int) -> float:
    """By how many standard errors a share found in so many studies lies above a bound."""
    return (share - bound) / math.sqrt(bound * (1 - bound) / studies)


def broken_promises(
    worlds: Sequence[World], studies: int, seed: int = 0, *, rule: str = "protocol", power: bool = True
) -> tuple[list[str], dict[str, float]]:
    """What a rule promises and does not hold in these worlds, in words, and the worst that was found of each promise.

    Keys of the latter: `comparable at the margin`, `wrong difference`, `comparable where possible` (the least), `cells
    possible`, `cells possible by the seeds`, and, of the first, `cells lost`. Without `power` only errors are counted:
    a normal calculation says nothing of worlds where normal theory fails.
    """
    broken: list[str] = []
    worst = {
        "comparable at the margin": 0.0,
        "wrong difference": 0.0,
        "comparable where possible": 1.0,
        "cells possible": 0.0,
        "cells possible by the seeds": 0.0,
        "cells lost": 0.0,
    }
    for index, world in enumerate(worlds):
        at_zero = shares(world, studies, seed + 2 * index, (rule,))[rule]
        true = World(**{**vars(world), "difference": MARGIN})
        wrong = shares(true, studies, seed + 2 * index + 1, (rule,))[rule]["comparable"]
        different = at_zero["higher"] + at_zero["lower"]
        worst["comparable at the margin"] = max(worst["comparable at the margin"], wrong)
        worst["wrong difference"] = max(worst["wrong difference"], different)
        if beyond(wrong, WRONG, studies) > TOLERATED:
            broken.append(f"{true}: comparable at the margin in {100 * wrong:.1f} %")
        if beyond(different, WRONG, studies) > TOLERATED:
            broken.append(f"{world}: a difference that is none in {100 * different:.1f} %")
        if not power:
            continue
        if world.power(MARGIN, float(stats.norm.isf(0.025))) >= POSSIBLE:
            worst["cells possible"] += 1
            worst["cells lost"] += at_zero["comparable"] < SAID
        if world.power(MARGIN, world.careful_quantile) >= POSSIBLE:
            worst["cells possible by the seeds"] += 1
            worst["comparable where possible"] = min(worst["comparable where possible"], at_zero["comparable"])
            if beyond(at_zero["comparable"], SAID, studies) < -TOLERATED:
                broken.append(f"{world}: comparable in {100 * at_zero['comparable']:.1f} % only")
    return broken, worst


def latent_shares(studies: int, difference: float, **world: Any) -> dict[str, float]:
    """Shares of comparable and of different in the world of latent difficulties (see `latent_answers`)."""
    generator = np.random.default_rng(0)
    counts = np.zeros(2)
    for _ in range(studies):
        answers = latent_answers(generator, difference=difference, **world)
        counts += [bool(one) for one in decide(PairedMoments.of_answers(*answers), MARGIN)]
    return dict(zip(("comparable", "different"), (counts / studies).tolist(), strict=True))


def table(worlds: Sequence[World], studies: int, rules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row a world, true difference and rule."""
    for index, world in enumerate(worlds):
        for step, difference in enumerate(DIFFERENCES):
            true = World(**{**vars(world), "difference": difference})
            for rule, found in shares(true, studies, len(DIFFERENCES) * index + step, rules).items():
                yield {**vars(true), "rule": rule, "power": world.power(MARGIN, 1.96), **found}


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """As CSV: points, and shares of studies."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()})


def summary(rows: Sequence[dict[str, Any]], studies: int) -> Iterator[str]:
    """Of each rule the worst cell of each promise; the least power where a normal calculation allows 90 %."""
    yield f"{'rule':<22}  comparable at the margin  wrong difference  comparable at 0 where 90 % is possible"
    yield f"{'':<22}  worst     cells over 5 %  worst  over 5 %   least   cells under 80 %"
    over = WRONG + 2 * math.sqrt(WRONG * (1 - WRONG) / studies)
    for rule in dict.fromkeys(row["rule"] for row in rows):
        own = [row for row in rows if row["rule"] == rule]
        wrong = [row["comparable"] for row in own if row["difference"] == MARGIN]
        off = [row["higher"] + row["lower"] for row in own if row["difference"] == 0]
        said = [row["comparable"] for row in own if row["difference"] == 0 and row["power"] >= POSSIBLE]
        yield (
            f"{rule:<22}  {100 * max(wrong):5.1f} %   {sum(one > over for one in wrong):>4} of {len(wrong):<4}   "
            f"{100 * max(off):5.1f} %  {sum(one > over for one in off):>4}    "
            f"{100 * min(said, default=math.nan):5.1f} %   {sum(one < SAID for one in said):>3} of {len(said)}"
        )


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """How often "comparable" is said over the true difference: a column for each test set, a line for its seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images, shared = sorted({row["images"] for row in rows}), sorted({row["shared"] for row in rows})
    figure, axes = pyplot.subplots(
        len(shared),
        len(images),
        figsize=(2.4 * len(images), 2.2 * len(shared)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (row, agreed), (column, count) in itertools.product(enumerate(shared), enumerate(images)):
        axis = axes[row][column]
        here = [
            one
            for one in rows
            if (one["images"], one["shared"], one["discordance"], one["seed_deviation"]) == (count, agreed, 0.05, 0.1)
        ]
        for index, seeds in enumerate(sorted({one["seeds"] for one in here})):
            for rule, style in (("protocol", "-"), ("seeds only, t", ":")):
                line = sorted(
                    (one["difference"], 100 * one["comparable"])
                    for one in here
                    if one["seeds"] == seeds and one["rule"] == rule
                )
                label = f"{seeds} seeds" if rule == "protocol" else None
                axis.plot(*zip(*line, strict=True), style, color=f"C{index}", label=label, linewidth=1.3)
        axis.axvline(MARGIN, color="0.6", linewidth=0.7)
        axis.axhline(100 * WRONG, color="0.6", linewidth=0.7)
        if row == 0:
            axis.set_title(f"{count:,} test images", fontsize=9)
        if column == 0:
            axis.set_ylabel(f'seeds agree on {100 * agreed:.0f} %\n"comparable" in %', fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].legend(fontsize=7)
    figure.supxlabel(
        "true difference in points; margin 1, discordance 5 %, seed deviation 0.1 points; dotted: over seeds only",
        fontsize=8,
    )
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Print the summary and every broken promise; write the table and the figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=1000, metavar="N", help="studies of a world (default: 1000)")
    parser.add_argument("--quick", action="store_true", help="the hardest worlds only, in a minute")
    parser.add_argument(
        "--out", type=Path, default=Path("results/verdicts"), metavar="DIR", help="for table and figure"
    )
    chosen = parser.parse_args(arguments)
    worlds = list(quick_grid() if chosen.quick else grid())
    rows = list(table(worlds, chosen.studies, list(CANDIDATES)))
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_table(chosen.out / "verdicts.csv", rows)
    draw(rows, chosen.out / "verdicts")
    print(f"{len(worlds)} worlds x {len(DIFFERENCES)} true differences, {chosen.studies} studies each")
    print("\n".join(summary(rows, chosen.studies)))
    broken, worst = broken_promises(worlds, chosen.studies, seed=10**6)
    broken += broken_promises(list(tail_worlds()), chosen.studies, seed=2 * 10**6, power=False)[0]
    print(f"protocol, drawn again: {worst}")
    print("\n".join(broken) or "no promise is broken by more than chance, here and where normal theory fails")


if __name__ == "__main__":
    main()
