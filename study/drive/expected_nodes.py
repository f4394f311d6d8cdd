"""Machines of one's own that a cluster's file names and that have not joined: Ray goes on without them, silently.

`ray up` starts the head; from there the others are started over ssh: each is waited for up to a quarter of an hour, and
one whose start has failed is not tried again. What they are is in the copy of the cluster's file that the launcher
leaves on the head node.
"""

from collections.abc import Collection
from pathlib import Path

import yaml

from trainers.machine import home

BOOTSTRAP = "ray_bootstrap_config.yaml"
"""The launcher's copy of the cluster's file, in the home folder of the head node."""


def absent_workers(joined: Collection[str], folder: Path | None = None) -> list[str]:
    """A line for each machine that is not there, with the remedy; empty off a head node, and for a cloud's workers.

    Args:
        joined: addresses of the nodes that are.
        folder: where the launcher's copy lies; the home folder where None.
    """
    folder = folder or home()
    if folder is None:
        return []
    try:
        config = yaml.safe_load((folder / BOOTSTRAP).read_text(encoding="utf-8"))
        provider, user = config["provider"], config["auth"]["ssh_user"]
        addresses = provider["worker_ips"] if provider["type"] == "local" else []
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
    return [
        f"{address}: has not joined the cluster; is it on, does `ssh -i ~/ray_bootstrap_key.pem {user}@{address}` from "
        "the head reach it, and has it Python 3.11 or newer? The launcher's own words are in monitor.log of Ray's logs "
        "(/tmp/ray/session_latest/logs); where its start has failed, the next `ray up` tries again"
        for address in addresses or []
        if address not in joined
    ]
