"""A small study file's content, and the study that it makes."""

from pathlib import Path
from typing import Any

import yaml

from study.define.cells import StudyConfig
from study.define.study_file import load_study


def content(**changes: Any) -> dict[str, Any]:
    """A small study file's content, with top-level keys replaced."""
    return {
        "name": "small",
        "cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary", "real-SGD"]}],
        "fixed": {"epochs": 6, "hid_dim": 64, "batch_size": 96},
        "search": {"trials": 4},
        "confirm": {"seeds": [11, 12]},
        **changes,
    }


def load(tmp_path: Path, **changes: Any) -> StudyConfig:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content(**changes)))
    return load_study(str(file))
