"""Which classes a confirmed run took for which, as a picture and a table among its artifacts.

A run keeps what it answered and whether that was right (`trainers.predictions`), not what would have been right. So an
image's class is what any run of the study that was right on it said; an image on which none was right has none, and is
counted in a row of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from trainers.predictions import Predictions

FILE = "confusion_matrix"
UNKNOWN = "none was right"
MOST_CLASSES = 100  # a picture of more could not be read; the table is made all the same
CELL, MARGIN = 24, 70  # pixels


def true_classes(runs: Iterable[Predictions]) -> np.ndarray:
    """Each image's class, int64 (images,), -1 where no run was right; of runs on one test set."""
    runs = list(runs)
    found = np.full(runs[0].images, -1, dtype=np.int64)
    for run in runs:
        found[run.correct] = run.predicted[run.correct]
    return found


def confusion(run: Predictions, classes: np.ndarray) -> np.ndarray:
    """Counts, int64 (classes + 1, classes): true class by the class that was named, last the images without one."""
    number = int(max(classes.max(initial=-1), run.predicted.max(initial=0))) + 1
    counts = np.zeros((number + 1, number), dtype=np.int64)
    np.add.at(counts, (np.where(classes < 0, number, classes), run.predicted), 1)
    return counts


def as_csv(counts: np.ndarray) -> str:
    """The counts with a header: a row a true class, a column a named one."""
    lines = [",".join(["true class", *(str(name) for name in range(counts.shape[1]))])]
    lines += [",".join([name, *map(str, row)]) for name, row in zip(_rows(counts), counts.tolist(), strict=True)]
    return "\n".join(lines) + "\n"


def as_svg(counts: np.ndarray, title: str) -> str | None:
    """A picture of the counts, shaded by share of the true class, with the numbers in it; None of too many classes."""
    named = counts.shape[1]
    if named > MOST_CLASSES:
        return None
    rows = [place for place in range(len(counts)) if place < named or counts[place].any()]
    width, height = MARGIN + 40 + CELL * named, MARGIN + CELL * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11" role="img"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN + 40}" y="16" font-size="13">{escape(title)}</text>',
        f'<text x="{MARGIN + 40}" y="{MARGIN - 28}">named class; rows: true class</text>',
    ]
    names = _rows(counts)
    for place in range(named):
        parts.append(_text(MARGIN + 40 + CELL * (place + 0.5), MARGIN - 8, str(place)))
    for line, row in enumerate(rows):
        middle = MARGIN + CELL * (line + 0.5) + 4
        parts.append(f'<text x="{MARGIN + 32}" y="{middle}" text-anchor="end">{escape(names[row])}</text>')
        total = max(int(counts[row].sum()), 1)
        for place in range(named):
            count, share = int(counts[row, place]), counts[row, place] / total
            x = MARGIN + 40 + CELL * place
            shade = f"rgb({255 - round(200 * share)},{255 - round(150 * share)},{255 - round(60 * share)})"
            parts.append(
                f'<rect x="{x}" y="{MARGIN + CELL * line}" width="{CELL}" height="{CELL}" fill="{shade}" '
                'stroke="#ddd"/>'
            )
            if count:
                parts.append(_text(x + CELL / 2, middle, str(count)))
    return "\n".join([*parts, "</svg>", ""])


def matrices(predictions: Mapping[str, Predictions]) -> dict[str, np.ndarray]:
    """Every run's confusions, by trial id; true classes are told by all runs on the same test set."""
    by_test_set: dict[tuple[str, int], list[Predictions]] = {}
    for run in predictions.values():
        by_test_set.setdefault((run.test_set, run.images), []).append(run)
    classes = {what: true_classes(runs) for what, runs in by_test_set.items()}
    return {name: confusion(run, classes[run.test_set, run.images]) for name, run in predictions.items()}


def _rows(counts: np.ndarray) -> Sequence[str]:
    return [*(str(name) for name in range(counts.shape[1])), UNKNOWN]


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'
