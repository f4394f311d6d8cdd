"""The small study that is killed again and again, and what it comes to when nobody disturbs it."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults.command import Command
from tests.faults.evidence import Evidence, read_evidence, require_whole

# Two methods, one of them the stochastic one, one trial at a time: what it comes to is a function of its seed. Epochs
# of some 0.3 s, so that kills land inside them.
STUDY = """
name: faults
cells:
  - datasets: [Digits]
    models: [MLP]
    methods: [binary, real-SGD]
fixed: {hid_dim: 512, depth: 3, batch_size: 32, epochs: 8}
search: {trials: 2, seed: 1, asha: {grace_period: 2, reduction_factor: 2}}
confirm: {k: 1, seeds: [11]}
resources: {at_once: 1}
"""
# A group of workers takes some 10 s to start, so this one has the fewest trials that have both phases.
STUDY_OF_GROUPS = """
name: groups
cells:
  - datasets: [Digits]
    models: [MLP]
    methods: [binary]
fixed: {hid_dim: 512, depth: 3, batch_size: 32, epochs: 12}
search: {trials: 1, seed: 1, asha: false}
confirm: {k: 1, seeds: [11]}
resources: {at_once: 1, workers: 2}
"""


class Bench:
    """Where commands of this session run: their data, their folders, and their processes, which end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Ray makes sockets below it, whose paths must be short.
        self._temporary = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
        self._commands: list[Command] = []

    def command(self, name: str, study: str, *options: str) -> tuple[Command, Path]:
        """A command that runs a study, and the study's folder."""
        file = self.folder / f"{name}.yaml"
        file.write_text(study)
        output = self.folder / name
        words = ["run", str(file), "--output", str(output), "--data-root", str(self.folder / "data"), *options]
        command = Command(words, self.folder / f"{name}.log", self._temporary)
        self._commands.append(command)
        return command, output

    def close(self) -> None:
        for command in self._commands:
            command.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def close_commands(self) -> None:
        """End what a test has left running."""
        for command in self._commands:
            command.close()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("faults"))
    yield bench
    bench.close()


@pytest.fixture
def start(bench: Bench) -> Iterator[Callable[..., tuple[Command, Path]]]:
    """Makes a study's command; whatever it has started ends with the test."""
    yield bench.command
    bench.close_commands()


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> random.Random:
    """Where kills are drawn from: another seed each time, printed; `BINSFO_FAULTS_SEED` gives one again."""
    seed = os.environ.get("BINSFO_FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"BINSFO_FAULTS_SEED={seed}")
    return random.Random(f"{seed}/{request.node.name}")


def _undisturbed(bench: Bench, name: str, study: str) -> Path:
    """Run a study whose records are then whole; its folder."""
    command, folder = bench.command(name, study)
    command.start()
    try:
        assert command.wait() == 0, command.tail()
    finally:
        command.close()
    require_whole(read_evidence(folder))
    return folder


@pytest.fixture(scope="session")
def reference(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The study when nobody disturbs it; one for all processes of this session."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp().parent if parallel else bench.folder
    where = shared / "reference.txt"
    with FileLock(f"{where}.lock"):
        if not where.exists():
            where.write_text(str(_undisturbed(bench, "reference", STUDY)))
    return read_evidence(Path(where.read_text()))


@pytest.fixture(scope="session")
def reference_of_groups(bench: Bench) -> Evidence:
    """The study of two-worker trials when nobody disturbs it."""
    return read_evidence(_undisturbed(bench, "reference-of-groups", STUDY_OF_GROUPS))
