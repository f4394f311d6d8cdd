"""A run's network, trained in real space, as a pretrained file: binarized, with what it was trained on beside it.

The network computes the same before and after: its forward pass saw the signs of the latent weights already.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.binary.layers import binary_layers
from trainers.checkpoint import DamagedError, last_checkpoint, read_checkpoint
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData
from trainers.errors import UserError
from trainers.learner import new_model
from trainers.models.pretrained_file import describe_own, save_pretrained
from trainers.progress import Metrics
from trainers.registry import model_named


def heads_of(config: TrialConfig, data: PreparedData) -> tuple[str, ...]:
    """How the names begin of the modules that another number of classes would give another shape.

    They are as the model declares them for its published files, else those whose tensors change with the classes.
    """
    declared = model_named(config.model).pretrained
    if declared is not None:
        return declared.heads
    with torch.device("meta"):
        states = [
            new_model(config, data.num_classes + more, data.channels, data.image_size).state_dict() for more in (0, 1)
        ]
    changed = [name for name, value in states[0].items() if value.shape != states[1][name].shape]
    return tuple(dict.fromkeys(f"{name.rpartition('.')[0]}." for name in changed))


def write_pretrained(
    config: TrialConfig, data: PreparedData, run_dir: Path, folder: Path, label: str, final: Metrics, commit: str
) -> Path:
    """Binarize a finished run's network and write it; returns the file.

    Args:
        config: the run.
        data: what it was trained on.
        run_dir: where its checkpoints lie.
        folder, label: where the file goes and how its name begins.
        final: the run's final metrics.
        commit: of the code.
    """
    try:
        content, _ = read_checkpoint(last_checkpoint(run_dir))
    except DamagedError as error:
        raise UserError(
            f"the checkpoint of {run_dir} cannot be read ({error}); remove the folder and repeat"
        ) from error
    model: nn.Module = new_model(config, data.num_classes, data.channels, data.image_size)
    scale = model_scale(model)
    tensors = {name.removeprefix("model."): value for name, value in content.items() if name.startswith("model.")}
    model.load_state_dict(tensors)
    for _, layer in binary_layers(model):
        layer.pack()
    about = {
        "dataset": data.name,
        "classes": config.classes,
        "class_names": list(data.class_names),
        "data": data.fingerprint,
        "image_size": data.image_size,
        "channels": data.channels,
        "mean": list(data.mean),
        "std": list(data.std),
        "git_commit": commit,
        "epochs": final["epoch"],
        "val_accuracy": final.get("val_accuracy"),
        # Without where things lay on this machine: the file may go to others.
        "config": {setting.name: getattr(config, setting.name) for setting in config.settings if setting.identity},
        "fingerprint": config.fingerprint(),
    }
    options = {**model_named(config.model).options_of(config), "weight_scale": scale}
    return save_pretrained(folder, label, model, config.model, options, heads_of(config, data), about)


def model_scale(model: nn.Module) -> str:
    """The weight scale that a network with latent weights was built with."""
    kinds = {getattr(layer.store, "scale_kind", "none") for _, layer in binary_layers(model)}
    return kinds.pop() if len(kinds) == 1 else "none"


def find_pretrained(config: TrialConfig, data: PreparedData, folder: Path, label: str) -> Path | None:
    """A file that this very run wrote before, on the same data; None where there is none."""
    for path in sorted(folder.glob(f"{label}-*.safetensors")):
        about: Mapping[str, Any] = (describe_own(path) or {}).get("about", {})
        if (about.get("fingerprint"), about.get("data")) == (config.fingerprint(), data.fingerprint):
            return path
    return None
