"""SIGKILL at random moments, to each part of a running study: what it comes to is what it would have come to anyway.

Every round prints when it killed what, and the seed that gives the same moments again. `BINSFO_FAULTS_ROUNDS=8` kills
more often.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.command import Command
from tests.faults.conftest import STUDY, STUDY_OF_GROUPS
from tests.faults.evidence import Evidence, read_evidence, require_same, require_whole
from tests.faults.mlflow_server import MlflowServer
from tests.faults.targets import (
    Target,
    is_command,
    is_ray,
    is_raylet,
    is_train_worker,
    is_trial,
    moments,
    reach,
    strike,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Start = Callable[..., tuple[Command, Path]]

# How often each target is killed in one study, in an order that is drawn; the driver of a group is killed once.
ROUNDS = int(os.environ.get("BINSFO_FAULTS_ROUNDS", "2"))
COMMAND = Target("command", is_command)
RAYLET = Target("raylet", is_raylet)
RAY = Target("ray", is_ray, one=False)
TRIAL = Target("trial", is_trial, survived=True)
WORKER = Target("worker", is_train_worker, survived=True)
SERVER_ROUNDS = 3


def disturb(command: Command, folder: Path, targets: list[Target], epochs: int, draws: random.Random) -> None:
    """Run a study to its end, killing the targets on the way; wherever that ends the command, it is started again."""
    command.start()
    for target, moment in zip(targets, moments(draws, len(targets), epochs), strict=True):
        reach(command, folder, moment)
        print(f"{target}: after {moment.epochs} epochs and {moment.delay} s, killed {strike(command, target, draws)}")
        if not target.survived:
            assert command.wait() != 0
            command.start()
    assert command.wait() == 0, command.tail()
    assert command.starts == 1 + sum(not target.survived for target in targets)
    assert command.left_over() == []


def test_a_killed_study_comes_to_the_same(start: Start, reference: Evidence, draws: random.Random) -> None:
    command, folder = start("killed", STUDY)
    targets = [COMMAND, RAYLET, RAY, TRIAL] * ROUNDS
    draws.shuffle(targets)
    disturb(command, folder, targets, sum(map(len, reference.epochs().values())), draws)
    study = read_evidence(folder)
    require_whole(study)
    require_same(study, reference)


def test_a_study_whose_groups_of_workers_are_killed_comes_to_the_same(
    start: Start, reference_of_groups: Evidence, draws: random.Random
) -> None:
    command, folder = start("killed-groups", STUDY_OF_GROUPS)
    targets = [WORKER] * ROUNDS + [TRIAL]  # here a trial drives a group
    draws.shuffle(targets)
    disturb(command, folder, targets, sum(map(len, reference_of_groups.epochs().values())), draws)
    study = read_evidence(folder)
    require_whole(study)
    require_same(study, reference_of_groups)


def test_a_study_whose_mlflow_server_is_killed_comes_to_the_same(
    start: Start, reference: Evidence, draws: random.Random, tmp_path: Path
) -> None:
    server = MlflowServer(tmp_path / "server")
    try:
        server.start()
        server.wait()
        command, folder = start("killed-server", STUDY, "--tracking-uri", server.uri)
        command.start()
        for moment in moments(draws, SERVER_ROUNDS, sum(map(len, reference.epochs().values()))):
            reach(command, folder, moment)
            away = round(draws.uniform(0, 3), 2)
            print(f"server: after {moment.epochs} epochs and {moment.delay} s, killed for {away} s")
            server.kill()
            time.sleep(away)
            server.start()  # and perhaps killed while it starts
        assert command.wait() == 0, command.tail()
        server.wait()
        assert command.left_over() == []
        study = read_evidence(folder)
        require_whole(study)
    finally:
        server.kill()
    require_same(study, reference)


def test_a_study_whose_mlflow_server_is_stopped_from_beginning_to_end_is_whole_and_its_pages_after_one_command(
    start: Start, reference: Evidence, tmp_path: Path
) -> None:
    server = MlflowServer(tmp_path / "server")
    command, folder = start("without-server", STUDY, "--tracking-uri", server.uri)
    command.start()
    assert command.wait() == 0, command.tail()
    said = [line for line in command.tail().splitlines() if line.startswith("MLflow has not been told of")]
    assert len(said) == 1 and f"`python -m study mlflow {folder}` delivers them" in said[0]
    assert command.left_over() == []
    try:
        server.start()
        server.wait()
        study = read_evidence(folder)
        require_whole(study)
    finally:
        server.kill()
    require_same(study, reference)
