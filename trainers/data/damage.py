"""What a file is that should be a picture and is none: said in words, by its first bytes.

Data sets are copied by downloads that were cut short, by Git without its large files, by a proxy that sent its login
page instead. `cannot identify image file` tells nobody which.
"""

import re

from trainers.data.notes import listed
from trainers.errors import UserError

# Formats that pictures come in. Others are refused by name: Pillow would start outside programs for some of them.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
HEAD_BYTES = 512
"""First bytes of a file that tell what it is."""

_MOST_NAMED = 50  # of one kind, in one message
_REPLACE = "replace or remove it"
_CONVERT = f"convert it to one of {', '.join(FORMATS)}"
_LFS = "fetch it with `git lfs pull`"

_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0|P[1-6]\s", re.DOTALL
)
# What people's data sets hold in place of pictures: pattern of the first bytes, in words, and the remedy.
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, remedy)
    for pattern, what, remedy in (
        (rb"version https://git-lfs", "is a Git LFS pointer, not the picture", _LFS),
        (rb"\s*<(!doctype html|html|head|body)", "is a web page, not a picture", "download the picture again"),
        (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", "is an SVG drawing", _CONVERT),
        (rb"\s*<\?xml", "is an XML file, not a picture", _REPLACE),
        (rb"\s*[{\[]\s*[\"{\[]", "is a JSON file, not a picture", _REPLACE),
        (rb"....ftyp(hei|hev|mif|msf)", "is a HEIC picture, a format that is not read", _CONVERT),
        (rb"....ftypavi", "is an AVIF picture, a format that is not read", _CONVERT),
        (rb"....ftyp", "is a film, not a picture", _REPLACE),
        (rb"\0\0\0\x0cjP |\xff\x4f\xff\x51", "is a JPEG 2000 picture, a format that is not read", _CONVERT),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "is a JPEG XL picture, a format that is not read", _CONVERT),
        (rb"8BPS", "is a Photoshop file, a format that is not read", _CONVERT),
        (rb"\0\0\x01\0", "is an icon, a format that is not read", _CONVERT),
        (rb".{128}DICM", "is a DICOM file, a format that is not read", _CONVERT),
        (rb"\x93NUMPY", "is a NumPy array, not a picture", _CONVERT),
        (rb"\x89HDF", "is an HDF5 file, not a picture", _CONVERT),
        (rb"%PDF", "is a PDF file, not a picture", _CONVERT),
        (rb"PK\x03\x04", "is a ZIP archive, not a picture", "unpack it"),
        (rb"\x1f\x8b", "is a gzip archive, not a picture", "unpack it"),
        (rb"\0\x05\x16\x07", "is macOS's note beside a file, not a picture", "remove it"),
    )
)


class DamagedPictureError(UserError):
    """One file or row that should be a picture and cannot be used as one.

    Attributes:
        where: the file or row.
        what: what is wrong with it, so that those of one kind can be counted: "is cut short".
        remedy: what to do about it.
    """

    def __init__(self, where: str, what: str, remedy: str = _REPLACE, detail: str = "") -> None:
        super().__init__(f"{where} {what}{f' ({detail})' if detail else ''}; {remedy}")
        self.where, self.what, self.remedy = where, what, remedy


def starts_like_picture(head: bytes) -> bool:
    """Whether a file's first bytes are those of a format that is read."""
    return _PICTURE.match(head) is not None


def what_it_is(head: bytes) -> str | None:
    """What else a file is by its first bytes, as "is a web page, not a picture"; None where they tell nothing."""
    return next((what for pattern, what, _ in _OTHERS if pattern.match(head)), None)


def no_picture(data: bytes, where: str, error: Exception) -> DamagedPictureError:
    """What to say of bytes that no decoder takes for a picture.

    Args:
        data: the whole file.
        where: file or row.
        error: what the decoder said.
    """
    detail = f"{type(error).__name__}: {error}"
    if not data:
        return DamagedPictureError(where, "is empty (0 bytes)")
    if not data.strip(b"\0"):
        return DamagedPictureError(where, "holds zero bytes only")
    for pattern, what, remedy in _OTHERS:
        if pattern.match(data[:HEAD_BYTES]):
            return DamagedPictureError(where, what, remedy)
    if starts_like_picture(data[:HEAD_BYTES]):
        return DamagedPictureError(where, "is cut short or corrupt: it starts like a picture", detail=detail)
    allowed = f"{_REPLACE}; allowed formats are {', '.join(FORMATS)}"
    return DamagedPictureError(where, "is not a picture that can be read", allowed, "its first bytes are of no format")


def does_not_decode(where: str, kind: str | None, error: Exception) -> DamagedPictureError:
    """What to say of a picture whose header can be read and whose pixels cannot."""
    if "truncated" in str(error).casefold():
        return DamagedPictureError(where, "is cut short")
    what = f"is corrupt: it starts like a {kind} picture but does not decode"
    return DamagedPictureError(where, what, detail=f"{type(error).__name__}: {error}")


def refusal(name: str, total: int, damaged: list[DamagedPictureError], command: str) -> UserError:
    """All damaged pictures of a data set in one message, by kind; `command` prepares it."""
    by_kind: dict[tuple[str, str], list[str]] = {}
    for one in damaged:
        by_kind.setdefault((one.what, one.remedy), []).append(one.where)
    lines = [f"{name}: {len(damaged):,} of {total:,} pictures cannot be used"]
    for (what, remedy), places in by_kind.items():
        lines.append(f"  {len(places):,} x {what} ({remedy}): {listed(places, _MOST_NAMED)}")
    lines.append(f"mend or remove them; or leave them out, which is recorded: `{command} --skip-damaged`")
    return UserError("\n".join(lines))
