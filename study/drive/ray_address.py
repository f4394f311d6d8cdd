"""What `RAY_ADDRESS` names, looked at before any work starts: Ray itself waits for minutes, or ends in a traceback.

| value | meaning |
| --- | --- |
| unset, empty, `local` | a Ray of the study's own on this machine |
| `auto` | the cluster that this machine is a part of |
| `HOST:PORT` | the cluster whose head listens there |
| `http://...`, `ray://...`, anything else | refused, with what to set |
"""

import os
import re
import socket

from trainers.errors import UserError

VARIABLE = "RAY_ADDRESS"
OWN = ("", "local")
"""Values that mean a Ray of one's own."""

_SECONDS = 10.0
_PLACE = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s:/\[\]@?#]+)):(?P<port>[0-9]{1,5})")
# HTTP/2's greeting and an empty SETTINGS frame (RFC 9113, section 3.4); whoever speaks it answers by a frame of type 4.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4


def cluster_address() -> str | None:
    """The address of the cluster that is to be joined; None where the study starts a Ray of its own."""
    address = os.environ.get(VARIABLE, "").strip()
    return None if address in OWN else address


def check_address() -> None:
    """Refuse a `RAY_ADDRESS` at which no cluster can be, or none answers.

    Raises:
        UserError: what is set, and what to set or unset.
    """
    address = cluster_address()
    if address is None or address == "auto":
        return
    what = f"{VARIABLE}={address}"
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"{what} is the address of Ray's dashboard, where jobs are submitted, and no cluster's; "
            f"set {VARIABLE}=auto on a machine of the cluster, or {advice()}"
        )
    if address.startswith("ray://"):
        raise UserError(
            f"{what} is the address of Ray's client, by which no study runs; "
            f"give the command on a machine of the cluster, with {VARIABLE}=auto, or {advice()}"
        )
    place = _PLACE.fullmatch(address)
    if place is None or not 0 < int(place["port"]) < 65536:
        raise UserError(f"{what} is no address; set it to HOST:PORT of a cluster's head, to auto, or {advice()}")
    if reason := _unanswered(place["v6"] or place["host"], int(place["port"])):
        raise no_cluster(address, reason)


def no_cluster(address: str, reason: str) -> UserError:
    """The line that says that a cluster could not be joined."""
    return UserError(
        f"no Ray cluster answers at {VARIABLE}={address} ({reason}); start it (`ray up CLUSTER.yaml`), or {advice()}"
    )


def advice() -> str:
    """What else to do, for the end of a message."""
    return f"unset {VARIABLE} to run on this machine alone"


def _unanswered(host: str, port: int) -> str:
    """Why nothing that could be a Ray answers there; empty where something does."""
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return ""  # it answers to who has its certificates
            connection.sendall(_GREETING)
            head = b""
            while len(head) < 4:
                more = connection.recv(9)
                if not more:
                    return "what listens there is no Ray"
                head += more
            return "" if head[3] == _SETTINGS else "what listens there is no Ray"
    except TimeoutError:
        return f"no answer in {_SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
