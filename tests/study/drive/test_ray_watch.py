"""A command whose Ray has died ends and says how to go on; one that shuts its Ray down is left alone."""

import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.drive import ray_watch


@pytest.fixture
def raylet() -> Iterator[subprocess.Popen[bytes]]:
    """A child process that stands for Ray's, and is not waited for when it is killed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


@pytest.mark.integration
def test_a_killed_part_of_ray_ends_the_command_though_it_is_a_zombie(raylet: "subprocess.Popen[bytes]") -> None:
    ended: list[str] = []
    raylet.kill()
    ray_watch._watch({"raylet": partial(ray_watch._alive, psutil.Process(raylet.pid))}, lambda: True, ended.append)
    assert ended == ["raylet"]


@pytest.mark.integration
def test_a_ray_that_is_shut_down_ends_nothing(raylet: "subprocess.Popen[bytes]") -> None:
    connected = [True, False]  # it disconnects between the look at the process and the verdict
    ended: list[str] = []
    process = psutil.Process(raylet.pid)
    raylet.kill()
    ray_watch._watch({"raylet": partial(ray_watch._alive, process)}, lambda: connected.pop(0), ended.append)
    assert ended == [] and connected == []


def test_a_later_ray_of_the_same_process_is_not_taken_for_the_one_that_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was shut down and followed by another between two looks: its parts are dead, and end nothing."""
    address: list[str | None] = ["127.0.0.1:1"]
    # In `ray_watch` alone: the watch of a Ray that other tests use asks the same, and ends that Ray where it hears no.
    there = types.SimpleNamespace(
        is_initialized=lambda: address[0] is not None,
        get_runtime_context=lambda: types.SimpleNamespace(gcs_address=address[0]),
    )
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "ray", there)
        connected = ray_watch._this_ray()
    assert connected()
    address[0] = "127.0.0.1:2"
    assert not connected()
    address[0] = None
    assert not connected()


@pytest.mark.integration
def test_the_end_names_what_died_and_how_to_go_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from study.drive.ray_watch import end_command; end_command('raylet')"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == ray_watch.RAY_LOST
    assert "raylet has died" in done.stderr and "the same command goes on" in done.stderr


def test_what_an_earlier_ray_has_left_dead_is_not_watched() -> None:
    class Child:
        def __init__(self, name: str, status: str) -> None:
            self.name, self.status = lambda: name, lambda: status

    children: Any = [
        Child("raylet", psutil.STATUS_SLEEPING),
        Child("gcs_server", psutil.STATUS_SLEEPING),
        Child("raylet", psutil.STATUS_ZOMBIE),
        Child("other", psutil.STATUS_SLEEPING),
    ]
    looks = ray_watch._essential(children)
    assert looks.keys() == {"raylet", "gcs_server"} and all(lives() for lives in looks.values())


def test_a_server_that_answers_lives_and_one_that_does_not_is_given_time() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert ray_watch.Answers(address, patience=0.05)()
    assert ray_watch.Answers(address)()
    impatient = ray_watch.Answers(address, patience=0.0)
    assert not impatient()


_JOINED = """
import sys, threading
from study.drive.cluster import connect
connect()
print("joined", flush=True)
threading.Event().wait(120)
"""


@pytest.mark.integration
def test_a_joined_cluster_whose_raylet_dies_ends_the_command() -> None:
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).parents[3])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        environment = {**os.environ, "PYTHONPATH": root, "RAY_ADDRESS": cluster.address}
        command = subprocess.Popen(
            [sys.executable, "-c", _JOINED], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert command.stdout is not None and "joined" in command.stdout.readline()
        # What has ended meanwhile shows no command line: `process_iter` gives None for it, and raises nothing.
        raylets = [
            process
            for process in psutil.process_iter(["name", "cmdline"])
            if process.info["name"] == "raylet"
            and f"--gcs-address={cluster.address}" in (process.info["cmdline"] or [])
        ]
        assert len(raylets) == 1
        raylets[0].send_signal(signal.SIGKILL)
        _, said = command.communicate(timeout=60)
        assert command.returncode == ray_watch.RAY_LOST
        assert "raylet has died" in said and "the same command goes on" in said
    finally:
        cluster.shutdown()
