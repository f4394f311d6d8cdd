"""Runs a command in a network of its own and writes what it did there; started by `test_network.py` under `unshare`.

The network has the loopback and one interface that leads nowhere, with the default route: whatever any process, in any
language, sends to the outside goes there and is counted. Nothing comes back.

    unshare -rn python isolated.py OUTPUT COMMAND...

OUTPUT gets a JSON object: `status` of the command, `sent` (what each packet to the outside was meant for, address and
protocol), and `listening`, every address that something listened on meanwhile, with the port and what process it was.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

OUTSIDE = "outside"


def lead_nowhere() -> None:
    """Set the network up: loopback, and a default route to a cable whose other end nobody answers at."""
    for command in (
        "ip link set lo up",
        f"ip link add {OUTSIDE} type veth peer name beyond",
        f"sysctl -qw net.ipv6.conf.{OUTSIDE}.disable_ipv6=1 net.ipv6.conf.beyond.disable_ipv6=1",
        f"ip addr add 10.87.0.2/24 dev {OUTSIDE}",
        f"ip link set {OUTSIDE} arp off up",
        "ip link set beyond up",
        f"ip route add default via 10.87.0.1 dev {OUTSIDE}",
    ):
        subprocess.run(command.split(), check=True)


class Witness(threading.Thread):
    """Notes where every packet to the outside was meant to go."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sent: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.bind((OUTSIDE, 0))

    def run(self) -> None:
        while True:
            packet, (_, _, kind, *_) = self._socket.recvfrom(65535)
            if kind == socket.PACKET_OUTGOING and packet[12:14] == b"\x08\x00":  # IPv4 behind the Ethernet header
                protocol = {6: "TCP", 17: "UDP"}.get(packet[23], str(packet[23]))
                (port,) = struct.unpack("!H", packet[36:38])
                self.sent.add(f"{socket.inet_ntoa(packet[30:34])}:{port} {protocol}")
            elif kind == socket.PACKET_OUTGOING:
                self.sent.add(f"type {packet[12:14].hex()}")


def listeners() -> set[tuple[str, int, str]]:
    """Every listening TCP socket in this network: address, port, and the command line of its process."""
    found = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            try:
                who = " ".join(psutil.Process(connection.pid).cmdline()[:4])[:200] if connection.pid else ""
            except psutil.Error:
                who = ""
            found.add((connection.laddr.ip, connection.laddr.port, who))
    return found


def main(output: str, *command: str) -> int:
    """Run the command and write what it did."""
    lead_nowhere()
    witness = Witness()
    witness.start()
    seen: set[tuple[str, int, str]] = set()
    process = subprocess.Popen(command)
    while process.poll() is None:
        seen |= listeners()
        time.sleep(0.2)
    content = {"status": process.returncode, "sent": sorted(witness.sent), "listening": sorted(seen)}
    Path(output).write_text(json.dumps(content))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
