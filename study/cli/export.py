"""`python -m study export RUN`: one trained run as a folder that predicts on its own (`trainers.models.packed`).

A run is named by its own folder, or by its trial id within a study. What it learned is read from its
checkpoint; the classes and the normalisation from its data set; its commit from the study's records.
"""

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.drive.shared import fetch_checkpoints
from study.record.file_names import STUDY_FILE
from study.record.folder import study_identity
from study.record.provenance import UNKNOWN
from study.record.runs_table import read_study
from study.record.terminal import say
from trainers.checkpoint import best_checkpoint, last_checkpoint, read_checkpoint
from trainers.config import TrialConfig
from trainers.content_names import file_sha256
from trainers.data.loader import PreparedData
from trainers.errors import UserError
from trainers.learner import new_model
from trainers.models.checkpoints import load_pretrained
from trainers.models.packed import WEIGHTS, ModelDescription, restored_model, save_packed
from trainers.models.patch import save_patch
from trainers.progress import Progress
from trainers.registry import model_named
from trainers.run_data import data_of

CHECKPOINTS = {"last": last_checkpoint, "best": best_checkpoint}
_SHOWN = 10  # runs in an error message


@dataclass(frozen=True)
class TrainedRun:
    """What a checkpoint says of a run.

    Attributes:
        file: the checkpoint.
        config: the run.
        epoch: epochs trained when it was written.
        val_accuracy: after that epoch; None without validation.
        tensors: the model's state dict; optimizer and update rule state is not read.
    """

    file: Path
    config: TrialConfig
    epoch: int
    val_accuracy: float | None
    tensors: dict[str, Tensor]


def export_run(
    run: str,
    *,
    study: str | None = None,
    output: str | None = None,
    which: str = "last",
    replace: bool = False,
    patch: bool = False,
    base: str | None = None,
    data_root: str | None = None,
    prepared_root: str | None = None,
) -> Path:
    """Export one run and say what was exported; returns the folder.

    Args:
        run: a run's folder; with `study`, its trial id.
        study: the folder of the run's study.
        output: the folder to write; None means `export` within the run's folder.
        which: the checkpoint: `last`, whose accuracies a study reports, or `best` on validation.
        replace: whether an export that is there already is replaced.
        patch: write only what differs from the pretrained file (`trainers.models.patch`), by default to `patch`.
        base: where that file lies, if no longer where the run read it.
        data_root, prepared_root: where the data set lies, if no longer where the run read it.

    Raises:
        UserError: no such run or checkpoint, data that cannot be found, or a folder that is there or cannot be written.
    """
    if base is not None and not patch:
        raise UserError("--base is the pretrained file that a patch is of; give --patch too, or leave it out")
    run_dir = find_run(run, study)
    trained = read_trained(CHECKPOINTS[which](run_dir))
    config = trained.config
    start = _start(run_dir, config, base) if patch else None
    if start is not None:
        config = config.replace(pretrained=start)
        trained = replace_fields(trained, config=config)
    places = {"data_root": data_root, "prepared_root": prepared_root}
    config = config.replace(**{name: place for name, place in places.items() if place is not None})
    data = data_of(config)
    normalisation = model_named(config.model).normalised_by(data)
    about = ModelDescription(
        model=config.model,
        options=_options(trained, data),
        image_size=data.image_size,
        channels=data.channels,
        mean=normalisation.mean,
        std=normalisation.std,
        class_names=tuple(data.class_names),
        dataset=data.name,
        origin=_origin(run_dir, trained, which),
        grey_ranges=data.manifest.grey_ranges,
    )
    with _threads(config.threads):
        model: nn.Module = restored_model(about, trained.tensors, str(trained.file))
    if start is not None:
        folder, size = save_patch(output or run_dir / "patch", model, about, start, replace=replace)
        say("\n".join(_told(folder, about, f"python examples/predict.py {start} PICTURE {folder}")))
        say(f"a patch of {start}: {size.line()}")
        return folder
    folder = save_packed(output or run_dir / "export", model, about, replace=replace)
    say("\n".join(_told(folder, about, f"python examples/predict.py {folder} PICTURE")))
    if output is None and (run_dir.parents[1] / STUDY_FILE).is_file():
        say(f"show it among the study's pages in MLflow: python -m study mlflow {run_dir.parents[1]}")
    return folder


def _start(run_dir: Path, config: TrialConfig, base: str | None) -> str:
    """The pretrained file that a run started from.

    Raises:
        UserError: there was none, or the file is another one by now.
    """
    if config.pretrained is None:
        raise UserError(
            f"{run_dir.name} started from no pretrained file, so there is nothing that a patch could be of; export it "
            "whole, without --patch"
        )
    start = Path(base or config.pretrained)
    if not start.is_file():
        raise UserError(f"the pretrained file {start} of {run_dir.name} does not exist; give it by --base FILE")
    try:
        then = json.loads((run_dir / "inputs.json").read_text(encoding="utf-8"))["pretrained"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return str(start)  # a run of before that was recorded; a patch says itself what it is of
    if (now := file_sha256(start)) != then:
        raise UserError(
            f"{start} is another file (SHA-256 {now[:16]}...) than {run_dir.name} started from ({str(then)[:16]}...); "
            "give that one by --base FILE"
        )
    return str(start)


def find_run(run: str, study: str | None = None) -> Path:
    """The folder of a run that has checkpoints.

    Raises:
        UserError: there is none; lists what is there.
    """
    if study is None:
        fetch_checkpoints(Path(run))
        if last_checkpoint(Path(run)).is_file():
            return Path(run).resolve()
        for runs in (Path(run) / "runs", Path(run), Path(run).parent):
            if names := _runs_in(runs):
                raise UserError(f"{run} is no run's folder; {_choice(names, Path(run).name, runs)}")
        raise UserError(
            f"{run} is no run's folder: no checkpoints in it; give a folder such as studies/NAME/runs/TRIAL, or a "
            "trial id with --study studies/NAME"
        )
    study_identity(study)
    runs = Path(study) / "runs"
    if (runs / run).parent == runs:  # a name, not a path to elsewhere
        fetch_checkpoints(runs / run)
    names = _runs_in(runs)
    if run in names:
        return (runs / run).resolve()
    if not names:
        raise UserError(f"no run of {study} has left a checkpoint; train one first")
    if (status := _status(run, study)) is not None:
        raise UserError(f"run {run} ({status}) has no checkpoint (pruned runs keep none); {_choice(names, run, runs)}")
    raise UserError(f"{study} has no run {run!r} with a checkpoint; {_choice(names, run, runs)}")


def _status(run: str, study: str) -> str | None:
    """How the study's log says that a run ended; None where it does not know the run."""
    try:
        rows = read_study(study).table.select(["trial_id", "status"]).to_pylist()
    except UserError:
        return None  # the folders alone say what is there
    return next((row["status"] for row in rows if row["trial_id"] == run), None)


def _runs_in(runs: Path) -> list[str]:
    return sorted(path.parents[1].name for path in runs.glob("*/checkpoints/last.safetensors"))


def _choice(names: list[str], wanted: str, runs: Path) -> str:
    """The runs that are there, those with similar names first."""
    near = difflib.get_close_matches(wanted, names, n=_SHOWN, cutoff=0.6)
    shown = [*near, *(name for name in names if name not in near)][:_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"choose one of the {len(names)} in {runs}: {', '.join(shown)}{more}"


def read_trained(file: Path) -> TrainedRun:
    """Read the model's part of a run's checkpoint, and how it came about.

    Raises:
        UserError: the file cannot be read or is no run's checkpoint.
    """
    try:
        content, metadata = read_checkpoint(file)
        progress = Progress.from_json(metadata["progress"])
        config = TrialConfig.recorded(json.loads(metadata["config"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"checkpoint {file} cannot be read ({error}); put back a whole copy, or train again") from error
    if progress.sums is not None:
        raise UserError(
            f"{file} was saved in the middle of epoch {progress.epochs_done + 1}; "
            "let the run go on to the epoch's end, or export its best epoch with --best"
        )
    tensors = {name.removeprefix("model."): tensor for name, tensor in content.items() if name.startswith("model.")}
    return TrainedRun(file, config, progress.epochs_done, progress.latest.get("val_accuracy"), tensors)


def _options(trained: TrainedRun, data: PreparedData) -> dict[str, Any]:
    """`build_model`'s options, as `trainers.learner.new_model` gave them but for the image's."""
    config = trained.config
    return {**model_named(config.model).options_of(config), "weight_scale": _weight_scale(trained, data)}


def _weight_scale(trained: TrainedRun, data: PreparedData) -> str:
    """The weight scale that the run trained with: none, layer or channel."""
    config = trained.config
    if config.packed:  # a constant beside the bits
        scales = [tensor for name, tensor in trained.tensors.items() if name.endswith(".weight_scale")]
        return ("channel" if scales[0].dim() else "layer") if scales else "none"
    if config.pretrained is None or config.weight_scale is not None or config.xnor:
        return config.scale_kind
    # Signs alone carry no scale to take, and whether a pretrained file holds more than signs only that file says.
    model = new_model(config, data.num_classes, data.channels, data.image_size)
    return "none" if load_pretrained(model, Path(config.pretrained)).signs_only else config.scale_kind


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """CPU threads as in the run: a weight scale is a mean, and the order of its sum depends on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _origin(run_dir: Path, trained: TrainedRun, which: str) -> dict[str, Any]:
    """Where the model comes from, as plain values. Accuracies are those of this very checkpoint, null if not known."""
    recorded = _recorded(run_dir)
    result = run_dir / "result.json"
    # The test set is opened once, after the last epoch: its accuracy is no earlier checkpoint's.
    final = _final(result)
    return {
        "study": recorded.get("study"),
        "trial_id": run_dir.name,
        "git_commit": recorded.get("git_commit") or UNKNOWN,
        "checkpoint": which,
        "epoch": trained.epoch,
        "val_accuracy": trained.val_accuracy,
        "test_accuracy": final.get("test_accuracy") if final.get("epoch") == trained.epoch else None,
        "config": trained.config.to_dict(),
    }


def _final(result: Path) -> dict[str, Any]:
    """A finished run's metrics; empty where there are none, or, which is said, where they cannot be read."""
    try:
        return dict(json.loads(result.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        say(f"{result} is damaged ({error}); the test accuracy is left out. The run's own command writes it anew")
        return {}


def _recorded(run_dir: Path) -> dict[str, Any]:
    """The run's row in its study's records; empty, and said so, where it cannot be had: the model can all the same."""
    study = run_dir.parents[1]
    if run_dir.parent.name != "runs" or not (study / STUDY_FILE).is_file():
        return {}
    try:
        rows = [row for row in read_study(study).table.to_pylist() if row["trial_id"] == run_dir.name]
    except UserError as error:
        say(f"the run's commit is written as {UNKNOWN}: {error}")
        return {}
    return rows[0] if rows else {}


def _told(folder: Path, about: ModelDescription, example: str) -> list[str]:
    origin = about.origin
    megabytes = (folder / WEIGHTS).stat().st_size / 1e6
    epochs = f"after epoch {origin['epoch']} of {origin['config']['epochs']}"
    accuracies = [
        f"{kind} accuracy {origin[key]:.4f}"
        for kind, key in (("validation", "val_accuracy"), ("test", "test_accuracy"))
        if origin[key] is not None
    ]
    return [
        f"{origin['trial_id']}: {about.model} {', '.join([epochs, *accuracies])}",
        f"exported to {folder} ({megabytes:.2f} MB, {len(about.class_names)} classes, "
        f"{about.image_size}x{about.image_size}x{about.channels} pixels)",
        f"try it: {example}",
    ]
