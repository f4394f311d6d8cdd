"""Answers to a simulated test set: of a run without a network, which images it is right on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainers.config import TrialConfig
from trainers.predictions import Predictions, write_predictions

IMAGES = 2000
# How much of an image's difficulty is the image's own, in standard deviations of what a run's luck adds.
_SHARED = 2.0


def answered(config: TrialConfig, run_dir: Path, figures: Mapping[str, float]) -> dict[str, Any]:
    """Write answers of a run whose test accuracy is as given, to the nearest image; the test set's figures.

    An image has a difficulty that every run meets, and one that only this run does; the run is right on the easiest.
    """
    name = hashlib.sha256(f"{config.dataset} {config.image_size}".encode()).hexdigest()[:6]
    test_set = f"simulated-{name}"
    difficulty = np.random.default_rng(list(test_set.encode())).normal(size=IMAGES)
    own = np.random.default_rng(list(config.fingerprint().encode())).normal(size=IMAGES)
    count = round(figures["test_accuracy"] * IMAGES)
    correct = np.zeros(IMAGES, dtype=bool)
    correct[np.argsort(_SHARED * difficulty + own)[:count]] = True
    write_predictions(run_dir, Predictions(test_set, config.fingerprint(), (~correct).astype(np.int64), correct))
    return {**figures, "test_accuracy": count / IMAGES, "test_set": test_set, "test_images": IMAGES}
