"""From counts to notes: what reading a data set's pictures changes, and what is odd about its classes."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from trainers.data.damage import DamagedPictureError
from trainers.data.depth import told_range
from trainers.data.image_source import ImageSource
from trainers.data.inspection import Inspection
from trainers.data.notes import CHANGED, LEFT_OUT, ODD, Note, note
from trainers.data.splits import held_out
from trainers.errors import UserError

MOST_TIMES_SMALLEST = 10
"""A class of this many times the smallest one's pictures, and half as many again as an even share, is odd: accuracy
hides what becomes of the small ones."""
USUAL_VALIDATION = 0.1
"""The default `val_fraction`, by which a class is too small to be validated."""
_DARK_COLOUR = 64  # of 255: a whole data set of colour pictures below it lost more than two bits to Pillow's shift
_DARK_GREY = 8  # a grey picture whose brightest value is below this part of the range keeps under 32 levels

_CHANGES = {
    "not square": "picture(s) that {is|are} not square, resized to the square input without keeping the ratio",
    "turned": "picture(s) with a camera's orientation tag, which is not applied",
    "several frames": "picture(s) of several frames or pages, of which the first is used",
    "transparent": "picture(s) with transparency, which is dropped",
    "printer's colours": "picture(s) in printer's colours (CMYK), converted to RGB",
    "scaled": "picture(s) in PPM or PGM whose white is not 255, scaled to 8 bits",
    "other colours": "picture(s) in another colour space (LAB, YCbCr or HSV), converted to RGB",
}


def picture_notes(found: Inspection, channels: int) -> list[Note]:
    """What reading the pictures changes, for a data set fed with this many channels.

    Raises:
        UserError: reading them would leave next to nothing.
    """
    notes = [
        note(CHANGED, tally.count, what, tally.examples)
        for flag, what in _CHANGES.items()
        if (tally := found.flagged.get(flag)) is not None
    ]
    grey, colour = found.flagged.get("grey"), found.flagged.get("colour")
    if grey is not None and channels == 3 and colour is not None:
        notes.append(note(CHANGED, grey.count, "grey picture(s) among colour ones, repeated in three channels"))
    if colour is not None and channels == 1:
        notes.append(note(CHANGED, colour.count, "colour picture(s), converted to grey", colour.examples))
    for kind, (low, high) in found.ranges.items():
        tops = np.array(found.tops[kind])
        smallest, largest = found.extremes[kind]
        of = "of 16 bits or more" if kind == "integer" else "of floats"
        what = (
            f"grey picture(s) {of}: values {smallest:g} to {largest:g} found, {told_range(kind, low, high)} scaled to "
            "8 bits"
        )
        notes.append(note(CHANGED, len(tops), what))
        dark = int((tops < low + (high - low) / _DARK_GREY).sum())
        if dark:
            what = "picture(s) that use{s|} less than an eighth of that range and {is|are} nearly black"
            notes.append(note(ODD, dark, what))
    if found.deep_colour:
        brightest = max(found.deep_colour)
        if brightest < _DARK_COLOUR:
            raise UserError(
                f"{len(found.deep_colour):,} colour picture(s) of 16 bits a channel have values up to "
                f"{256 * brightest + 255} of 65535, and only the upper eight bits are read, so that they would be "
                "nearly black; convert them to 8 bits a channel first"
            )
        what = "colour picture(s) of 16 bits a channel, of which the upper eight are used"
        notes.append(note(CHANGED, len(found.deep_colour), what))
    plain = found.flagged.get("one value")
    if plain is not None:
        notes.append(note(ODD, plain.count, "picture(s) of one value everywhere", plain.examples))
    return notes


def damage_notes(damaged: Sequence[DamagedPictureError]) -> list[Note]:
    """What was left out because it could not be read, by kind."""
    by_kind: dict[str, list[str]] = {}
    for one in damaged:
        by_kind.setdefault(one.what, []).append(one.where)
    return [
        note(LEFT_OUT, len(places), f"picture(s), {{which|each of which}} {what}", places)
        for what, places in by_kind.items()
    ]


def twin_notes(found: Inspection, source: ImageSource) -> list[Note]:
    """Pictures that are there several times: under two classes, or in train and test.

    Args:
        found: the inspection.
        source: what was inspected, damaged rows and all.
    """

    def where(row: tuple[str, int]) -> str:
        return source.parts[row[0]].where(row[1])

    groups = list(found.twins.values())
    if not groups:
        return []
    notes = [
        note(
            ODD,
            sum(len(rows) - 1 for rows in groups),
            "picture(s) that {is a copy of another|are copies of others}, which may lie on both sides of a split",
            (f"{where(rows[0])} = {where(rows[1])}" for rows in groups),
        )
    ]
    disputed = [rows for rows in groups if len({int(source.parts[part].labels[row]) for part, row in rows}) > 1]
    if disputed:
        examples = (f"{where(rows[0])} = {where(rows[-1])}" for rows in disputed)
        notes.append(note(ODD, len(disputed), "picture(s) that {is|are} there under several classes", examples))
    across = [rows for rows in groups if len({part for part, _ in rows}) > 1]
    if across:
        examples = (f"{where(rows[0])} = {where(rows[-1])}" for rows in across)
        notes.append(note(ODD, len(across), "picture(s) that {is|are} in train and in test", examples))
    return notes


def class_notes(names: Sequence[str], train: Sequence[int], test: Sequence[int]) -> list[Note]:
    """What is odd about the classes.

    Args:
        names: of the classes.
        train, test: each class's pictures in the stored parts; validation is carved from train.
    """
    notes: list[Note] = []
    untrained = [f"{name} ({tested} in test)" for name, n, tested in zip(names, train, test, strict=True) if not n]
    if untrained:
        notes.append(note(ODD, len(untrained), "{class|classes} without a picture in train: never learnt", untrained))
    for without, what in (
        ({"validation", "test"}, "in train only, neither validated nor tested"),
        ({"validation"}, "not validated"),
        ({"test"}, "not tested"),
    ):
        few = [
            f"{name} ({n + tested} {'picture' if n + tested == 1 else 'pictures'})"
            for name, n, tested in zip(names, train, test, strict=True)
            if n and without == _lacking(n, tested)
        ]
        if few:
            notes.append(note(ODD, len(few), f"{{class|classes}} too small, {what}", few))
    totals = [one + other for one, other in zip(train, test, strict=True)]
    smallest, largest = min(totals), max(totals)
    share = 100 * largest / sum(totals)
    if smallest and largest >= MOST_TIMES_SMALLEST * smallest and share > 150 / len(names):  # of an even share of 100
        what = (
            f"class so large that accuracy flatters ({share:.1f} % of the pictures, the smallest class {smallest:,} of "
        )
        what += f"{sum(totals):,}); see the balanced accuracy beside it: "
        notes.append(note(ODD, 1, what, names=names[totals.index(largest)]))
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    alike = [" = ".join(same) + "?" for same in spellings.values() if len(same) > 1]
    if alike:
        notes.append(note(ODD, len(alike), "pair(s) of classes that differ in case, spaces or encoding only", alike))
    return notes


def _lacking(train: int, test: int) -> set[str]:
    lacking = set() if held_out(train, USUAL_VALIDATION) else {"validation"}
    return lacking if test else lacking | {"test"}
