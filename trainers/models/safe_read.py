"""Read a checkpoint file that may come from anywhere: tensors and plain containers, never code.

A pickle can ask its reader to call anything. Files are therefore read by torch's restricted unpickler, which builds
tensors and plain containers only. A few harmless things that old training scripts leave beside the weights (numpy
numbers, the parsed command line, paths, dates) are read as empty placeholders; everything else that is no tensor is
refused.
"""

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from trainers.errors import UserError


class _Placeholder:
    """Stands for an object in the file that we neither need nor build: it swallows arguments and state."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_SWALLOWED = (
    "argparse.Namespace",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",  # their names since Python 3.13
    "pathlib._local.PurePosixPath",
    "pathlib._local.PureWindowsPath",
    "pathlib._local.WindowsPath",
    "types.SimpleNamespace",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)


def no_file(path: str | Path) -> str:
    """Why there is no file to read at `path`, in words; empty where there is one."""
    if os.path.isfile(path):
        return ""
    return "is a folder" if os.path.isdir(path) else "does not exist"


def read_checkpoint(path: Path) -> object:
    """What the file at `path` holds, on the CPU; no code that it names is ever run.

    Raises:
        UserError: no such file, damaged, no checkpoint, or it asks for more than tensors.
    """
    if what := no_file(path):
        raise UserError(f"pretrained file {path} {what}; give the path of a .pth, .pth.tar or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_compressed(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_Placeholder, name) for name in _SWALLOWED]):
            warnings.simplefilter("ignore")  # of odd pickle protocols and the like: it can be read or it cannot
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; check the file and its permissions"
        ) from None
    except Exception as error:  # whatever a damaged or hostile file makes a reader raise is the file's fault
        raise UserError(_unreadable(path, error)) from None


def _refuse_compressed(path: Path) -> None:
    """torch does not compress its archives; a compressed one could fill the memory with what a small one unpacks to."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise UserError(
            f"{path} is compressed: it would unpack to {unpacked} bytes; save it anew with torch.save, uncompressed"
        )


def _unreadable(path: Path, error: Exception) -> str:
    text = str(error)
    refused = re.search(r"GLOBAL (\S+)", text)
    if isinstance(error, pickle.UnpicklingError) and refused:
        return (
            f"{path} holds more than tensors: it asks to build {refused.group(1)}, which could run code, so it was "
            f"refused and nothing was run; save its tensors alone (torch.save of a state dict, or safetensors) "
            f"somewhere you trust it, and give that file"
        )
    for old in ("legacy .tar format", "TorchScript"):
        if old in text:
            return (
                f"{path} is a {old.removeprefix('legacy ')} file, which cannot be read safely; save its state dict anew"
            )
    reason = text.strip().splitlines()[-1] if text.strip() else type(error).__name__
    return f"{path} is damaged or no PyTorch or safetensors checkpoint ({reason[:200]}); get the file again"
