"""One run with one worker needs torch and four small libraries: no Ray, no Optuna, no MLflow, no numba."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trainers.registry import METHODS

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
GROUP = [Requirement(text) for text in PYPROJECT["dependency-groups"]["trainers"]]

# What the child runs before anything else: no module of a distribution that is not there is found on the path.
HIDE = """
import importlib, json, pkgutil, sys
from importlib.machinery import PathFinder
hidden = set(json.loads(sys.argv[1]))

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""
IMPORT = """
import trainers
for module in pkgutil.walk_packages(trainers.__path__, "trainers."):
    if not module.name.startswith("trainers.binary.kernels."):  # of these, numba's are chosen where it is
        importlib.import_module(module.name)
"""
PREPARE = """
import numpy as np
from pathlib import Path
from PIL import Image
root = Path(sys.argv[2])
for label in ("black", "white"):
    (root / "own" / "train" / label).mkdir(parents=True)
    (root / "own" / "test" / label).mkdir(parents=True)
    for number in range(24):
        folder = root / "own" / ("train" if number < 16 else "test") / label
        pixels = np.full((8, 8), 255 * (label == "white") // (1 + number % 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
"""
TRAIN = """
from trainers.config import TrialConfig
from trainers.host import run_local
for number, settings in enumerate(json.loads(sys.argv[3])):
    common = dict(dataset=str(root / "own"), image_size=8, batch_size=4, epochs=1, data_root=str(root), device="cpu")
    final = run_local(TrialConfig(**{**common, **settings}), root / f"run-{number}")
    assert final["status"] == "completed", final
print("trained", number + 1)
"""

# A model that is only described, as one is before an exported one is loaded; then whether torch's compiler has come.
DESCRIBE = """
import torch
from trainers.learner import new_model
with torch.device("meta"):
    new_model(TrialConfig("Digits", "MLP", "binary"), 10, 1, 8)
print("torch._dynamo" in sys.modules)
"""


def installed_with(requirements: list[Requirement]) -> set[str]:
    """The distributions that installing these brings along, by their canonical names."""
    found: set[str] = set()
    waiting = [requirement.name for requirement in requirements]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # needed on other systems only
            continue
        waiting.extend(one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""}))
    return found


def run(script: str, *arguments: str) -> str:
    """What the script prints where nothing but the group `trainers` and what it needs is installed."""
    there = installed_with(GROUP)
    hidden = sorted(
        module
        for module, distributions in packages_distributions().items()
        if not there & {canonicalize_name(name) for name in distributions}
        and module not in ("trainers", "search_spaces", "study", "binsfo")
    )
    assert {"ray", "optuna", "mlflow", "numba", "scipy", "sklearn", "psutil", "torchvision"} <= set(hidden)
    done = subprocess.run(
        [sys.executable, "-c", HIDE + script, json.dumps(hidden), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_group_is_part_of_what_the_package_asks_for() -> None:
    whole = {re.sub(r"\s", "", text) for text in PYPROJECT["project"]["dependencies"]}
    assert {str(requirement) for requirement in GROUP} <= whole


def test_every_module_of_a_run_imports() -> None:
    run(IMPORT)


def test_every_method_prepares_and_trains_with_one_worker_and_none_brings_torchs_compiler(tmp_path: Path) -> None:
    """It takes some 70 MiB; torch's optimizers and newer profiler import it unasked, and so do draws without memory."""
    runs = [{"model": "MLP", "hid_dim": 16, "depth": 2, "algorithm": name} for name in METHODS.all()]
    network = {"model": "AdamBNN", "image_size": 32, "width": 0.25, "activation_memory": "packed"}
    runs.append({**network, "algorithm": "binary", "real_optimizer": "Adam"})
    said = run(PREPARE + TRAIN + DESCRIBE, str(tmp_path), json.dumps(runs))
    assert said == f"trained {len(runs)}\nFalse\n"
