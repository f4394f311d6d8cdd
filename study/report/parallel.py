"""Parallel coordinates: every completed trial of a search as one line through all of its settings to its accuracy.

(Inselberg, "The plane with parallel coordinates", 1985.) The lines' shade is the accuracy, dark low and light high in
`cividis`, which colour-blind readers and grey printers see as others do; the best line is thick and marked.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from study.compare.figure_page import INK
from study.compare.scores import CellGroup
from study.report.drawing import Drawing, page
from trainers.registry import declared

if TYPE_CHECKING:
    from study.search.searched import Searched, SearchedSetting, SearchedTrial

LEAST_LINES, MOST_LINES = 3, 80
"""Fewer show nothing; of more the best are shown, since a thicket shows nothing either."""
ABSENT = -0.12
"""Where a line passes through a setting that its trial was not asked for, below the axis."""


def parallel_coordinates(group: CellGroup, method: str, searched: "Searched", name: str) -> Drawing | None:
    """The figure of one search; None with fewer than two settings or three completed trials."""
    trials = [trial for trial in searched.trials if trial.outcome == "completed" and trial.accuracy is not None]
    if len(searched.settings) < 2 or len(trials) < LEAST_LINES:
        return None
    trials.sort(key=lambda trial: trial.accuracy or 0.0)
    trials = trials[-MOST_LINES:]
    settings = searched.settings
    figure = page(3.3)
    axis = figure.subplots()
    accuracies = [100 * (trial.accuracy or 0.0) for trial in trials]
    low, high = min(accuracies), max(accuracies)
    span = (high - low) or 1.0
    colours = matplotlib.colormaps["cividis"]
    for trial, accuracy in zip(trials, accuracies, strict=True):
        best = trial is trials[-1]
        share = (accuracy - low) / span
        axis.plot(
            range(len(settings) + 1),
            [*(_place(setting, trial) for setting in settings), share],
            color=colours(0.92 * share),
            linewidth=2.6 if best else 1.0,
            alpha=1.0 if best else 0.75,
            marker="o" if best else None,
            markersize=5,
            zorder=3 if best else 2,
        )
    for place, setting in enumerate(settings):
        _scale(axis, place, setting)
    _rule(axis, len(settings))
    for share, value in ((0.0, low), (1.0, high)):
        spot = (len(settings), share)
        axis.annotate(f"{value:.1f}", spot, (4, 0), textcoords="offset points", va="center", fontsize=8)
    _frame(axis, [*(setting_title(setting.name) for setting in settings), "accuracy %"])
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, low + span), colours), ax=axis, pad=0.02, aspect=30, fraction=0.04
    )
    bar.set_label("validation accuracy (%)", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    most = f", the best {MOST_LINES} of them" if len(trials) == MOST_LINES else ""
    told = ", ".join(f"{setting_title(key)} {_shown(value)}" for key, value in trials[-1].settings.items())
    several = len({trial.search for trial in trials}) > 1
    of_search = f" of search {trials[-1].search}" if several else ""
    return Drawing(
        name,
        f"All settings of {method} at once, {group.dataset}, {group.model}.",
        f"{len(trials)} completed trials, validation accuracy {low:.1f} to {high:.1f} %. The best, trial "
        f"{trials[-1].number}{of_search}: {told}.",
        figure,
        f"A line a completed trial{most}; thick with dots: the best. A line below an axis: the trial was not asked for "
        "that setting.",
    )


def setting_title(name: str) -> str:
    """A searched setting as tables call it."""
    known = declared().get(name)
    return known.title if known else name.replace("_", " ")


def _place(setting: "SearchedSetting", trial: "SearchedTrial") -> float:
    """Where on a setting's axis, 0 the lowest and 1 the highest, a trial's value lies."""
    if setting.name not in trial.settings:
        return ABSENT
    value = trial.settings[setting.name]
    if setting.choices:
        return _of_choice(setting.choices, value)
    low, high, value = setting.low, setting.high, float(value)
    if setting.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))


def _of_choice(choices: Sequence[Any], value: Any) -> float:
    at = list(choices).index(value) if value in choices else 0
    return at / (len(choices) - 1) if len(choices) > 1 else 0.5


def _scale(axis: Axes, place: int, setting: "SearchedSetting") -> None:
    _rule(axis, place)
    marks = [(_of_choice(setting.choices, one), str(one)) for one in setting.choices]
    marks = marks or [(0.0, _shown(setting.low)), (1.0, _shown(setting.high))]
    for height, words in marks:
        axis.annotate(
            words, (place, height), (3, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK, zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip


def _rule(axis: Axes, place: int) -> None:
    axis.plot([place, place], [0, 1], color=INK, linewidth=1, zorder=1)


def _frame(axis: Axes, names: Sequence[str]) -> None:
    low = [("\n" if place % 2 and len(names) > 3 else "") + name for place, name in enumerate(names)]
    axis.set_xticks(range(len(names)), low, fontsize=8.5, color=INK)  # every other one lower: they are long
    axis.tick_params(length=0)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_xlim(-0.08, len(names) - 0.85)
    axis.set_ylim(ABSENT - 0.05, 1.06)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
