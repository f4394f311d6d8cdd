"""What went into a run, as the run's folder records it: the data as they were prepared, and the pretrained file.

A result whose pictures were partly left out, scaled or damaged says so itself: the notes of the preparation lie beside
it, wherever the prepared folder has gone.
"""

import dataclasses
from typing import Any

import numpy as np

from trainers.config import TrialConfig
from trainers.data.loader import PreparedData
from trainers.learner import Learner
from trainers.run_data import split_of


def inputs_of(config: TrialConfig, data: PreparedData, learner: Learner) -> dict[str, Any]:
    """The content of a run's `inputs.json`.

    Returns:
        `data`: name, fingerprint, source and its fingerprint, shape, classes, each class's pictures in `train`,
        `validation` and `test` (the latter from the manifest: the test files are not opened), storage, options, ranges
        of deep greys and every note; `pretrained`: the report on the file, or None.
    """
    manifest = data.manifest
    counts = {
        name: np.bincount(split_of(data, config, name).labels, minlength=data.num_classes).tolist()
        for name in ("train", "validation")
    }
    about = {
        name: value
        for name, value in dataclasses.asdict(manifest).items()
        if name not in ("shards", "class_counts", "format_version")
    }
    test = manifest.class_counts.get("test")
    return {
        "data": {
            **about,
            "fingerprint": data.fingerprint,
            "class_counts": {**counts, "test": None if test is None else list(test)},
        },
        "pretrained": None if learner.pretrained is None else dataclasses.asdict(learner.pretrained),
    }
