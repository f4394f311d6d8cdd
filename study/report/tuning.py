"""How accuracy grows with the number of search trials, with a band where one is known that is valid for the sampler.

- *Independent draws* (random search; TPE whose trials were all start-up draws): trials are a sample from one
  distribution F of validation accuracy, and the best of k of them has the distribution F^k. A band that holds all of F
  at once gives one that holds the whole tuning curve, the median of the best of k, whatever F is (Lourie, Cho and He,
  "Show Your Work with Confidence", NAACL 2024; `opda`), here from the Kolmogorov-Smirnov band, which is exact for
  continuous F and too wide, never too narrow, where values tie. A trial that diverged, failed or did not fit counts as
  a draw of accuracy 0. Pruned trials were stopped by what others reached, and leave no such sample.
- *Repeated searches*, whatever the sampler: the mean of their best so far, and the range from the lowest to the highest
  of R. At each number of trials a further search lies within it with probability (R - 1) / (R + 1), whatever they are
  distributed like.
- *One search* whose draws learn from one another: its own course, which says nothing of what another would have found.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.compare.budget import CellLedger
from study.compare.figure_page import INK, panels
from study.compare.looks import styles_of
from study.compare.paired import CONFIDENCE
from study.compare.scores import CellGroup
from study.report.drawing import FAINT_INK, Drawing, page, plain_axes

if TYPE_CHECKING:
    from study.search.searched import SearchedMethod, SearchedTrial

LEAST_DRAWS = 5
"""Of fewer draws a band of 95 % says next to nothing."""
DRAWS, REPEATS, ALONE = "draws", "repeats", "alone"
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Growth:
    """How one method's best validation accuracy (fractions 0..1) grows with the number of trials.

    Attributes:
        kind: `DRAWS`, `REPEATS` or `ALONE`: what the line and the band are.
        line: (trials, accuracy): the median of the best of so many draws, the mean over searches, or the one search's.
        low, high: the band at the points of the line; empty where there is none.
        searches: the best so far of each search.
        startup: random draws that a search begins with which then learns; 0 where there are none.
        why: why there is no band.
    """

    kind: str
    line: Points
    low: Sequence[float]
    high: Sequence[float]
    searches: Sequence[Points]
    startup: int = 0
    why: str = ""


def best_so_far(trials: "Sequence[SearchedTrial]") -> list[tuple[int, float]]:
    """After so many ended trials the highest validation accuracy of those completed, from the first of them on."""
    best, found, ended = -math.inf, [], 0
    for trial in trials:
        if trial.outcome == "running":
            continue
        ended += 1
        if trial.accuracy is not None and trial.outcome == "completed":
            best = max(best, trial.accuracy)
        if best > -math.inf:
            found.append((ended, best))
    return found


def mean_best(searches: Sequence[Points]) -> list[tuple[int, float]]:
    """The mean of several searches' best so far, at the numbers of trials that all of them have."""
    courses = [dict(points) for points in searches]
    shared = sorted(set.intersection(*(set(course) for course in courses))) if courses else []
    return [(count, fmean(course[count] for course in courses)) for count in shared]


def tuning_band(values: Sequence[float], counts: Sequence[int]) -> tuple[list[float], list[float], list[float]]:
    """The median of the best of so many independent draws, and its simultaneous band: (low, median, high).

    Args:
        values: what was drawn, fractions 0..1.
        counts: the numbers of draws asked for.
    """
    from opda.nonparametric import EmpiricalDistribution

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that tied values make the band wider than it need be
        lower, middle, upper = EmpiricalDistribution.confidence_bands(
            np.asarray(values), CONFIDENCE, a=0.0, b=1.0, method="ks", n_jobs=1
        )
    asked = np.asarray(counts)
    # The upper band of the distribution is the lower one of the curve.
    low, median, high = (one.quantile_tuning_curve(asked).tolist() for one in (upper, middle, lower))
    return low, median, high


def growth(method: "SearchedMethod", account: CellLedger) -> Growth | None:
    """A method's growth; None where no trial completed."""
    searches = [points for one in method.searches if (points := best_so_far(one.trials))]
    if not searches:
        return None
    ended = [trial for trial in method.searches[0].trials if trial.outcome != "running"]
    startup = account.startup or 0
    random = account.sampler == "random" or len(ended) <= startup
    if len(searches) > 1 and (line := mean_best(searches)):
        courses = [dict(points) for points in searches]
        at = [[course[count] for course in courses] for count, _ in line]
        return Growth(REPEATS, line, [min(one) for one in at], [max(one) for one in at], searches, startup)
    if not random:
        return Growth(ALONE, searches[0], (), (), searches, startup, "one search")
    if any(trial.outcome == "pruned" for trial in ended):
        return Growth(ALONE, searches[0], (), (), searches, startup, "one search, with pruned trials")
    if len(ended) < LEAST_DRAWS:
        return Growth(ALONE, searches[0], (), (), searches, startup, f"fewer than {LEAST_DRAWS} trials")
    counts = list(range(1, len(ended) + 1))
    low, median, high = tuning_band([trial.accuracy or 0.0 for trial in ended], counts)
    return Growth(DRAWS, list(zip(counts, median, strict=True)), low, high, searches, startup)


def tuning_curves(
    group: CellGroup, own: "Mapping[str, SearchedMethod]", accounts: Mapping[str, CellLedger], name: str
) -> Drawing | None:
    """A panel a method; None where nothing was searched that could have grown."""
    found = {method: made for method, one in own.items() if (made := growth(one, accounts[method])) is not None}
    found = {method: one for method, one in found.items() if len(one.line) > 1}
    if not found:
        return None
    figure, axes = panels(len(found), 2, lambda columns, rows: page(0.6 + 1.7 * rows))
    styles = styles_of(found)
    for axis, (method, one) in zip(axes, found.items(), strict=True):
        _panel(axis, method, one, styles[method][0])
    figure.supxlabel("search trials", fontsize=9.5, color=INK)
    figure.supylabel("best validation accuracy (%)", fontsize=9.5, color=INK)
    return Drawing(
        name,
        f"How accuracy grows with the number of trials, {group.dataset}, {group.model}.",
        f"{'; '.join(_told(method, one) for method, one in found.items())}.",
        figure,
        " ".join(_caption(list(found.values()))),
    )


def _panel(axis: Axes, method: str, one: Growth, colour: str) -> None:
    across, up = [count for count, _ in one.line], [100 * value for _, value in one.line]
    low, high = [100 * value for value in one.low], [100 * value for value in one.high]
    if low:
        axis.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0, step="post")
    if one.kind != ALONE:
        for points in one.searches:
            axis.plot(
                [count for count, _ in points], [100 * value for _, value in points],
                color=FAINT_INK, linewidth=0.9, drawstyle="steps-post", zorder=2,
            )  # fmt: skip
    axis.plot(across, up, color=colour, linewidth=1.8, drawstyle="steps-post", zorder=3)
    plain_axes(axis, "", "", method if not one.why else f"{method} (no band)")
    if one.startup and one.startup < across[-1]:
        axis.axvline(one.startup, color=FAINT_INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    early = len(up) // 4  # what the very first trials reached would press the rest together
    bottom, top = min([up[early], *low[early : early + 1]]), max(up)
    room = max(1.0, 0.3 * (top - bottom))
    axis.set_ylim(max(0.0, bottom - 0.1 * room), min(100.5, top + room))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.tick_params(labelsize=8)


def _told(method: str, one: Growth) -> str:
    count, last = one.line[-1]
    said = f"{method}: {100 * last:.1f} % after {count} trials"
    if one.kind == DRAWS:
        return f"{said} at the median, band {100 * one.low[-1]:.1f} to {100 * one.high[-1]:.1f} %"
    if one.kind == REPEATS:
        ends = f"from {100 * one.low[-1]:.1f} to {100 * one.high[-1]:.1f} %"
        return f"{said} on average of {len(one.searches)} searches, {ends}"
    return f"{said}, without a band: {one.why}"


def _caption(found: Sequence[Growth]) -> list[str]:
    kinds = {one.kind for one in found}
    said = []
    if DRAWS in kinds:
        said.append(
            "Where all trials were independent random draws: the median of the best of so many draws, its simultaneous "
            f"{100 * CONFIDENCE:.0f} % band whatever their distribution (opda; up to 100 % where so few draws set no "
            "upper bound), and, thin, the search as it went."
        )
    if REPEATS in kinds:
        counts = sorted({len(one.searches) for one in found if one.kind == REPEATS})
        chances = " or ".join(f"{(count - 1) / (count + 1):.0%} (of {count} searches)" for count in counts)
        said.append(
            "Where searches were repeated: their mean, each as it went, and shaded from the lowest to the highest; a "
            f"further search lies within it, at each number of trials, with a probability of at least {chances}."
        )
    if reasons := list(dict.fromkeys(one.why for one in found if one.why)):
        said.append(
            f"No band ({'; '.join(reasons)}): what another search would have found is not known; `search: repeats` "
            "would tell."
        )
    if any(one.startup and one.startup < one.line[-1][0] for one in found):
        said.append("Dashed: up to there TPE draws at random; only then does it learn.")
    said.append("These values were chosen for being high: they are no scores.")
    return said
