"""Starts a cluster's head as a cluster file does, in a network of its own, and knocks at every port that is open.

    unshare -rn --pid --fork --mount-proc python open_ports.py OUTPUT START_COMMAND...

The network has the loopback and an outer address. A driver with the token works on the Ray meanwhile, so that a worker
and a driver listen too. OUTPUT gets a JSON object:

    outer     by port: what it is, how it answers HTTP, and for gRPC the methods by the status that a caller without a
              token is answered with
    loopback  ports that listen on 127.0.0.1 alone
    shown     processes that show the token on their command lines
    refused   by attempt: exit status and what was said, of a client and a job that show no token or another
    worked    whether the driver with the token got its answer
"""

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import ray

OUTER = "10.87.0.2"
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
SECONDS = 60
# What of Ray's services has no Python of its own (src/ray/protobuf/object_manager.proto).
OBJECT_MANAGER = [f"/ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull", "FreeObjects")]
DRIVER = """\
import sys, ray
ray.init(address="auto", log_to_driver=False)
print(ray.get(ray.remote(lambda: 6 * 7).remote()), flush=True)
sys.stdin.read()
"""
CLIENT = f"import ray; ray.init(address='{OUTER}:6379', log_to_driver=False); print('let in')"


def set_up_network() -> None:
    """Loopback, and a cable with an address whose other end nobody answers at."""
    for command in (
        "ip link set lo up",
        "ip link add outside type veth peer name beyond",
        f"ip addr add {OUTER}/24 dev outside",
        "ip link set outside up",
        "ip link set beyond up",
        "ip route add default via 10.87.0.1 dev outside",
    ):
        subprocess.run(command.split(), check=True)
    if Path("/tmp/ray").is_dir():  # where other Rays of this machine leave their addresses, and none finds this one's
        subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp/ray"], check=True)


def listeners() -> Iterator[tuple[str, int, str]]:
    """Every listening TCP socket: address, port and what process it is."""
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN:
            words: list[str] = []
            with suppress(psutil.Error):
                words = psutil.Process(one.pid).cmdline()
            yield one.laddr.ip, one.laddr.port, " ".join(Path(word).name for word in words[:4])[:80]


def methods() -> list[str]:
    """Every method of every service that this Ray has."""
    sources = (Path(ray.__file__).parent / "core" / "generated").glob("*_pb2_grpc.py")
    found = {name for source in sources for name in re.findall(r"'(/ray\.rpc\.[\w./]+)'", source.read_text())}
    return sorted(found) + OBJECT_MANAGER


def knock(port: int) -> dict[str, Any]:
    """How a port answers a caller who has no token."""
    import grpc

    connection = http.client.HTTPConnection(OUTER, port, timeout=5)
    try:
        connection.request("GET", "/")
        return {"http": connection.getresponse().status}
    except (http.client.HTTPException, OSError):  # it speaks something else
        pass
    finally:
        connection.close()
    answers: dict[str, list[str]] = {}
    with grpc.insecure_channel(f"{OUTER}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=5)
        except grpc.FutureTimeoutError:
            return {"answers": "neither HTTP nor gRPC"}
        for method in methods():
            try:
                channel.unary_unary(method)(b"", timeout=5)
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
            answers.setdefault(code, []).append(method)
    return {"grpc": answers}


def job(token: str | None) -> dict[str, Any]:
    """What a job is answered that is submitted with another token, or none."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", 8265, timeout=10)
    connection.request("POST", "/api/jobs/", json.dumps({"entrypoint": "touch /tmp/let-in"}), headers)
    answer = connection.getresponse()
    return {"status": answer.status, "said": answer.read().decode()[-500:]}


def main(output: str, *start: str) -> int:
    """Start, knock, write what was seen, and end what was started."""
    set_up_network()
    with_token = {**os.environ, "RAY_AUTH_MODE": "token"}
    nobody = {**with_token, "HOME": str(Path(output).parent / "nobody")}
    Path(nobody["HOME"]).mkdir()
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], env=with_token, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    worked = driver.stdout.readline().strip() == "42"
    seen: set[tuple[str, int, str]] = set()
    for _ in range(6):  # a server may come a moment later than what it serves
        seen |= set(listeners())
        time.sleep(0.5)
    other = {**nobody, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    without = {**nobody, "RAY_AUTH_MODE": "disabled"}
    clients = {
        name: subprocess.Popen(
            [sys.executable, "-c", CLIENT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, environment in (("a client without a token", without), ("a client with another token", other))
    }
    refused: dict[str, Any] = {"a job without a token": job(None), "a job with another token": job("0" * 64)}
    outer = {port: who for ip, port, who in sorted(seen) if ip not in LOOPBACK}
    token = (Path(os.environ["HOME"]) / ".ray" / "auth_token").read_text().strip()
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    content: dict[str, Any] = {
        "worked": worked,
        "shown": [command[:80] for command in commands if token in command],
        "outer": {port: {"who": who, **knock(port)} for port, who in outer.items()},
        "loopback": sorted({port for ip, port, _ in seen if ip in LOOPBACK} - outer.keys()),
    }
    for name, client in clients.items():
        said, _ = client.communicate(timeout=SECONDS)
        refused[name] = {"status": client.returncode, "said": said[-500:]}
    Path(output).write_text(json.dumps({**content, "refused": refused}))
    driver.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
