"""One real-space training whose network becomes a pretrained file, for networks of which nobody published one."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from study.define.cells import StudyConfig, dataset_label
from study.drive.interrupt import interruptible
from study.drive.trial import train
from study.record import display
from study.record.provenance import git_commit
from study.record.terminal import Progress, percent, say
from study.record.working_alone import only_one
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData
from trainers.errors import DivergedError, UserError
from trainers.preflight import preflight, pretrained_lines
from trainers.pretraining import find_pretrained, write_pretrained
from trainers.run_data import data_of

PRETRAINED = "pretrained"
"""The folder of a study's own pretrained files, within the study's."""


def pretrain_cells(study: StudyConfig, folder: Path) -> StudyConfig:
    """The study with each cell started from its pretrained network, which is trained here where it is not there yet.

    Args:
        study: its cells and pretrainings checked.
        folder: the study's; the files go to `pretrained` in it, since they are part of the study.

    Raises:
        UserError: as `pretrain`; or the file is of no use to the cell: images of other channels, say.
    """
    known: dict[TrialConfig, str] = {}
    told: dict[str, None] = {}
    cells = []
    for cell in study.cells:
        wanted = study.pretrainings[cell.name]
        if wanted not in known:
            path = pretrain(wanted, folder / PRETRAINED, tell=lambda line: None)
            known[wanted] = os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
        base = cell.base.replace(pretrained=known[wanted])
        told |= dict.fromkeys(pretrained_lines(base, _data(base)))
        cells.append(replace(cell, base=base))
    for line in told:
        say(line)
    return replace(study, cells=tuple(cells))


def pretrain(config: TrialConfig, folder: Path, tell: Callable[[str], None] = say) -> Path:
    """The pretrained file of this run below `folder`, trained where it is not there yet; says what it does.

    Args:
        config: the run.
        folder: where the file is or goes.
        tell: takes what is to be said of the data.

    An interrupted training goes on from its last checkpoint, in a hidden folder beside the file, which is removed when
    the file is there.

    Raises:
        UserError: anything that `preflight` finds, before work starts; a folder that cannot be written; a run that
            diverged. StoppedError: Ctrl-C; what was trained is saved.
    """
    config = preflight(config, tell)
    data = _data(config)
    label = f"{dataset_label(config.dataset)}-{config.model}"
    if (known := find_pretrained(config, data, folder, label)) is not None:
        say(f"{known} is there already, from this very training; nothing to do")
        return known
    run_dir = folder / f".{label}-{config.fingerprint()[:8]}"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); give another --output") from error
    stop_file = run_dir / ".stop"
    progress = Progress(f"pretrain {label}", 1, every_epoch=True)
    following = display.current().following(progress.title, run_dir)
    with only_one(run_dir), interruptible(stop_file), following:
        if config.workers > 1:
            from study.drive.cluster import connect

            say("starting Ray ...")
            connect()
        try:
            final = train(config, run_dir, lambda metrics: progress.epoch(config, metrics), Attempt(stop_file))
        except DivergedError as error:
            raise UserError(f"the run diverged: {error}; use a smaller lr") from None
        path = write_pretrained(config, data, run_dir, folder, label, final, git_commit())
    shutil.rmtree(run_dir, ignore_errors=True)
    say(
        f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB): {config.model} after epoch {final['epoch']}, validation "
        f"accuracy {percent(final.get('val_accuracy'))}, binary weights as bits",
        important=True,
    )
    return path


def _data(config: TrialConfig) -> PreparedData:
    return data_of(config)
