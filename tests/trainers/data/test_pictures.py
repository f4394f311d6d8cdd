"""One picture becomes the same uint8 pixels, whatever mode it was saved in."""

import io

import numpy as np
import pytest
from PIL import Image

from trainers.data.pictures import is_grey, open_picture, pixels, png_bytes

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def saved(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=kind)
    return stream.getvalue()


def test_grey_pixels_come_back_unchanged_at_their_own_size() -> None:
    assert np.array_equal(pixels(png_bytes(GREY), 1, 8, "x"), GREY[np.newaxis])


def test_colour_is_channels_first() -> None:
    colour = np.stack([GREY, GREY // 2, GREY // 4], axis=2)
    assert np.array_equal(pixels(png_bytes(colour), 3, 8, "x"), colour.transpose(2, 0, 1))


def test_sixteen_bit_grey_keeps_its_upper_byte() -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
    assert np.array_equal(pixels(saved(deep), 1, 8, "x")[0], GREY)
    assert np.array_equal(pixels(saved(deep, "TIFF"), 3, 8, "x")[2], GREY)


def test_bilevel_pictures_are_black_and_white() -> None:
    assert set(np.unique(pixels(saved(Image.fromarray(GREY > 100)), 1, 8, "x"))) == {0, 255}


@pytest.mark.parametrize(("mode", "grey"), [("1", True), ("L", True), ("LA", True), ("RGB", False), ("P", False)])
def test_grey_is_told_by_mode(mode: str, grey: bool) -> None:
    assert is_grey(open_picture(saved(Image.fromarray(GREY).convert(mode)), "x")) is grey


@pytest.mark.parametrize("size", [4, 16])
def test_resizing_is_pillows_bilinear_both_ways(size: int) -> None:
    expected = np.asarray(Image.fromarray(GREY).resize((size, size), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels(png_bytes(GREY), 1, size, "x")[0], expected)


def test_transparency_is_dropped_and_palettes_are_resolved() -> None:
    colour = np.stack([GREY, GREY, GREY, np.zeros_like(GREY)], axis=2)
    assert np.array_equal(pixels(saved(Image.fromarray(colour, "RGBA")), 3, 8, "x")[0], GREY)
    palette = Image.fromarray(GREY).convert("P")
    assert np.array_equal(pixels(saved(palette), 3, 8, "x")[1], GREY)
