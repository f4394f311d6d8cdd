"""A data set of your own in one file: what is known of it, and what reads it. Here stripes, upright or level, in noise.

python -m study run examples/own_data.yaml --plugin examples/own_data.py

Pictures that lie in a Parquet file or in a folder for each class need no code: give their path as the data set.
"""

import hashlib
from pathlib import Path

import numpy as np

from trainers.data.catalog import DatasetInfo
from trainers.data.image_source import ArrayPart, ImageSource


def read(data_root: Path) -> ImageSource:
    """200 grey pictures of 8x8 pixels; yours would come from files below the data root."""
    draws = np.random.default_rng(0)
    labels = np.arange(200, dtype=np.int64) % 2
    stripes = np.where(np.arange(8) % 4 < 2, 200, 50) * np.ones((8, 1))
    pictures = np.stack([stripes if label else stripes.T for label in labels]) + draws.normal(0, 30, (200, 8, 8))
    pixels = pictures.clip(0, 255).astype(np.uint8)
    part = ArrayPart(pixels, labels, "stripes")
    return ImageSource("stripes", hashlib.sha256(pixels).hexdigest(), ("level", "upright"), part, None, arrays=True)


STRIPES = DatasetInfo(
    "Stripes",
    "Stripes in noise, made up",
    num_classes=2,
    channels=1,
    image_size=8,
    mean=(0.49,),
    std=(0.31,),
    has_test_split=False,
    licence="none: made up",
    homepage="examples/own_data.py",
    read=read,
)
