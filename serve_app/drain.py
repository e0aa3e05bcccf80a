"""A pod's ``preStop`` hook: the pod stays until its streams have ended, and no longer.

Kubernetes takes a pod out of its Services and runs the hook; SIGTERM follows when the hook has ended. A worker waits
for its own replicas: each listens on a port of its own in this pod (direct ingress) and tells in ``/health`` how many
requests are in it. It also waits for what its HAProxy carries to replicas in other pods. The head waits for the
workers, which cannot live without it. Ray's own drain on SIGTERM (``RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S``) is turned
off for this: it waits for replicas to move to other nodes, which they cannot where the whole cluster goes, and cuts
streams after its 30 s.

Run as ``python -m serve_app.drain worker|head --within SECONDS``. Needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

SETTLE_S = 5.0
"""Until every node's packet filter knows that the pod is out of the Service; new requests still come meanwhile."""
POLL_S = 1.0
ESTABLISHED, LISTEN = "01", "0A"
"""Of sockets, as the kernel numbers them (include/net/tcp_states.h)."""
DASHBOARD_PORT = 8265
FIRST_PORT, LAST_PORT = 30_000, 31_000
"""Ray Serve's defaults: RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT and its maximum."""


def main() -> None:
    """Entry point of the hook. Never fails: a hook that does is only an event nobody reads."""
    parser = argparse.ArgumentParser(description="Wait until this pod is not needed any more.")
    parser.add_argument("role", choices=["worker", "head"])
    parser.add_argument("--within", type=float, required=True, help="longest wait, in seconds")
    given = parser.parse_args()
    left = drain(in_flight if given.role == "worker" else workers, within_s=given.within)
    _say(f"drain: {left} left when the time was over" if left else "drain: nothing left")


def drain(count: Callable[[], int], *, within_s: float, sleep: Callable[[float], None] = time.sleep) -> int:
    """Wait until ``count()`` has been zero twice in a row, at most ``within_s``; the last count."""
    begun = time.monotonic()
    sleep(min(SETTLE_S, within_s))
    idle = 0
    while True:
        now = count()
        idle = idle + 1 if now == 0 else 0
        if idle >= 2 or time.monotonic() - begun >= within_s:
            return now
        sleep(POLL_S)


def in_flight() -> int:
    """Requests in the replicas of this pod, and those that pass through it to others.

    A replica that does not answer counts as none: it cannot serve either.
    """
    return sum(_asked(port) for port in sorted(listening())) + passing()


def listening(proc: Path = Path("/proc")) -> set[int]:
    """Ports of replicas in this network namespace."""
    ports = {_port(local) for local, _, state in _sockets(proc) if state == LISTEN}
    return {port for port in ports if FIRST_PORT <= port < LAST_PORT}


def passing(proc: Path = Path("/proc")) -> int:
    """Connections from here to replicas in other pods.

    HAProxy's own count leaves out the processes that a reload has retired, which may have streams still. A connection
    without a request is closed after some seconds (``pool-purge-delay``).
    """
    places = [(local, remote) for local, remote, state in _sockets(proc) if state == ESTABLISHED]
    own = {local.rsplit(":", 1)[0] for local, _ in places}
    return sum(FIRST_PORT <= _port(remote) < LAST_PORT and remote.rsplit(":", 1)[0] not in own for _, remote in places)


def _sockets(proc: Path) -> Iterator[tuple[str, str, str]]:
    """Local place, remote place, state: as the kernel writes them, in hexadecimal."""
    for table in ("tcp", "tcp6"):
        try:
            rows = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, remote, state, *_ = row.split()
            yield local, remote, state


def _port(place: str) -> int:
    return int(place.rsplit(":", 1)[1], 16)


def workers() -> int:
    """Worker nodes that are alive, as the dashboard of this head tells. None where it does not answer: Ray is gone."""
    request = urllib.request.Request(f"http://127.0.0.1:{DASHBOARD_PORT}/nodes?view=summary")
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            nodes = [node["raylet"] for node in json.load(answer)["data"]["summary"]]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return sum(node.get("state") == "ALIVE" and not node.get("isHeadNode") for node in nodes)


def _asked(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return int(json.load(answer).get("in_flight", 0))
    except urllib.error.HTTPError as error:  # unhealthy, and still telling
        try:
            return int(json.load(error).get("in_flight", 0))
        except (ValueError, AttributeError):
            return 0
    except (OSError, ValueError, AttributeError):
        return 0


def _say(text: str) -> None:
    """To the container's log: a hook's own output goes nowhere."""
    try:
        with Path("/proc/1/fd/1").open("w") as log:
            log.write(f"{text}\n")
    except OSError:
        pass


if __name__ == "__main__":
    main()
