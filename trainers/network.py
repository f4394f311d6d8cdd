"""The address that the workers of one run speak to each other from, where they are on several nodes.

gloo takes the address that the machine's own name stands for. On a usual Debian or Ubuntu that is 127.0.1.1
(/etc/hosts), and where the name stands for nothing it is 127.0.0.1: workers of another node then wait in vain. Ray
knows by which address its nodes reach each other, so gloo is told that address's network interface.
"""

import ipaddress
import os
import socket

VARIABLE = "GLOO_SOCKET_IFNAME"
"""What names gloo's interface; a user's own value is kept."""


def name_interface() -> None:
    """Tell gloo, in this process, the interface of the address by which Ray knows this node; nothing on a lone node."""
    if VARIABLE in os.environ:
        return
    import psutil
    import ray

    address = ray.util.get_node_ip_address()
    if ipaddress.ip_address(address).is_loopback:
        return
    families = (socket.AF_INET, socket.AF_INET6)
    for interface, addresses in psutil.net_if_addrs().items():
        if any(one.family in families and one.address.partition("%")[0] == address for one in addresses):
            os.environ[VARIABLE] = interface
            return
