"""What is killed, when, and what the study then needs: nothing, or its command once more."""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.command import LONGEST_GOODBYE, LONGEST_STUDY, Command, kill, title, until
from tests.faults.evidence import epochs_logged


def is_command(text: str) -> bool:
    return text.startswith(f"{sys.executable} -m study")


def is_raylet(text: str) -> bool:
    return text.split(" ")[0].endswith("raylet/raylet")


def is_trial(text: str) -> bool:
    """The process of a Tune trial: it trains by itself, or drives a group of Train workers."""
    return text.startswith("ray::ImplicitFunc.train")


def is_train_worker(text: str) -> bool:
    return text.startswith("ray::RayTrainWorker")


def is_ray(text: str) -> bool:
    """Any of Ray's processes, its workers included; what else the command starts, such as git, is none of them."""
    return text.startswith("ray::") or "/ray/" in text


@dataclass(frozen=True)
class Target:
    """What a round kills.

    Args:
        name: in the test's own words.
        victims: which of the command's processes, by title.
        one: only one of them, drawn at random; otherwise all of them at one moment.
        survived: whether the command is expected to go on by itself.
    """

    name: str
    victims: Callable[[str], bool]
    one: bool = True
    survived: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Moment:
    """When a round kills: `delay` seconds after the study has recorded `epochs` epochs."""

    epochs: int
    delay: float


def moments(draws: random.Random, rounds: int, epochs: int, longest_delay: float = 0.8) -> list[Moment]:
    """One moment in each of `rounds` equal parts of a study of so many epochs, the first from its very beginning."""
    drawn = [draws.uniform(number, number + 1) / rounds for number in range(rounds)]
    return [Moment(int(share * (epochs - 1)), round(draws.uniform(0, longest_delay), 2)) for share in drawn]


def reach(command: Command, folder: Path, moment: Moment) -> None:
    """Wait for a moment of a study that runs."""
    came = until(lambda: epochs_logged(folder) >= moment.epochs or not command.running, LONGEST_STUDY)
    assert came and command.running, f"the study did not come to {moment}:\n{command.tail()}"
    time.sleep(moment.delay)


def strike(command: Command, target: Target, draws: random.Random) -> str:
    """Kill the target, waiting until there is something to kill; says what was killed."""
    struck: list[str] = []

    def killed() -> bool:
        victims = sorted(command.find(target.victims), key=lambda process: process.pid)
        if victims and target.one:
            victims = [draws.choice(victims)]
        struck.extend(title(victim)[:40] for victim in victims)
        return kill(victims) > 0

    hit = until(lambda: killed() or not command.running, LONGEST_GOODBYE)
    assert hit and struck, f"there was no {target} to kill:\n{command.tail()}"
    return f"{len(struck)} x {struck[0]}"
