"""A run whose machine is taken away saves after its step, and goes on elsewhere with the bits of one that stayed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from trainers import notice, worker
from trainers.attempt import Attempt
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import PreemptedError, UserError
from trainers.host import run_local, run_ray
from trainers.preflight import check_alone
from trainers.progress import Metrics, Progress

MakeConfig = Callable[..., TrialConfig]
REPOSITORY = Path(__file__).resolve().parents[2]


def same_bits(one: Path, other: Path) -> bool:
    first, second = load_file(last_checkpoint(one)), load_file(last_checkpoint(other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_is_given_notice_saves_in_the_middle_of_an_epoch_and_goes_on_with_the_same_bits(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, steps = digits(epochs=2), []
    run_local(config, tmp_path / "stayed")
    step = worker._Run._step

    def noticed(*given: object) -> object:
        steps.append(1)
        if len(steps) == 3:
            notice._given.set()
        return step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(worker._Run, "_step", noticed)
    with pytest.raises(PreemptedError, match="being taken away; stopped, after 0 epochs and 3 steps; both are saved"):
        run_local(config, tmp_path / "moved")
    notice._given.clear()
    run_local(config, tmp_path / "moved")
    assert same_bits(tmp_path / "stayed", tmp_path / "moved")
    assert len(steps) == steps_of(tmp_path / "stayed"), "no step was taken twice"


def steps_of(run_dir: Path) -> int:
    with safe_open(last_checkpoint(run_dir), framework="pt") as file:
        return Progress.from_json((file.metadata() or {})["progress"]).steps_done


@pytest.mark.integration
def test_the_end_of_a_process_waits_for_its_run_and_no_longer() -> None:
    program = (
        "import threading, time; from trainers import notice\n"
        "inside = threading.Event()\n"
        "def run():\n"
        "    with notice.heeded():\n"
        "        inside.set()\n"
        "        while not notice.given(): time.sleep(0.01)\n"
        "        print('saved', flush=True)\n"
        "threading.Thread(target=run, daemon=True).start(); inside.wait()\n"
        "raise SystemExit(3)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "saved\n")


@pytest.mark.usefixtures("running_ray")
def test_a_worker_that_is_told_to_end_has_all_save_and_the_run_goes_on_with_the_same_bits(
    digits: MakeConfig, tmp_path: Path
) -> None:
    """SIGTERM to one of two workers in the middle of an epoch, then SIGKILL."""
    config = digits(workers=2, epochs=3, batch_size=8)
    run_ray(config, tmp_path / "stayed")
    told: list[Metrics] = []

    def take_one_away(metrics: Metrics) -> None:
        told.append(metrics)
        if len(told) == 1:
            started = psutil.Process().children(recursive=True)
            taken = [one for one in started if any("TrainWorker" in part for part in one.cmdline())][-1]
            taken.send_signal(signal.SIGTERM)
            _, left = psutil.wait_procs([taken], timeout=30)
            assert not left, "it has saved and ended within the notice"

    attempt = Attempt(stop_file=tmp_path / ".stop")
    assert run_ray(config, tmp_path / "moved", take_one_away, attempt)["status"] == "completed"
    assert [metrics["epoch"] for metrics in told] == [1, 2, 3]
    assert same_bits(tmp_path / "stayed", tmp_path / "moved")


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_workers_where_it_may_and_says_so(digits_root: Path, tmp_path: Path) -> None:
    """Two nodes, a worker on each; one node is taken away. On a Ray of its own, in a process of its own."""
    program = Path(__file__).with_name("elastic_run.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(digits_root)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "note: goes on with 1 of its 2 workers from epoch" in done.stdout
    final = Progress.from_json(done.stdout.rpartition("progress ")[2])
    assert final.epochs_done == 6 and final.fewest_workers == 1
    recorded = [metrics.get("fewest_workers") for metrics in final.history]
    assert recorded[0] is None and recorded[-1] == 1 and recorded == sorted(recorded, key=lambda one: one is not None)


def test_no_run_goes_on_with_more_workers_than_it_has(digits: MakeConfig) -> None:
    with pytest.raises(UserError, match="least_workers 3 is more than the 2 workers"):
        check_alone(digits(workers=2, least_workers=3))
    assert digits(workers=2, least_workers=1).fingerprint() == digits(workers=2).fingerprint()
