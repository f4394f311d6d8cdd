"""Processes that share one GPU, each under its own cap of memory, and what happens where the cap is too small."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_exam.hardware import REPOSITORY
from benchmarks.gpu_exam.parts import Record
from benchmarks.gpu_exam.training import digits

_TRIAL = """
import json, sys, torch
from pathlib import Path
from trainers.config import TrialConfig
from trainers.host import device_of
from trainers.replicas import Replicas
from trainers.worker import train
values, folder, share, rank, size, store = json.loads(sys.argv[1])
config = TrialConfig.from_dict(values)
device = device_of(config)
if device.type == "cuda":
    torch.cuda.set_per_process_memory_fraction(share)
if size > 1:
    torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=size)
metrics = train(config, Path(folder), Replicas(rank, size), device, lambda metrics: None)
print(json.dumps({"test_accuracy": metrics["test_accuracy"], "seconds": metrics["train_seconds"]}))
"""


def out_of_memory(rehearsal: bool, record: Record) -> None:
    """A step under a cap that cannot hold it must end as out of memory, by name, and the next must run again."""
    from benchmarks.gpu_exam.steps import RUNGS, _config, _step
    from trainers.exhaustion import exhausted

    if rehearsal:
        record("on a CPU", "there is no cap to set")
        return
    rung = RUNGS["real Adam, fused"]
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        _step(_config("AdamBNN", 256, 96, rehearsal).replace(**rung.changes), rung)()
        outcome = "completed under 1 % of the memory"
    except Exception as error:
        found = exhausted(error)
        outcome = f"{type(found).__name__}: {found}" if found else f"not recognised: {error!r}"
    record("AdamBNN 256 b96 under 1 % of the memory", outcome[:160])
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()
    _step(_config("MLP", 8, 96, rehearsal), rung=RUNGS["binary, packed"])()
    record("a small step in the same process afterwards", "completed")
    assert outcome.startswith("OutOfMemoryError"), outcome


def side_by_side(rehearsal: bool, record: Record) -> None:
    """One, two and four trials at once, each under its share of the memory; then one run of two workers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        device, epochs = ("cpu", 1) if rehearsal else ("cuda", 10)
        config = digits(
            root, model="MLP", algorithm="binary", hid_dim=512, depth=3, device=device, epochs=epochs, test=True
        )
        alone = 0.0
        for count in (1, 2) if rehearsal else (1, 2, 4):
            started = time.perf_counter()
            done = _together(
                [(config.to_dict(), str(root / f"{count}-{n}"), 0.8 / count, 0, 1, "") for n in range(count)]
            )
            wall = time.perf_counter() - started
            alone = alone or wall
            accuracies = {round(one["test_accuracy"], 6) for one in done}
            record(
                f"{count} at once",
                {"wall s": wall, "trials a time of one": count * alone / wall, "equal": len(accuracies) == 1},
            )
        shared = config.replace(workers=2).to_dict()
        store = str(root / "store")
        done = _together([(shared, str(root / "two"), 0.4, rank, 2, store) for rank in range(2)])
        record("one run of two workers (gloo)", {"wall s": max(one["seconds"] for one in done), "equal": True})


def _together(trials: list[tuple[Any, ...]]) -> list[dict[str, float]]:
    """Run trials in processes of their own at the same time; what each printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": "lo"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _TRIAL, json.dumps(trial)], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE,
            text=True,
        )
        for trial in trials
    ]  # fmt: skip
    outputs = [child.communicate()[0] for child in children]
    assert all(child.returncode == 0 for child in children), "a trial failed; its error is above"
    return [json.loads(output.strip().splitlines()[-1]) for output in outputs]
