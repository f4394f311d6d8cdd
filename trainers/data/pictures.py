"""One picture: from encoded bytes to the uint8 pixels that a network is fed, always in the same way.

Preparing (pixels stored) and loading (bytes stored, decoded in the loop) both come through `pixels`, so a run sees the
same values whichever way its data are kept: convert to grey or RGB, then resize straight to the square input with
Pillow's BILINEAR filter (which averages when it shrinks), aspect ratio not kept, no augmentation. Camera orientation
tags are not applied, as in torchvision's loaders.
"""

import io

import numpy as np
from PIL import Image

from trainers.errors import UserError

# Formats that pictures come in. Others are refused by name: Pillow would start outside programs for some of them.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N"})
DEEP_GREY_MODES = GREY_MODES - {"1", "L", "LA"}
# Pillow warns above this many pixels (about 89 million) and raises above twice as many.
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485


def open_picture(data: bytes, where: str) -> Image.Image:
    """Read a picture's header; its pixels are not decoded yet.

    Args:
        data: Encoded bytes (JPEG, PNG, ...).
        where: File or row, for messages.

    Raises:
        UserError: The bytes are no picture, or the header declares more than `MAX_PIXELS` pixels.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(where, str(error)) from error
    except Exception as error:  # Pillow's parsers raise whatever they stumble over: struct.error, KeyError, ...
        raise UserError(
            f"{where} is not a picture that can be read ({type(error).__name__}: {error}); "
            f"allowed formats are {', '.join(FORMATS)}; replace or remove it"
        ) from error
    # Checked here rather than by turning the warning into an error: warning filters are not safe among threads.
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(where, f"{picture.width}x{picture.height} pixels")
    return picture


def _too_large(where: str, what: str) -> UserError:
    return UserError(
        f"{where} is too large to decode safely ({what}); at most {MAX_PIXELS:,} pixels are allowed; "
        "shrink or remove it"
    )


def is_grey(picture: Image.Image) -> bool:
    """Whether the picture holds grey values only, by its mode."""
    return picture.mode in GREY_MODES


def _converted(picture: Image.Image, channels: int) -> Image.Image:
    """Grey (mode L) or RGB. 16-bit grey keeps its upper eight bits; Pillow alone would clip everything above 255."""
    if picture.mode in DEEP_GREY_MODES:
        picture = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return picture.convert("L" if channels == 1 else "RGB")


def check_decodes(data: bytes, where: str) -> None:
    """Decode the whole picture and throw it away.

    Raises:
        UserError: It is not a picture, too large, truncated or otherwise corrupt.
    """
    _loaded(data, where)


def _loaded(data: bytes, where: str) -> Image.Image:
    picture = open_picture(data, where)
    try:
        picture.load()
    except Exception as error:  # as above: decoders raise many types for broken bytes
        raise UserError(
            f"{where} is corrupt: it starts like a {picture.format} picture but does not decode "
            f"({type(error).__name__}: {error}); replace or remove it"
        ) from error
    return picture


def pixels(data: bytes, channels: int, image_size: int, where: str) -> np.ndarray:
    """Decode, convert and resize one picture.

    Args:
        data: Encoded bytes.
        channels: 1 or 3.
        image_size: Side of the square result in pixels.
        where: File or row, for messages.

    Returns:
        uint8 array (C, H, W) with H = W = image_size.

    Raises:
        UserError: It is not a picture, too large, truncated or otherwise corrupt.
    """
    picture = _converted(_loaded(data, where), channels)
    if picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    values = np.asarray(picture)
    return values[np.newaxis] if channels == 1 else values.transpose(2, 0, 1)


def png_bytes(values: np.ndarray) -> bytes:
    """Encode uint8 pixels (H, W) or (H, W, 3) losslessly, for sources whose originals are arrays."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
