"""A study's figures as values: what a notebook shows and a program saves, drawn as `compare` draws them.

`accuracy_vs_*` are the very figures of `study.compare.figure`; learning curves are drawn here, in the same colours.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from study.compare.figure import PEAK_MEMORY, STATE, Across, draw_figure
from study.compare.figure_page import settle
from study.compare.findings import Findings
from study.compare.looks import styles_of
from trainers.errors import UserError

_INCHES = (4.6, 3.4)  # of one panel of learning curves
_PERCENT = ("accuracy", "rate", "share")  # endings of measures that are fractions


@dataclass(frozen=True)
class Picture:
    """One figure, as PNG and SVG. A notebook shows it where it is a cell's last value.

    Attributes:
        png, svg: the files' contents.
    """

    png: bytes
    svg: bytes

    def save(self, path: str | Path) -> Path:
        """Write it as the path's ending says, `.png` or `.svg`, and return the path.

        Raises:
            UserError: another ending, or the file cannot be written.
        """
        path = Path(path)
        content = {".png": self.png, ".svg": self.svg}.get(path.suffix.lower())
        if content is None:
            raise UserError(f"a picture is saved as .png or .svg, not as {path.name!r}; give one of these endings")
        try:
            path.write_bytes(content)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror or error}); give another path") from error
        return path

    def _repr_png_(self) -> bytes:
        return self.png


def accuracy_picture(findings: Findings, across: Across = PEAK_MEMORY) -> Picture:
    """Accuracy against peak memory, or against bits of state a weight: a panel for each data set and model."""
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "figure"
        png, svg = draw_figure(findings.workloads, stem, findings.study, findings.short_banners, across)
        return Picture(png.read_bytes(), svg.read_bytes())


def state_picture(findings: Findings) -> Picture:
    """Accuracy against the bits of state a weight that training keeps from step to step."""
    return accuracy_picture(findings, STATE)


def curves_picture(epochs: pa.Table, measure: str, phase: str, study: str) -> Picture:
    """A measure over the epochs, a panel for each data set and model and a line for each method.

    A line is the mean over the method's runs of the phase; its band reaches from the least to the greatest of them.

    Args:
        epochs: what `study.record.epochs_table.read_epochs` returned.
        measure: one of its measures, such as `val_accuracy`, `train_loss`, `flip_rate` or `temperature`.
        phase: confirm, search or train.
        study: the study's name, for the title.

    Raises:
        UserError: an unknown measure, or no run of that phase that has it.
    """
    measures = [name for name in epochs.column_names if name not in ("trial_id", "dataset", "model", "method", "phase")]
    if measure not in measures:
        raise UserError(f"{measure!r} is no measure of an epoch; use one of {', '.join(measures)}")
    rows = [row for row in epochs.to_pylist() if row["phase"] == phase and row[measure] is not None]
    if not rows:
        raise UserError(f"the study {study!r} has no {phase} run with a {measure}; use another phase or measure")
    workloads = sorted({(row["dataset"], row["model"]) for row in rows})
    figure = Figure(figsize=(_INCHES[0] * len(workloads), _INCHES[1] + 0.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    scale = 100 if measure.endswith(_PERCENT) else 1
    axes = figure.subplots(1, len(workloads), squeeze=False)[0]
    for axis, (dataset, model) in zip(axes, workloads, strict=True):
        own = [row for row in rows if (row["dataset"], row["model"]) == (dataset, model)]
        styles = styles_of(row["method"] for row in own)
        for method, (colour, mark) in styles.items():
            points: dict[int, list[float]] = {}
            for row in own:
                if row["method"] == method:
                    points.setdefault(row["epoch"], []).append(scale * row[measure])
            across = sorted(points)
            marks = {"marker": mark, "markersize": 4, "markevery": max(1, len(across) // 8)}
            axis.plot(across, [np.mean(points[epoch]) for epoch in across], color=colour, label=method, **marks)
            low, high = ([end(points[epoch]) for epoch in across] for end in (min, max))
            axis.fill_between(across, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=f"{dataset}: {model}", xlabel="epoch", ylabel=measure + (" (%)" if scale == 100 else ""))
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{study}: {phase} runs, mean and range", fontsize=10)
    settle(figure)
    return Picture(_saved(figure, "png"), _saved(figure, "svg"))


def _saved(figure: Figure, kind: str) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format=kind)
    return stream.getvalue()


@dataclass(frozen=True)
class Plots:
    """The figures of one study; each is drawn from its records when it is asked for.

    Args:
        findings: what a comparison finds.
        epochs: every recorded epoch.
        study: the study's name.
    """

    findings: Callable[[], Findings]
    epochs: Callable[[], pa.Table]
    study: str

    def accuracy_memory(self) -> Picture:
        """Accuracy against peak memory, with 95 % intervals and the Pareto front of the means."""
        return accuracy_picture(self.findings())

    def accuracy_state(self) -> Picture:
        """Accuracy against the bits of state a weight that training keeps from step to step."""
        return state_picture(self.findings())

    def curves(self, measure: str = "val_accuracy", phase: str = "confirm") -> Picture:
        """A measure over the epochs by method, such as `val_accuracy`, `train_loss`, `flip_rate`, `temperature`.

        Raises:
            UserError: an unknown measure, or no run of that phase that has it.
        """
        return curves_picture(self.epochs(), measure, phase, self.study)
