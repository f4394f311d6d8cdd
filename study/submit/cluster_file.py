"""A cluster's file, as `ray up` takes it: read, and looked at for what would fail after minutes, or on the nodes."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainers.errors import UserError

# What stands in the files of this project where a user's own value belongs, and what that is. (192.0.2.0/24 is set
# aside for documentation by RFC 5737: no machine has such an address.)
PLACEHOLDERS = {
    r"\b192\.0\.2\.\d{1,3}\b": "an address of your own machines",
    r"\bami-0{17}\b": "an image of your region",
    r"\bfs-0{17}\b": "your shared disk",
    r"\bmy-project\b": "your project",
    r"\bIMAGE-FAMILY\b": "an image",
}
TOKEN = "~/.ray/auth_token"
_SSH_PORT, _SECONDS = 22, 10.0


@dataclass(frozen=True)
class ClusterFile:
    """A cluster's file.

    Attributes:
        path: of the file.
        name: `cluster_name`, by which Ray knows the cluster again.
        content: all that it says.
    """

    path: Path
    name: str
    content: dict[str, Any]

    @property
    def advice(self) -> str:
        """How the cluster is started, for the end of a message."""
        # The other autoscaler never starts a worker over ssh.
        ahead = "RAY_UP_enable_autoscaler_v2=0 " if self._provider.get("worker_ips") else ""
        return f"{ahead}ray up -y {self.path}"

    @property
    def head(self) -> tuple[str, int] | None:
        """Host and port of the head's ssh server; None where a cloud or a proxy command knows them."""
        host = self._provider.get("head_ip")
        if self._provider.get("type") != "local" or not isinstance(host, str):
            return None
        return None if (self.content.get("auth") or {}).get("ssh_proxy_command") else (host, _SSH_PORT)

    @property
    def _provider(self) -> dict[str, Any]:
        return dict(self.content["provider"])


def read_cluster_file(path: str | Path) -> ClusterFile:
    """A cluster's file, if it can be of a cluster that runs.

    Raises:
        UserError: it cannot be read, is no such file, still has values of the example, or names a key or a token that
            is not on this machine; all of that, with the lines.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cluster file {file} cannot be read ({error.strerror}); give one, e.g. cluster.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cluster file {file} is no YAML that can be read: {reason}") from None
    whole = isinstance(content, dict) and isinstance(content.get("provider"), dict)
    if not whole or not isinstance(content.get("cluster_name"), str):
        raise UserError(
            f"{file} is no file that `ray up` takes: it has no cluster_name or no provider; give the cluster's file "
            "first, then the study, and see cluster/ for examples"
        )
    if found := [*_placeholders(text), *_absent(content)]:
        listed = "\n  ".join(found)
        raise UserError(f"{file} does not describe a cluster of yours yet:\n  {listed}")
    return ClusterFile(file, content["cluster_name"], content)


def require_head(cluster: ClusterFile) -> None:
    """Refuse a head that does not answer: ssh by itself would try for two minutes.

    Raises:
        UserError: nothing listens at its ssh port.
    """
    if cluster.head is None:
        return
    try:
        socket.create_connection(cluster.head, timeout=_SECONDS).close()
    except (OSError, UnicodeError) as error:
        host, port = cluster.head
        reason = "no answer in 10 s" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or error
        raise UserError(
            f"the head node {host} of {cluster.path} cannot be reached (port {port}: {reason}); is it on, is its ssh "
            "server running, and is head_ip its address?"
        ) from None


def _placeholders(text: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        value = line.partition(" #")[0]
        if value.lstrip().startswith("#"):
            continue
        for pattern, what in PLACEHOLDERS.items():
            found += [
                f"line {number}: {example} is the example's; put in {what}" for example in re.findall(pattern, value)
            ]
    return found


def _absent(content: dict[str, Any]) -> list[str]:
    """Files of this machine that the launcher needs and that are not there."""
    found = []
    key = (content.get("auth") or {}).get("ssh_private_key")
    if isinstance(key, str) and not os.path.isfile(os.path.expanduser(key)):
        found.append(
            f"auth: there is no ssh_private_key {key}; name the key that opens the nodes, or make one (ssh-keygen)"
        )
    if TOKEN in (content.get("file_mounts") or {}).values() and not os.path.isfile(os.path.expanduser(TOKEN)):
        found.append(f"file_mounts: there is no {TOKEN}; make it once: ray get-auth-token --generate")
    return found
