"""gloo is told the interface of the address by which Ray knows a node, whatever the machine's name stands for."""

import os
import socket
from types import SimpleNamespace

import psutil
import pytest
import ray

from trainers.network import VARIABLE, name_interface

INTERFACES = {
    "lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")],
    "eth0": [
        SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0"),
        SimpleNamespace(family=socket.AF_INET, address="10.1.2.3"),
    ],
}


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        ("10.1.2.3", None, "eth0"),
        ("fe80::1", None, "eth0"),
        ("10.1.2.3", "ib0", "ib0"),
        ("127.0.0.1", None, None),
        ("10.9.9.9", None, None),
    ],
)
def test_gloo_speaks_from_the_nodes_own_address(
    address: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: INTERFACES)
    monkeypatch.setenv(VARIABLE, "to be put back at the end")
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before
    name_interface()
    assert os.environ.get(VARIABLE) == after
