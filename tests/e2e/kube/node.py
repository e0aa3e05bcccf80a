"""The node: process 1 of namespaces of its own, and the parent of every program in it.

Started by :mod:`tests.e2e.kube.holder`. Mounts, network interfaces, packet filter rules and processes belong to these
namespaces, so the kernel takes them away with this process, however it ends.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from tests.e2e.kube import cgroups, layout
from tests.e2e.kube.components import EPHEMERAL, PKI, Component, components
from tests.e2e.kube.steps import run, wait_until

KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet insists on. These are the whole machine's, so it is shown files that say so."""

NETWORK = {
    "ip_forward": "1",
    # Connections whose process was killed hold on to the network namespace while they try to say goodbye.
    "tcp_orphan_retries": "1",
}
RESTART_DELAY_S = 1.0


def main() -> None:
    """Set up the node and keep its programs running, until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    cgroups.join()
    socket.sethostname(layout.NODE)
    _mount()
    _network()
    running: dict[int, Component] = {}
    for component in components():
        if component.after_api:
            wait_until(_api_answers, 120, "the API server to answer")
        running[_start(component)] = component
    while True:
        pid, status = os.wait()  # also reaps what containers leave to process 1
        component = running.pop(pid, None)
        if component:
            print(f"{component.name} ended ({os.waitstatus_to_exitcode(status)}), starting it again", flush=True)
            time.sleep(RESTART_DELAY_S)
            running[_start(component)] = component


def _mount() -> None:
    # unshare(1) made all mounts private; the kubelet's volumes need to spread inside, and cannot spread outside.
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", EPHEMERAL)
    upper, work = layout.RUN / "var", layout.RUN / "var-work"
    upper.mkdir()
    work.mkdir()
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/var,upperdir={upper},workdir={work}", "/var")
    for name, value in KERNEL.items():
        shown = EPHEMERAL / name.replace("/", ".")
        shown.write_text(value)
        run("mount", "--bind", shown, f"/proc/sys/{name}")


def _network() -> None:
    run("ip", "link", "set", "lo", "up")
    wait_until(lambda: any(name == "eth0" for _, name in socket.if_nameindex()), 20, "the cable to the machine")
    run("ip", "address", "add", f"{layout.NODE_ADDRESS}/30", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    # A call to a Service that kube-proxy does not know yet is dropped, and tried again a second later. Without a route
    # it would fail at once, as calls to anything outside do, and the node's own programs could call no Service at all.
    run("ip", "route", "add", layout.SERVICE_RANGE, "dev", "eth0", "src", layout.NODE_ADDRESS)
    run("iptables", "--append", "FORWARD", "--destination", layout.SERVICE_RANGE, "--jump", "DROP")
    for name, value in NETWORK.items():
        Path("/proc/sys/net/ipv4", name).write_text(value)


def _start(component: Component) -> int:
    with (layout.LOGS / f"{component.name}.log").open("ab") as log:
        return subprocess.Popen([component.name, *component.arguments], stdout=log, stderr=log).pid


def _api_answers() -> bool:
    trusted = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    url = f"https://{layout.NODE_ADDRESS}:{layout.API_PORT}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=2, context=trusted):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    if os.getpid() != 1:
        sys.exit("This is started by 'make kube-up'.")
    main()
