"""What a prepared data set holds, in lines for the terminal: each class's pictures by split, and every note."""

from collections.abc import Sequence

from trainers.data.inspection_notes import USUAL_VALIDATION
from trainers.data.notes import printable
from trainers.data.splits import held_out
from trainers.data.store import Manifest

MOST_CLASSES_SHOWN = 40
"""Of more classes the largest and the smallest are shown; the manifest has all."""
_LONGEST_NAME = 40


def summary_line(manifest: Manifest, val_fraction: float = USUAL_VALIDATION, train_per_class: int | None = None) -> str:
    """`3 classes; 138 pictures in train, 15 in validation, 27 in test; 32x32 pixels, colour`."""
    rows = _rows(manifest, val_fraction, train_per_class)
    train, validation, test = (sum(counts) for counts in zip(*(row[1:] for row in rows), strict=True))
    size = f"{manifest.image_size}x{manifest.image_size} pixels, {'grey' if manifest.channels == 1 else 'colour'}"
    counts = f"{train:,} pictures in train, {validation:,} in validation, {test:,} in test"
    return f"{len(manifest.class_names):,} classes; {counts}; {size}"


def note_lines(manifest: Manifest) -> list[str]:
    """A line for each note."""
    return [note.line() for note in manifest.notes]


def report_lines(manifest: Manifest, val_fraction: float = USUAL_VALIDATION) -> list[str]:
    """The whole report.

    Args:
        manifest: of the prepared folder; one from before classes were counted has no table.
        val_fraction: the share of train that is shown as validation.
    """
    if not manifest.class_counts:
        return ["prepared before its classes were counted; delete the folder and prepare again for a report"]
    return [
        summary_line(manifest, val_fraction),
        *class_lines(manifest, val_fraction),
        *note_lines(manifest),
    ]


def class_lines(
    manifest: Manifest, val_fraction: float = USUAL_VALIDATION, train_per_class: int | None = None
) -> list[str]:
    """A table: each class's pictures in train, validation and test."""
    rows = _rows(manifest, val_fraction, train_per_class)
    shown: Sequence[tuple[str, int, int, int] | None] = rows
    if len(rows) > MOST_CLASSES_SHOWN:
        by_size = sorted(rows, key=lambda row: -sum(row[1:]))
        half = MOST_CLASSES_SHOWN // 4
        shown = [*by_size[:half], None, *by_size[-half:]]
    names = [printable(row[0])[:_LONGEST_NAME] for row in shown if row is not None]
    width = max(5, *(len(name) for name in names))
    lines = [f"  {'class':{width}}  {'train':>8} {'validation':>10} {'test':>8}"]
    for row in shown:
        if row is None:
            lines.append(f"  ... {len(rows) - 2 * half:,} classes of sizes between; all are in manifest.json")
            continue
        name = printable(row[0])[:_LONGEST_NAME]
        lines.append(f"  {name:{width}}  {row[1]:8,} {row[2]:10,} {row[3]:8,}")
    return [*lines, f"  validation at val_fraction {val_fraction:g}"]


def _rows(manifest: Manifest, val_fraction: float, train_per_class: int | None) -> list[tuple[str, int, int, int]]:
    """Name, train, validation and test of each class."""
    counts = zip(manifest.class_names, manifest.class_counts["train"], manifest.class_counts["test"], strict=True)
    rows = []
    for name, train, test in counts:
        validation = held_out(train, val_fraction)
        rest = train - validation
        rows.append((name, rest if train_per_class is None else min(rest, train_per_class), validation, test))
    return rows
