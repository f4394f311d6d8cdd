"""Ctrl-C, as a terminal sends it, to the command and all that share its terminal: once to stop well, twice to stop."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.command import LONGEST_GOODBYE, Command, until
from tests.faults.conftest import STUDY
from tests.faults.evidence import Evidence, read_events, read_evidence, require_same, require_whole
from tests.faults.targets import moments, reach

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Start = Callable[..., tuple[Command, Path]]

INTERRUPTED = 130


def answers(command: Command) -> bool:
    """Whether the command has come so far as to answer signals itself; Python alone does not answer SIGTERM."""
    assert command.process is not None
    lines = Path(f"/proc/{command.process.pid}/status").read_text().splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught & 1 << (signal.SIGTERM - 1))


def press(command: Command) -> None:
    assert command.process is not None
    os.killpg(command.process.pid, signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_an_interrupted_study_says_how_to_go_on_and_comes_to_the_same(
    times: int, start: Start, reference: Evidence, draws: random.Random
) -> None:
    command, folder = start(f"interrupted-{times}", STUDY)
    command.start()
    assert until(lambda: answers(command), LONGEST_GOODBYE)
    epochs = sum(map(len, reference.epochs().values()))
    (moment,) = moments(draws, 1, epochs)
    print(f"Ctrl-C x {times} after {moment}")
    reach(command, folder, moment)
    press(command)
    if times == 2:
        time.sleep(draws.uniform(0.05, 0.5))
        press(command)
    assert command.wait(LONGEST_GOODBYE) == INTERRUPTED, command.tail()
    assert "the same command goes on" in command.tail()
    assert command.left_over() == []
    if times == 1:  # whatever was running has stopped by itself, and said so
        running: set[str] = set()
        for event in read_events(folder):
            if event["event"] == "start":
                running.add(event["trial_id"])
            elif event["event"] in ("attempt_end", "end"):
                running.discard(event["trial_id"])
        assert not running
    command.start()
    assert command.wait() == 0, command.tail()
    study = read_evidence(folder)
    require_whole(study)
    require_same(study, reference)
