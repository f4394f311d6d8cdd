"""The pictures of a test set for a report, where the prepared data that the runs were tested on are at hand."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from study.compare.scores import CellGroup
from study.report.content import StudyContent
from trainers.errors import UserError

LARGEST_SIDE = 64
"""Pixels of an embedded picture: enough to see what it shows, and a few kilobytes."""


@dataclass(frozen=True)
class PictureSet:
    """A test set: its classes' names, each image's class, int64 (images,), and its pictures."""

    class_names: tuple[str, ...]
    labels: np.ndarray
    split: Any

    def png(self, place: int) -> bytes:
        """One picture as a PNG file's bytes."""
        pixels = self.split.images([place])[0].numpy()  # uint8 (C, H, W)
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2))
        if max(picture.size) > LARGEST_SIDE:
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        stream = io.BytesIO()
        picture.save(stream, format="PNG", optimize=True)
        return stream.getvalue()


def pictures_of(content: StudyContent, group: CellGroup, test_set: str) -> PictureSet | None:
    """The test set of a workload; None where it is not prepared here, or is another one by now.

    Nothing is prepared for it: a report changes nothing.
    """
    from trainers.data.loader import PreparedData
    from trainers.data.locate import choose_dataset
    from trainers.data.prepared_folders import find_prepared

    config = next((content.configs[row["trial_id"]] for row in content.own_rows(group)), {})
    root, prepared = config.get("data_root"), config.get("prepared_root")
    if not root:
        return None
    try:
        choice = choose_dataset(group.dataset)
        folder = find_prepared(choice, Path(root), Path(prepared) if prepared else None, config.get("image_size"))
        data = None if folder is None else PreparedData(folder, choice, config.get("classes"))
        if data is None or data.test_set != test_set:
            return None
        split = data.split("test")
        return PictureSet(data.class_names, split.labels, split)
    except (UserError, OSError):  # moved, damaged or unreadable: the report does without
        return None
