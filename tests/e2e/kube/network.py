"""The cable between the machine and the node: a veth pair, which is gone with the node's network namespace."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.e2e.kube import layout
from tests.e2e.kube.steps import KubeError, run


def attach(pid: int) -> None:
    """Give the node of process ``pid`` its eth0, and the machine a route to pods and Services.

    Raises:
        KubeError: the machine uses these addresses for something else.
    """
    if taken := run("ip", "route", "show", "root", layout.RANGE).strip():
        raise KubeError(f"This machine has a route into {layout.RANGE}, which the cluster needs: {taken}")
    run("ip", "link", "add", layout.INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run("ip", "address", "add", f"{layout.MACHINE_ADDRESS}/30", "dev", layout.INTERFACE)
    run("ip", "link", "set", layout.INTERFACE, "up")
    run("ip", "route", "add", layout.RANGE, "via", layout.NODE_ADDRESS)


def detach() -> None:
    """Take the cable away. The kernel does it as well, once the last connection of a dead node has timed out."""
    if left():
        with suppress(KubeError):  # the kernel may be faster
            run("ip", "link", "delete", layout.INTERFACE)


def left() -> list[str]:
    """What is there of it on the machine."""
    return [f"interface {name}" for _, name in socket.if_nameindex() if name == layout.INTERFACE]
