"""How a study grows with its trials: the driver's memory and the time per trial, at 100 and at 1,000 short trials.

    python -m benchmarks.scale

Each study is a command of its own, `python -m study run ... --simulate`, one cell whose trials report a few epochs of a
synthetic curve; what remains is the study's own machinery: Ray Tune, Optuna, the log, MLflow. The driver is the
command's process; its memory is sampled while it runs. Time per trial counts from the end of the first trial to the end
of the last, so that starting Ray and comparing at the end do not hide in it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainers.machine import allowed_cpus

MIB = 2**20
SAMPLING_SECONDS = 0.5
# What the driver at the larger number of trials may take, in terms of the smaller: memory and time per trial.
ALLOWED_RATIO = 1.5

STUDY = """\
name: scale
cells:
  - {{datasets: [Digits], models: [MLP], methods: [bop]}}
fixed: {{hid_dim: 16, depth: 2, batch_size: 32, epochs: {epochs}}}
search: {{trials: {trials}, asha: {{grace_period: 1, reduction_factor: 3}}}}
confirm: {{k: 1, seeds: [11, 12, 13]}}
"""


@dataclass(frozen=True)
class Scale:
    """What one study took.

    Attributes:
        trials: search trials.
        seconds, cpu_seconds: from the end of the first trial to the end of the last, and the driver's own of them.
        grown: bytes that the driver's resident memory grew by from the trial at a tenth of the way to the last.
        peak_rss, peak_uss: bytes of the driver at most, resident; USS is what no other process shares.
        state_bytes: of the study's folder at the end, runs' folders not counted.
    """

    trials: int
    seconds: float
    cpu_seconds: float
    grown: int
    peak_rss: int
    peak_uss: int
    state_bytes: int

    @property
    def seconds_a_trial(self) -> float:
        return self.seconds / (self.trials - 1)

    @property
    def cpu_seconds_a_trial(self) -> float:
        return self.cpu_seconds / (self.trials - 1)

    @property
    def growth_a_trial(self) -> float:
        """Bytes of resident memory that each further trial added, once the study was under way."""
        return self.grown / (self.trials - max(1, self.trials // 10))


class _Sampler(threading.Thread):
    """Samples one process's memory until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.peak_rss = self.peak_uss = 0

    def run(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            try:
                memory = self._process.memory_full_info()
            except psutil.Error:  # it has ended
                return
            self.peak_rss = max(self.peak_rss, memory.rss)
            self.peak_uss = max(self.peak_uss, memory.uss)

    def now(self) -> tuple[float, float, int]:
        """The time, the process's CPU seconds and its resident bytes."""
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            return time.monotonic(), cpu.user + cpu.system, self._process.memory_info().rss

    def stop(self) -> None:
        self._done.set()
        self.join()


def measure(trials: int, epochs: int, folder: Path) -> Scale:
    """Run one simulated study of `trials` trials in `folder`, and watch its driver.

    Raises:
        RuntimeError: the study failed; holds the end of its output.
    """
    study = folder / f"scale-{trials}.yaml"
    study.write_text(STUDY.format(trials=trials, epochs=epochs))
    output = folder / f"study-{trials}"
    command = [sys.executable, "-m", "study", "run", str(study), "--simulate", "--output", str(output)]
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    sampler = _Sampler(process.pid)
    sampler.start()
    ended = re.compile(rf"\[Digits-MLP-bop (\d+)/{trials}\].* epoch (\d+)/{epochs} ")
    lines: list[str] = []
    moments: list[tuple[float, float, int]] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if (found := ended.match(line)) and int(found[1]) > len(moments):
            moments.append(sampler.now())
    sampler.stop()
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(lines[-20:])}")
    if len(moments) != trials:
        raise RuntimeError(f"{' '.join(command)} showed {len(moments)} trials, not {trials}:\n{''.join(lines[-20:])}")
    state = sum(
        path.stat().st_size
        for path in output.rglob("*")
        if path.is_file() and path.relative_to(output).parts[0] != "runs"
    )
    first, early, last = moments[0], moments[max(1, trials // 10) - 1], moments[-1]
    seconds, cpu_seconds = last[0] - first[0], last[1] - first[1]
    return Scale(trials, seconds, cpu_seconds, last[2] - early[2], sampler.peak_rss, sampler.peak_uss, state)


def table(scales: Sequence[Scale]) -> list[str]:
    """The measurements as lines: a row a study, and the last in terms of the first."""
    titles = (
        "trials",
        "ms a trial",
        "driver's CPU ms",
        "peak RSS MiB",
        "peak USS MiB",
        "growth KiB a trial",
        "records KiB a trial",
    )
    rows = [
        (
            f"{scale.trials}",
            f"{1000 * scale.seconds_a_trial:.0f}",
            f"{1000 * scale.cpu_seconds_a_trial:.0f}",
            f"{scale.peak_rss / MIB:.1f}",
            f"{scale.peak_uss / MIB:.1f}",
            f"{scale.growth_a_trial / 1024:.1f}",
            f"{scale.state_bytes / scale.trials / 1024:.1f}",
        )
        for scale in scales
    ]
    least, most = scales[0], scales[-1]
    ratios = (
        most.seconds_a_trial / least.seconds_a_trial,
        most.cpu_seconds_a_trial / least.cpu_seconds_a_trial,
        most.peak_rss / least.peak_rss,
        most.peak_uss / least.peak_uss,
    )
    rows.append((f"{most.trials} : {least.trials}", *(f"{ratio:.2f}x" for ratio in ratios), "", ""))
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in (titles, *rows)]


def within(scales: Sequence[Scale], allowed: float = ALLOWED_RATIO) -> bool:
    """Whether the largest study's driver memory and time per trial stay within `allowed` times the smallest's."""
    least, most = scales[0], scales[-1]
    return most.peak_rss <= allowed * least.peak_rss and most.seconds_a_trial <= allowed * least.seconds_a_trial


def main(arguments: list[str] | None = None) -> int:
    """Measure each number of trials, print the table, and return 0 if the largest stays within the allowed ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000], metavar="N", help="default: 100 1000")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="of each trial (default: 3)")
    parser.add_argument("--output", metavar="DIR", help="keep the studies here (default: a folder that is removed)")
    options = parser.parse_args(arguments)
    if min(options.trials) < 2:
        parser.error("a study of at least 2 trials is needed to tell the time of one")
    sizes = sorted(set(options.trials))
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        folder = Path(options.output or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        scales = []
        for trials in sizes:
            scales.append(measure(trials, options.epochs, folder))
            busy = os.getloadavg()[1] / allowed_cpus()  # above 1, others had a share of the time
            print(f"{trials} trials: {scales[-1].seconds:.1f} s, {busy:.1f} processes a CPU", flush=True)
    print("\n".join(table(scales)))
    kept = within(scales)
    print(f"within {ALLOWED_RATIO} times: {'yes' if kept else 'no'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
