"""Everything about a run that can be checked before any work starts, so that nothing fails an hour in."""

from collections.abc import Callable
from pathlib import Path

import torch

from trainers.config import TrialConfig, learning_rates
from trainers.data.loader import PreparedData
from trainers.data.report import note_lines, summary_line
from trainers.epochs import epoch_batches
from trainers.errors import UserError
from trainers.learner import new_model
from trainers.models import check_image_size
from trainers.models.checkpoints import check_pretrained
from trainers.models.safe_read import no_file
from trainers.registry import method_named
from trainers.run_data import data_of, split_of

Say = Callable[[str], None]


def preflight(config: TrialConfig, say: Say | None = None) -> TrialConfig:
    """Open the data set (preparing it if its source is on disk), build the model once, and check that they fit.

    Args:
        config: the run.
        say: takes each line on what of the data and the pretrained file is left out, changed, assumed or odd.

    Returns:
        The configuration with `image_size` resolved.

    Raises:
        UserError: data that cannot be found, a batch larger than the data, an image size that the model cannot take, a
            pretrained file of another model, a device that is not there, a rate that is none.
    """
    check_alone(config)
    data = data_of(config)
    check_image_size(config.model, data.image_size)
    _check_batch(config, data)
    lines = [f"{data.name}: {line}" for line in data_lines(config, data)]
    lines += pretrained_lines(config, data)
    if say is not None:
        for line in lines:
            say(line)
    return config.replace(image_size=data.image_size)


def pretrained_lines(config: TrialConfig, data: PreparedData) -> list[str]:
    """What is said of a run's pretrained file; none where it has none. The model is built all the same.

    Raises:
        UserError: a network that cannot be, or a file that is not its.
    """
    with torch.device("meta"):  # shapes and names without memory
        model = new_model(config, data.num_classes, data.channels, data.image_size)
    return check_pretrained(model, Path(config.pretrained)).summary().splitlines() if config.pretrained else []


def check_alone(config: TrialConfig) -> None:
    """What can be checked without the data, which may take long to prepare; raises as `preflight`."""
    if config.least_workers is not None and config.least_workers > config.workers:
        raise UserError(
            f"least_workers {config.least_workers} is more than the {config.workers} workers of a run; give at most as "
            "many, or leave it out"
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda is asked for and torch sees no GPU; use cpu or auto, or install a CUDA build of torch"
        )
    if config.image_size is not None:
        check_image_size(config.model, config.image_size)
    if config.pretrained is not None and (what := no_file(config.pretrained)):
        raise UserError(
            f"the pretrained file {config.pretrained} {what}; docs/pretrained.md says where published ones lie, and "
            "`python -m study pretrain` makes one"
        )
    binary_rate = learning_rates(config.model, config.lr, config.batch_size)[1]
    method_named(config.algorithm).check_step(config, binary_rate)


def data_lines(config: TrialConfig, data: PreparedData) -> list[str]:
    """What is said of a run's data: how many pictures each split has, what was noted, and what this run leaves out."""
    lines = []
    if data.manifest.class_counts:
        lines.append(summary_line(data.manifest, config.val_fraction, config.train_per_class))
    lines += note_lines(data.manifest)
    images = len(split_of(data, config, "train"))
    left_out = images - sum(len(batch) for batch in epoch_batches(images, config, 0))
    if left_out:
        lines.append(
            f"left out: {left_out} of {images} training pictures in each epoch, others each time: the last batch would "
            "be too small for batch statistics"
        )
    return lines


def _check_batch(config: TrialConfig, data: PreparedData) -> None:
    images = len(split_of(data, config, "train"))
    few = "" if config.train_per_class is None else f", train_per_class {config.train_per_class}"
    if config.batch_size > images:
        raise UserError(
            f"batch_size {config.batch_size} is larger than the {images} training images of {data.name} "
            f"(val_fraction {config.val_fraction}{few}); use at most {images}"
        )
    if config.val_fraction and not len(split_of(data, config, "validation")):
        raise UserError(
            f"val_fraction {config.val_fraction:g} of the training images of {data.name} leaves none to validate "
            "on; give a larger one, or 0 to train on all of them"
        )
