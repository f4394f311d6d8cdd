"""The folder that a command was given in, for the processes that work for it: relative paths mean the same there.

A worker's process starts in a folder of Ray's own, or on another machine; `--dataset my_pictures`, `--data-root data`
and `--pretrained file.pth` are meant from where the command was typed.
"""

import os
import platform
from pathlib import Path

from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.errors import UserError


def working_folder() -> str:
    """Where this command was given; empty where that folder is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def enter(folder: str, config: TrialConfig, *, required: bool = True) -> None:
    """Make `folder` this process's working folder.

    Args:
        folder: where the command was given.
        config: of the run.
        required: whether the run reads its relative paths there; else this machine may lack the folder.

    Raises:
        UserError: it is not on this machine, and the run has a relative path.
    """
    if not folder:
        return
    try:
        os.chdir(folder)
    except OSError as error:
        if required and (relative := relative_paths(config)):
            raise UserError(
                f"the folder {folder} that the command was given in cannot be entered on {platform.node()} "
                f"({error.strerror}), and {', '.join(relative)} is relative to it; give absolute paths on a disk that "
                "every machine has"
            ) from error


def relative_paths(config: TrialConfig) -> list[str]:
    """The run's paths that are relative, as `name 'path'`."""
    named = {name: getattr(config, name) for name in ("data_root", "prepared_root", "pretrained")}
    if lookup(config.dataset) is None:
        named["dataset"] = config.dataset
    given = {name: path for name, path in named.items() if path is not None}
    return [f"{name} {path!r}" for name, path in given.items() if not os.path.isabs(os.path.expanduser(path))]


def require_run_dir(run_dir: Path) -> None:
    """Make the run's folder.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        probe = run_dir / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {run_dir} ({error.strerror}); choose an output folder you may write to"
        ) from error
