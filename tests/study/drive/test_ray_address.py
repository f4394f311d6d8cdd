"""What `RAY_ADDRESS` names is looked at before any work: a line that says what to set, within seconds."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cli.command_line import main
from study.drive.ray_address import check_address, cluster_address
from trainers.errors import UserError


@pytest.mark.parametrize("value", ["", "local", " local "])
def test_local_and_nothing_mean_a_ray_of_one_s_own(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert cluster_address() is None
    check_address()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http://127.0.0.1:8265", "address of Ray's dashboard.*set RAY_ADDRESS=auto.*or unset RAY_ADDRESS"),
        ("https://ray.example", "address of Ray's dashboard"),
        ("ray://127.0.0.1:10001", "address of Ray's client.*with RAY_ADDRESS=auto"),
        ("nonsense", "is no address; set it to HOST:PORT"),
        ("host:", "is no address"),
        ("host:0", "is no address"),
        ("host:99999", "is no address"),
        ("a b:6379", "is no address"),
        ("::1:6379", "is no address"),
    ],
)
def test_what_can_be_no_cluster_is_refused_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    with pytest.raises(UserError, match=message):
        check_address()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def answer(listener: socket.socket, reply: bytes) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()


def test_a_dead_address_is_said_within_seconds(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"no Ray cluster answers at RAY_ADDRESS=127\.0\.0\.1:{port} .*refused"):
        check_address()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_what_listens_and_is_no_ray_is_said(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, reply: bytes
) -> None:
    answer(listener, reply)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(UserError, match="what listens there is no Ray"):
        check_address()


def test_what_speaks_ray_s_language_is_joined(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    answer(listener, bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listener.getsockname()[1]}")
    check_address()


@pytest.mark.parametrize(
    "command",
    [
        ["run", "quickstart"],
        ["run", "quickstart", "--simulate"],
        ["sweep", "--dataset", "Digits", "--model", "MLP", "--algorithm", "bop"],
        ["train", "--dataset", "Digits", "--model", "MLP", "--algorithm", "bop"],
    ],
)
def test_every_command_that_trains_looks_before_it_makes_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("error: RAY_ADDRESS=nonsense is no address; ")
    assert not list(tmp_path.iterdir())
