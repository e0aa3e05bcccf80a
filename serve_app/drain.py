"""A pod's ``preStop`` hook: let its streams end, then end Ray, so that a pod stays no longer than it is needed.

Kubernetes takes a pod out of its Services and runs the hook; SIGTERM follows when the hook has ended. KubeRay's
containers have bash as process 1, which passes no SIGTERM on: without the hook every pod would last its whole grace
period, and with a short one streams would be cut. Replicas listen on ports of their own in this pod (direct ingress);
each tells in ``/health`` how many requests are in it.

Run as ``python -m serve_app.drain --within SECONDS``. Needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

SETTLE_S = 5.0
"""Until every node's packet filter knows that the pod is out of the Service; new requests still come meanwhile."""
POLL_S = 1.0
LISTEN = "0A"
FIRST_PORT, LAST_PORT = 30_000, 31_000
"""Ray Serve's defaults: RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT and its maximum."""


def main() -> None:
    """Entry point of the hook. Never fails: a hook that does is only an event nobody reads."""
    parser = argparse.ArgumentParser(description="Wait for this pod's requests to end, then end Ray.")
    parser.add_argument("--within", type=float, required=True, help="longest wait, in seconds")
    left = drain(in_flight, within_s=parser.parse_args().within)
    _say(f"drained: {left} requests left" if left else "drained: idle")
    end_ray()


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
    """Requests in the replicas of this pod. A replica that does not answer counts as none: it cannot serve either."""
    return sum(_asked(port) for port in sorted(listening()))


def listening(proc: Path = Path("/proc")) -> set[int]:
    """Ports of replicas in this network namespace."""
    found: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, *_ = row.split()
            port = int(local.rsplit(":", 1)[1], 16)
            if state == LISTEN and FIRST_PORT <= port < LAST_PORT:
                found.add(port)
    return found


def end_ray(proc: Path = Path("/proc")) -> None:
    """End ``ray start --block``, which ends what it started; the container ends with it."""
    for folder in proc.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"start" in words and b"--block" in words and any(word.endswith(b"/ray") for word in words):
            os.kill(int(folder.name), signal.SIGTERM)


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
