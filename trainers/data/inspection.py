"""Look at every picture of a source before anything of it is written: what is damaged, how deep, of which size.

One pass decodes all of them, side by side, and keeps counts only. What it finds decides how the pictures are read
(grey or colour, the range of deep greys), and becomes the notes on what reading them changes.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from trainers.data.damage import DamagedPictureError
from trainers.data.depth import GreyRanges, deep_kind, grey_range, is_deep_colour
from trainers.data.image_source import ImageSource, Part
from trainers.data.notes import EXAMPLES_SHOWN
from trainers.data.pictures import decoded, deep_values, is_grey, open_picture

_PICTURES_AT_ONCE = 256  # looked at side by side; bounds memory where pictures are large
_ORIENTATION = 0x0112  # Exif's tag; 1 is upright
_NO_ROTATION = (None, 0, 1)

Progress = Callable[[int, int, str], None]
"""`progress(pictures done, pictures in all, what)`."""


@dataclass(frozen=True)
class Look:
    """What one look at one picture tells.

    Attributes:
        size: (W, H) in pixels.
        grey: holds grey values only.
        deep: `integer` or `float` for grey deeper than eight bits, and its smallest and largest value.
        brightest: largest eight-bit value of a colour picture of 16 bits a channel; None for others.
        flags: names of what reading it changes (`notes_on`).
        digest: of its bytes.
    """

    size: tuple[int, int]
    grey: bool
    deep: tuple[str, float, float] | None
    brightest: int | None
    flags: tuple[str, ...]
    digest: bytes


@dataclass
class Tally:
    """A count, and the first few of what was counted."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < EXAMPLES_SHOWN:
            self.examples.append(where)


@dataclass
class Inspection:
    """What all of a source's pictures have in common, and which of them stand out.

    Attributes:
        pictures: how many were looked at and found whole.
        all_grey: whether all of them are.
        sizes: how many have each size (W, H).
        flagged: by flag, how many pictures have it, and the first few.
        damaged: by part (`train`, `test`), the rows that cannot be used, and why.
        extremes: by kind of deep grey, the smallest and largest value.
        tops: by kind of deep grey, each picture's largest value.
        deep_colour: the eight-bit maxima of colour pictures of 16 bits a channel.
        twins: groups of pictures (part, row) of the same bytes.
    """

    pictures: int = 0
    all_grey: bool = True
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    flagged: dict[str, Tally] = field(default_factory=dict)
    damaged: dict[str, dict[int, DamagedPictureError]] = field(default_factory=dict)
    extremes: dict[str, tuple[float, float]] = field(default_factory=dict)
    tops: dict[str, list[float]] = field(default_factory=dict)
    deep_colour: list[int] = field(default_factory=list)
    twins: dict[bytes, list[tuple[str, int]]] = field(default_factory=dict)
    _seen: dict[bytes, tuple[str, int]] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int] | None:
        """The size (W, H) that all pictures have; None where they differ."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None

    @property
    def ranges(self) -> GreyRanges:
        """Black and white of deep greys, by kind."""
        return {kind: grey_range(kind, low, high) for kind, (low, high) in self.extremes.items()}

    def add(self, part: str, row: int, where: str, look: Look) -> None:
        """Count one whole picture."""
        self.pictures += 1
        self.all_grey = self.all_grey and look.grey
        self.sizes[look.size] += 1
        flags = (*look.flags, "grey" if look.grey else "colour")
        for flag in flags if look.size[0] == look.size[1] else (*flags, "not square"):
            self.flagged.setdefault(flag, Tally()).add(where)
        if look.deep is not None:
            kind, low, high = look.deep
            known = self.extremes.get(kind, (low, high))
            self.extremes[kind] = (min(known[0], low), max(known[1], high))
            self.tops.setdefault(kind, []).append(high)
        if look.brightest is not None:
            self.deep_colour.append(look.brightest)
        first = self._seen.setdefault(look.digest, (part, row))
        if first != (part, row):
            self.twins.setdefault(look.digest, [first]).append((part, row))


def inspect(source: ImageSource, progress: Progress) -> Inspection:
    """Look at every picture of a source; damaged ones are gathered, not raised.

    Raises:
        UserError: a file that holds many pictures cannot be read on.
    """
    found = Inspection()
    parts: dict[str, Part] = {"train": source.train, **({"test": source.test} if source.test is not None else {})}
    total, done = sum(len(part.labels) for part in parts.values()), 0
    with ThreadPoolExecutor(_threads()) as pool:  # Pillow works outside Python's lock
        for name, part in parts.items():
            bad = found.damaged.setdefault(name, {})
            for rows, places, encoded in _blocks(part):
                for row, where, look in zip(rows, places, pool.map(_look, encoded, places), strict=True):
                    if isinstance(look, DamagedPictureError):
                        bad[row] = look
                    else:
                        found.add(name, row, where, look)
                done += len(rows)
                progress(done, total, "looking at pictures")
    found._seen.clear()  # one entry a picture
    return found


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(part: Part) -> Iterator[tuple[list[int], list[str], list[bytes | DamagedPictureError]]]:
    for start in range(0, len(part.labels), _PICTURES_AT_ONCE):
        rows = list(range(start, min(start + _PICTURES_AT_ONCE, len(part.labels))))
        encoded: list[bytes | DamagedPictureError] = []
        for row in rows:
            try:
                encoded.append(part.picture(row))
            except DamagedPictureError as error:
                encoded.append(error)
        yield rows, [part.where(row) for row in rows], encoded


def _look(data: bytes | DamagedPictureError, where: str) -> Look | DamagedPictureError:
    if isinstance(data, DamagedPictureError):
        return data
    try:
        return look_at(data, where)
    except DamagedPictureError as error:
        return error


def look_at(data: bytes, where: str) -> Look:
    """Decode one picture and note what stands out.

    Raises:
        DamagedPictureError: it cannot be used.
    """
    header = open_picture(data, where)
    size, deep_colour = header.size, is_deep_colour(header)
    scaled = any(tile[0] == "ppm" for tile in getattr(header, "tile", None) or ()) and deep_kind(header.mode) is None
    picture = decoded(data, where, quickly=True)
    kind = deep_kind(picture.mode)
    deep: tuple[str, float, float] | None = None
    flags = [flag for flag, holds in _FLAGS.items() if holds(picture)] + (["scaled"] if scaled else [])
    if kind is not None:
        values = deep_values(picture, where)
        low, high = float(values.min()), float(values.max())
        deep = (kind, low, high)
        flags += ["one value"] if low == high else []
    brightest: int | None = None
    if kind is None:
        seen: Any = picture.getextrema()  # (low, high), or one such pair a band
        bands: list[tuple[int, int]] = [seen] if len(picture.getbands()) == 1 else list(seen)
        if all(low == high for low, high in bands[: 1 if picture.mode == "LA" else 3]):  # transparency is no matter
            flags.append("one value")
        if deep_colour:
            brightest = max(int(high) for _, high in bands[:3])
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Look(size, is_grey(picture), deep, brightest, tuple(flags), digest)


def _turned(picture: Image.Image) -> bool:
    try:
        return picture.getexif().get(_ORIENTATION) not in _NO_ROTATION
    except Exception:  # a malformed tag block says nothing, and whatever its parser raises is no damage to the pixels
        return False


_FLAGS: dict[str, Callable[[Image.Image], bool]] = {
    "turned": _turned,
    "several frames": lambda picture: bool(getattr(picture, "is_animated", False)),
    "transparent": lambda picture: picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info,
    "printer's colours": lambda picture: picture.mode == "CMYK",
    "other colours": lambda picture: picture.mode in ("LAB", "YCbCr", "HSV"),
}
