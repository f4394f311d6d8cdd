"""A checkpoint file may come from anywhere: tensors are read, code never runs, damage is named."""

import argparse
import datetime
import os
import pickle
import tarfile
import types
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainers.errors import UserError
from trainers.models.safe_read import read_checkpoint

WEIGHT = torch.arange(6.0).reshape(2, 3)

both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, zipped: bool = True, **company: Any) -> Path:
    torch.save({"state_dict": {"weight": WEIGHT}, **company}, path, _use_new_zipfile_serialization=zipped)
    return path


def weight(content: Any) -> Tensor:
    tensor = content["state_dict"]["weight"]
    assert isinstance(tensor, Tensor)
    return tensor


class Malicious:
    """A pickle of it asks the reader to call `function` with `argument`."""

    def __init__(self, function: Callable[..., object], argument: str) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.call


@both_formats
@pytest.mark.parametrize(("function", "name"), [(os.mkdir, "posix.mkdir"), (exec, "exec")], ids=["mkdir", "exec"])
def test_a_file_that_asks_for_code_is_refused_and_nothing_runs(
    function: Callable[..., object], name: str, zipped: bool, tmp_path: Path
) -> None:
    trace = tmp_path / "executed"
    argument = f"import os; os.mkdir({str(trace)!r})" if function is exec else str(trace)
    path = save(tmp_path / "file.pth", zipped, args=Malicious(function, argument))
    with pytest.raises(UserError, match=f"more than tensors: it asks to build {name},.*nothing was run"):
        read_checkpoint(path)
    assert not trace.exists()


def test_a_command_line_that_holds_code_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = save(tmp_path / "file.pth", args=argparse.Namespace(hook=Malicious(os.mkdir, str(trace))))
    with pytest.raises(UserError, match="more than tensors"):
        read_checkpoint(path)
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"asks to build torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(save(tmp_path / "file.pth", model=nn.Linear(2, 2)))


@both_formats
def test_numpy_numbers_and_a_parsed_command_line_do_not_matter(zipped: bool, tmp_path: Path) -> None:
    path = save(
        tmp_path / "file.pth",
        zipped,
        best_acc1=np.float64(70.5),
        history=np.arange(3.0),
        args=argparse.Namespace(lr=np.float32(0.1), batch_size=256),
    )
    assert torch.equal(weight(read_checkpoint(path)), WEIGHT)


@both_formats
def test_paths_and_dates_do_not_matter(zipped: bool, tmp_path: Path) -> None:
    path = save(
        tmp_path / "file.pth",
        zipped,
        save_dir=PurePosixPath("/runs/7"),
        windows=PureWindowsPath("C:\\runs"),
        begun=datetime.datetime(2021, 5, 4, 12),
        took=datetime.timedelta(hours=3),
        options=types.SimpleNamespace(lr=0.1),
    )
    assert torch.equal(weight(read_checkpoint(path)), WEIGHT)


def test_numpy_numbers_under_numpys_older_names_do_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "file.pth", zipped=False, best_acc1=np.float64(70.5), history=np.arange(3.0))
    renamed = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert renamed != path.read_bytes()
    path.write_bytes(renamed)
    assert torch.equal(weight(read_checkpoint(path)), WEIGHT)


def test_reading_leaves_torchs_own_list_of_safe_names_as_it_was(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(save(tmp_path / "file.pth"))
    assert set(torch.serialization.get_safe_globals()) == before


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"weight": WEIGHT}, tmp_path / "file.safetensors")
    content = read_checkpoint(tmp_path / "file.safetensors")
    assert isinstance(content, dict)
    assert torch.equal(content["weight"], WEIGHT)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.pth does not exist; give the path"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)


def tar_archive(path: Path) -> None:
    """What PyTorch before 0.1.10 wrote: pickles in a tar archive."""
    with tarfile.open(path, "w") as archive:
        for member in ("sys_info", "pickle", "storages", "tensors"):
            source = path.with_name(member)
            source.write_bytes(pickle.dumps({"protocol_version": 1000}, protocol=2))
            archive.add(source, arcname=member)


def truncate(path: Path, zipped: bool) -> None:
    complete = save(path, zipped, padding=torch.zeros(1000)).read_bytes()
    path.write_bytes(complete[: len(complete) // 2])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "damaged or no PyTorch"),
        (lambda path: path.write_text("<html>404</html>"), "damaged or no PyTorch"),
        (lambda path: truncate(path, zipped=True), "damaged or no PyTorch"),
        (lambda path: truncate(path, zipped=False), "damaged or no PyTorch"),
        (tar_archive, "is a .tar format file, which cannot be read safely; save its state dict anew"),
    ],
    ids=["empty", "text", "truncated-zip", "truncated-legacy", "old-tar"],
)
def test_a_file_that_is_no_checkpoint_is_refused(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    write(path)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match="damaged or no PyTorch or safetensors"):
        read_checkpoint(tmp_path / "file.safetensors")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*TorchScript archive:UserWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "file.pth"))
    with pytest.raises(UserError, match="TorchScript file, which cannot be read safely"):
        read_checkpoint(tmp_path / "file.pth")
