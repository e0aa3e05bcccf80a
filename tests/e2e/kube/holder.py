"""The process that holds the node's namespaces, and with them everything that runs there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.kube import build, layout
from tests.e2e.kube.steps import wait_until

ROOT = Path(__file__).resolve().parents[3]
NAMESPACES = ("pid", "net", "mnt")
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
NODE = "tests.e2e.kube.node"
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


def start(*, tied: bool) -> int:
    """Start the node.

    Args:
        tied: the kernel ends it with this process.

    Returns:
        The process that is number 1 there, as the machine numbers it.
    """
    environ = {
        "PATH": build.search_path(),
        "HOME": str(Path.home()),
        "XDG_CACHE_HOME": str(layout.CACHE.parents[1]),
        "TMPDIR": str(layout.RUN),
    }
    with (layout.LOGS / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [*(WITH_PARENT if tied else ()), *UNSHARE, sys.executable, "-m", NODE],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().strip(), 10, "the node's process 1")
    pid = int(children.read_text())
    own = _namespaces(os.getpid())
    wait_until(lambda: len(_namespaces(pid).items() - own.items()) == len(NAMESPACES), 10, "the node's namespaces")
    state = {"holder": process.pid, "init": pid, "started": psutil.Process(pid).create_time()}
    layout.STATE.write_text(json.dumps({**state, "namespaces": list(_namespaces(pid).values())}))
    return pid


def pid() -> int:
    """The process whose end is the node's."""
    return int(_state()["holder"])


def init_pid() -> int | None:
    """Process 1 of the node, if that is running."""
    state = _state()
    with suppress(psutil.NoSuchProcess, KeyError):
        process = psutil.Process(state["init"])
        if process.create_time() == state["started"] and process.status() != psutil.STATUS_ZOMBIE:
            return process.pid
    return None


def uptime_s() -> float:
    """Seconds since the node was started."""
    return time.time() - float(_state()["started"])


def processes() -> list[psutil.Process]:
    """Every process in the node's namespaces, and the one that holds them, even where the state file is gone."""
    theirs = set(_state().get("namespaces", []))
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if NODE in (process.info["cmdline"] or []) or theirs & set(_namespaces(process.pid).values())
    ]


def kill() -> None:
    """End the node, in whatever state it is, and wait until its last process is gone."""
    for process in processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not processes(), 20, "the node's processes to be gone")


def _state() -> dict[str, Any]:
    try:
        return json.loads(layout.STATE.read_text())
    except (OSError, ValueError):
        return {}


def _namespaces(pid: int) -> dict[str, str]:
    with suppress(OSError):
        return {name: str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in NAMESPACES}
    return {}
