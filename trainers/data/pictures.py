"""One picture: from encoded bytes to the uint8 pixels that a network is fed, always in the same way.

Preparing (pixels stored) and loading (bytes stored, decoded in the loop) both come through `pixels`, so a run sees the
same values whichever way its data are kept: convert to grey or RGB, then resize straight to the square input with
Pillow's BILINEAR filter (which averages when it shrinks), aspect ratio not kept, no augmentation. Camera orientation
tags are not applied, as in torchvision's loaders. What of this changes a picture is counted when it is prepared
(`trainers.data.inspection`).
"""

import io

import numpy as np
from PIL import Image

from trainers.data.damage import FORMATS, DamagedPictureError, does_not_decode, no_picture
from trainers.data.depth import FLOAT, WITHOUT_RANGE, GreyRanges, deep_kind, eight_bits

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
        *(".webp", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
GREY_MODES = frozenset({"1", "L", "LA"})
# Pillow warns above this many pixels (about 89 million) and raises above twice as many.
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485


def open_picture(data: bytes, where: str) -> Image.Image:
    """Read a picture's header; its pixels are not decoded yet.

    Args:
        data: Encoded bytes (JPEG, PNG, ...).
        where: File or row, for messages.

    Raises:
        DamagedPictureError: The bytes are no picture, or the header declares more than `MAX_PIXELS` pixels.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(where, str(error)) from error
    except Exception as error:  # Pillow's parsers raise whatever they stumble over: struct.error, KeyError, ...
        raise no_picture(data, where, error) from error
    # Checked here rather than by turning the warning into an error: warning filters are not safe among threads.
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(where, f"{picture.width}x{picture.height} pixels")
    return picture


def _too_large(where: str, what: str) -> DamagedPictureError:
    return DamagedPictureError(
        where,
        "is too large to decode safely",
        f"at most {MAX_PIXELS:,} pixels are allowed; shrink or remove it",
        what,
    )


def is_grey(picture: Image.Image) -> bool:
    """Whether the picture holds grey values only, by its mode."""
    return picture.mode in GREY_MODES or deep_kind(picture.mode) is not None


def deep_values(picture: Image.Image, where: str) -> np.ndarray:
    """The values (H, W) of a decoded grey picture deeper than eight bits.

    Raises:
        DamagedPictureError: some of them are not finite.
    """
    values = np.asarray(picture)
    if deep_kind(picture.mode) == FLOAT and not np.isfinite(values).all():
        raise DamagedPictureError(where, "holds values that are not finite (NaN or infinite)")
    return values


def _converted(picture: Image.Image, channels: int, ranges: GreyRanges, where: str) -> Image.Image:
    """Grey (mode L) or RGB. Deep grey is scaled by its range; Pillow alone would clip everything above 255."""
    kind = deep_kind(picture.mode)
    if kind is not None:
        picture = Image.fromarray(eight_bits(deep_values(picture, where), kind, ranges))
    try:
        return picture.convert("L" if channels == 1 else "RGB")
    except ValueError as error:
        raise DamagedPictureError(
            where, f"is in colour mode {picture.mode}, which cannot be converted", "save it as RGB or grey"
        ) from error


def check_decodes(data: bytes, where: str) -> None:
    """Decode the whole picture and throw it away.

    Raises:
        DamagedPictureError: It is not a picture, too large, truncated or otherwise corrupt.
    """
    decoded(data, where)


def decoded(data: bytes, where: str, *, quickly: bool = False) -> Image.Image:
    """The picture with its pixels read.

    Args:
        data: Encoded bytes.
        where: File or row, for messages.
        quickly: read a JPEG at an eighth of its size: as good for finding damage, at a fraction of the time.

    Raises:
        DamagedPictureError: as `open_picture`, or its pixels cannot be read.
    """
    picture = open_picture(data, where)
    kind = picture.format
    try:
        if quickly:
            picture.draft(picture.mode, (max(1, picture.width // 8), max(1, picture.height // 8)))
        picture.load()
    except Exception as error:  # as above: decoders raise many types for broken bytes
        raise does_not_decode(where, kind, error) from error
    return picture


def pixels(data: bytes, channels: int, image_size: int, where: str, ranges: GreyRanges = WITHOUT_RANGE) -> np.ndarray:
    """Decode, convert and resize one picture.

    Args:
        data: Encoded bytes.
        channels: 1 or 3.
        image_size: Side of the square result in pixels.
        where: File or row, for messages.
        ranges: What is black and what white in grey deeper than eight bits (`trainers.data.depth`); all 16 bits, or
            0..1 of floats, where nothing is known.

    Returns:
        uint8 array (C, H, W) with H = W = image_size.

    Raises:
        DamagedPictureError: It is not a picture, too large, truncated or otherwise corrupt.
    """
    picture = _converted(decoded(data, where), channels, ranges, where)
    if picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    values = np.asarray(picture)
    return values[np.newaxis] if channels == 1 else values.transpose(2, 0, 1)


def png_bytes(values: np.ndarray) -> bytes:
    """Encode uint8 pixels (H, W) or (H, W, 3) losslessly, for sources whose originals are arrays."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
