"""A run's own checkpoints: one safetensors file each, 1 bit a packed weight, written atomically.

Everything that a run needs to go on bit-identically: the model (weights, running statistics), layer rules' state, the
optimizer's state, and how far the run has come. Draws need no state: they are functions of (seed, layer, step).
Tensors are named `model.NAME`, `rule.LAYER/NAME` and `optimizer.INDEX/NAME`; the rest is JSON in the file's metadata.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.learner import Learner

_FORMAT = "binsfo-run-1"


@dataclass
class Progress:
    """How far a run has come and what it has measured so far."""

    epochs_done: int = 0
    steps_done: int = 0
    train_seconds: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)  # of the measured step, by metric name
    best_accuracy: float | None = None
    latest: dict[str, float] = field(default_factory=dict)  # the last epoch's metrics


def last_checkpoint(run_dir: Path) -> Path:
    """Where the newest epoch's checkpoint of a run lies."""
    return run_dir / "checkpoints" / "last.safetensors"


def best_checkpoint(run_dir: Path) -> Path:
    """Where the checkpoint of the best validation accuracy lies; without validation, the last epoch's."""
    return run_dir / "checkpoints" / "best.safetensors"


def save(run_dir: Path, learner: Learner, progress: Progress, best: bool) -> None:
    """Write the last checkpoint, and the best one too if `best`; a kill leaves the old or the new file whole."""
    path = last_checkpoint(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    scalars: dict[str, dict[str, float | None]] = {}
    for layer, rule in learner.rule.layer_rules().items():
        scalars[layer] = rule.scalars()
        tensors.update({f"rule.{layer}/{name}": tensor for name, tensor in rule.tensors().items()})
    tensors.update(_optimizer_tensors(learner))
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(learner.config.to_dict()),
        "fingerprint": learner.config.fingerprint(),
        "progress": json.dumps(asdict(progress)),
        "scalars": json.dumps(scalars),
    }
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    _atomically(path, lambda target: save_file(contiguous, target, metadata))
    if best:
        _atomically(best_checkpoint(run_dir), lambda target: shutil.copyfile(path, target))


def _atomically(path: Path, write: Any) -> None:
    partial = path.with_suffix(".partial")
    write(partial)
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def _optimizer_tensors(learner: Learner) -> dict[str, Tensor]:
    optimizer = learner.rule.optimizer
    if optimizer is None:
        return {}
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}/{name}": value
        for index, entries in state.items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def restore(path: Path, learner: Learner) -> Progress:
    """Load a checkpoint into a learner of the same configuration.

    Raises:
        UserError: the file is damaged, or belongs to another configuration; it names the settings that differ.
    """
    tensors, metadata = _read(path)
    if metadata["fingerprint"] != learner.config.fingerprint():
        raise UserError(f"{path} belongs to another run: {_differences(metadata, learner.config)}; use another folder")
    model = {name[len("model.") :]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    learner.model.load_state_dict(model)
    scalars = json.loads(metadata["scalars"])
    for layer, rule in learner.rule.layer_rules().items():
        rule.load_scalars(scalars[layer])
        for name, tensor in rule.tensors().items():
            tensor.copy_(tensors[f"rule.{layer}/{name}"])
    if learner.rule.optimizer is not None:
        _restore_optimizer(learner.rule.optimizer, tensors)
    return Progress(**json.loads(metadata["progress"]))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"checkpoint {path} cannot be read ({error}); remove it to start this run anew, or put back a whole copy"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise UserError(f"{path} is not a checkpoint of a run ({_FORMAT}); use another folder for this run")
    return tensors, metadata


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            index, name = key[len("optimizer.") :].split("/")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _differences(metadata: dict[str, str], config: TrialConfig) -> str:
    then, now = json.loads(metadata["config"]), config.to_dict()
    changed = [f"{name} was {then.get(name)!r}, is {now[name]!r}" for name in now if then.get(name) != now[name]]
    return ", ".join(changed) or "its settings differ"
