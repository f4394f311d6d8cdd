"""Memory or a disk that is full ends a run with a clear error, and loses nothing that was whole. Real allocations."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from study.define.trial_spec import trial_spec
from study.drive.trial import ended
from trainers import checkpoint
from trainers.atomic import write_atomically, write_json
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import DiskFullError, OutOfMemoryError
from trainers.exhaustion import exhausted
from trainers.host import run_local
from trainers.learner import Learner

MakeConfig = Callable[..., TrialConfig]

BEYOND_ANY_MEMORY = 1 << 52  # floats: more bytes than a process can address


def caught(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(BEYOND_ANY_MEMORY),
        lambda: np.empty(BEYOND_ANY_MEMORY),
        lambda: bytearray(BEYOND_ANY_MEMORY),
    ],
    ids=["torch", "numpy", "python"],
)
def test_every_allocators_refusal_is_out_of_memory(allocate: Callable[[], Any]) -> None:
    found = exhausted(caught(allocate))
    assert isinstance(found, OutOfMemoryError) and "memory does not hold the run: " in str(found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_refusal_is_out_of_memory() -> None:
    error = caught(lambda: torch.empty(BEYOND_ANY_MEMORY // 8, device="cuda"))
    assert isinstance(exhausted(error), OutOfMemoryError)


def test_a_worker_that_rays_memory_monitor_killed_was_out_of_memory() -> None:
    from ray.exceptions import OutOfMemoryError as KilledByRay
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    killed = WorkerHealthCheckFailedError("worker 1", KilledByRay("Task was killed"))
    assert isinstance(exhausted(WorkerGroupError("two workers", {0: ValueError("x"), 1: killed})), OutOfMemoryError)
    assert exhausted(WorkerGroupError("two workers", {0: ValueError("x")})) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_by_its_mount_point(code: int, tmp_path: Path) -> None:
    found = exhausted(OSError(code, os.strerror(code), str(tmp_path / "file")))
    assert isinstance(found, DiskFullError)
    assert "the disk at /" in str(found) and str(tmp_path / "file") in str(found) and "same command again" in str(found)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), RuntimeError("shapes differ"), KeyError("memory")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert exhausted(error) is None


def test_a_run_out_of_memory_says_so_and_gives_back_what_it_held(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = digits()
    learners: list[weakref.ref[Learner]] = []
    step_of = Learner.train_step

    def step(self: Learner, images: Any, labels: Any, number: int, *rest: Any) -> float:
        learners.append(weakref.ref(self))
        if number == 20:
            self.never = torch.empty(BEYOND_ANY_MEMORY)  # type: ignore[attr-defined]
        return step_of(self, images, labels, number, *rest)

    spec = trial_spec("t", "search", "binary", config, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Learner, "train_step", step)
        last = ended(spec, lambda metrics: None)
    assert (last["outcome"], last["epoch"]) == ("out_of_memory", 1)
    assert "memory does not hold the run" in last["reason"] and last["device_seconds"] > 0
    assert learners and all(reference() is None for reference in learners)
    assert ended(spec, lambda metrics: None)["outcome"] == "completed"


def test_a_checkpoint_that_no_disk_takes_leaves_the_last_whole_one(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = digits(epochs=3)
    run_local(config, tmp_path / "whole")
    told: list[dict[str, Any]] = []
    save_file = checkpoint.save_file

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        save_file(tensors, path, metadata)
        if told:  # the first epoch is saved
            with open(path, "r+b") as file:
                file.truncate(100)
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    spec = trial_spec("t", "search", "binary", config, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        last = ended(spec, told.append)
    assert last["outcome"] == "disk_full" and "is full" in last["reason"]
    assert sorted(path.name for path in (tmp_path / "run").rglob("*") if path.is_file()) == [
        "best.safetensors",
        "inputs.json",
        "last.safetensors",
        "start.safetensors",
    ]
    assert ended(spec, told.append)["outcome"] == "completed"
    assert [(metrics["epoch"], metrics.get("replayed", False)) for metrics in told] == [
        (1, False),
        (1, True),
        (2, False),
        (3, False),
    ]
    first, second = (load_file(last_checkpoint(tmp_path / name)) for name in ("whole", "run"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_error_while_a_file_is_written_leaves_the_old_one_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"old": 1})

    def half(partial: Path) -> None:
        partial.write_text("{")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        write_atomically(tmp_path / "file", half)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == '{"old": 1}'


def _mounting() -> list[str]:
    """The command that begins a mount namespace of its own; the test is skipped where the system allows none."""
    command = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a small disk in")
    trial = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"no small disk can be mounted here: {trial.stderr.strip()}")
    return command


@pytest.mark.integration
def test_a_real_full_disk_stops_a_run_and_it_goes_on_after_space_is_made(digits: MakeConfig, tmp_path: Path) -> None:
    mounting = _mounting()
    disk, whole = tmp_path / "disk", tmp_path / "whole"
    disk.mkdir()
    config = digits("real", lr=0.1, hid_dim=256, epochs=2)  # a checkpoint of 340 kB; last and best make two
    run_local(config, whole)
    write_json(tmp_path / "config.json", config.to_dict())
    body = f"""
        import json, subprocess
        from pathlib import Path
        import torch
        from safetensors.torch import load_file
        from trainers.checkpoint import last_checkpoint
        from trainers.config import TrialConfig
        from trainers.errors import DiskFullError
        from trainers.host import run_local

        torch.set_num_threads(1)
        disk, whole = Path({str(disk)!r}), Path({str(whole)!r})
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
        (disk / "ballast").write_bytes(bytes(500_000))
        config = TrialConfig.from_dict(json.loads(Path({str(tmp_path / "config.json")!r}).read_text()))
        try:
            run_local(config, disk / "run")
            print("the disk was not full")
        except DiskFullError as error:
            print(error)
        print(sorted(path.name for path in (disk / "run").rglob("*") if path.is_file()))
        (disk / "ballast").unlink()
        print(run_local(config, disk / "run")["status"])
        first, second = load_file(last_checkpoint(disk / "run")), load_file(last_checkpoint(whole))
        print(all(torch.equal(first[name], second[name]) for name in second))
    """
    done = subprocess.run(
        [*mounting, sys.executable, "-c", textwrap.dedent(body)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith(f"the disk at {disk} is full")
    assert said[1:] == ["['inputs.json', 'last.safetensors', 'start.safetensors']", "completed", "True"]
