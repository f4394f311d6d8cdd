"""A command whose Ray has died ends and says how to go on; one that shuts its Ray down is left alone."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
import ray

from study.drive import ray_watch


@pytest.fixture
def raylet() -> Iterator[subprocess.Popen[bytes]]:
    """A child process that stands for Ray's, and is not waited for when it is killed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


@pytest.mark.integration
def test_a_killed_part_of_ray_ends_the_command_though_it_is_a_zombie(
    raylet: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    ended: list[str] = []
    raylet.kill()
    ray_watch._watch({"raylet": psutil.Process(raylet.pid)}, ended.append)
    assert ended == ["raylet"]


@pytest.mark.integration
def test_a_ray_that_is_shut_down_ends_nothing(
    raylet: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = [True, False]  # it disconnects between the look at the process and the verdict
    monkeypatch.setattr(ray, "is_initialized", lambda: connected.pop(0) if connected else False)
    ended: list[str] = []
    process = psutil.Process(raylet.pid)
    raylet.kill()
    ray_watch._watch({"raylet": process}, ended.append)
    assert ended == []


@pytest.mark.integration
def test_the_end_names_what_died_and_how_to_go_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from study.drive.ray_watch import end_command; end_command('raylet')"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == ray_watch.RAY_LOST
    assert "raylet has died" in done.stderr and "the same command goes on" in done.stderr
