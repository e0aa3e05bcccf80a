"""Real services for the live tests: `switchyard serve` as a user would start it, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from bench.peers.processes import kind
from serve_app import lifetime

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LONG = 8000
"""Tokens of an answer that takes seconds on any machine: what must be ended early is recognised by having fewer."""
TINY = """
name: llm
model: {id: tiny, dtype: float32, max_model_len: 8192}
engine: {max_num_seqs: 8, max_waiting: 4, kv_cache_gib: 0.2, options: {enforce_eager: true}}
serving: {health_window_s: 6, defaults: {max_tokens: 16, temperature: 0}}
"""
SERVE_RUN = ("python", str(ROOT / "tests/live/serve_on.py"), "$PORT", "run")
"""``serve run``, on a free port."""
_ROOTS: set[int] = set()
"""The process at the head of each thing that is meant to run just now: what is below it is in its place."""


@dataclass
class Service:
    """A running service, and the process that holds it."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))
    killed: bool = False

    def kill(self) -> None:
        """End it in the way that it cannot notice."""
        self.killed = True
        self.process.kill()
        self.process.wait(10)

    def ray_environment(self) -> dict[str, str]:
        """What it printed for Ray jobs."""
        line = next(line for line in self.log.read_text().splitlines() if "RAY_ADDRESS=" in line)
        return dict(re.findall(r"(RAY_\w+)=(\S+)", line))

    def metric(self, name: str) -> float:
        """Sum of a vLLM metric over its labels."""
        lines = httpx2.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def in_flight(self) -> int:
        """Requests the engine holds, running and waiting."""
        return self.client.get(f"{self.url}/health").json()["in_flight"]

    def listener(self) -> psutil.Process:
        """The process below the service that listens where clients connect."""
        port = httpx2.URL(self.url).port
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # some live for a moment only
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        return process
        raise AssertionError(f"nothing of the service listens on {port}")

    def titles(self) -> list[tuple[str, psutil.Process]]:
        """The service's processes with their command lines, which some have set themselves."""
        found: list[tuple[str, psutil.Process]] = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append((" ".join(process.cmdline()), process))
        return found

    def engine(self) -> psutil.Process:
        """vLLM's engine core."""
        titles = self.titles()
        for title, process in titles:
            if kind(title) == "engine core":
                return process
        raise AssertionError(f"no engine core among {titles}")


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float, what: str | Callable[[], str]) -> float:
    """Poll until ``condition()`` is true; the seconds it took."""
    begun = time.monotonic()
    while not condition():
        took = time.monotonic() - begun
        assert took < timeout_s, f"{what if isinstance(what, str) else what()}: not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - begun


def leftovers() -> list[psutil.Process]:
    """Every process that the tests started and nobody is responsible for any more: Ray's, HAProxy, vLLM's, whatever.

    The test process is a subreaper (:func:`adopted`), so what loses its parent becomes its child, unless a service that
    runs adopts it. Names and marks in the environment would not do: `setproctitle` writes over both.
    """
    found: list[psutil.Process] = []
    waiting = [child for child in psutil.Process().children() if child.pid not in _ROOTS]
    while waiting:
        process = waiting.pop()
        with suppress(psutil.NoSuchProcess):
            waiting += process.children()
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
            elif process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)  # adopted, and nobody else will look
    return found


def assert_nothing_left(within_s: float = 60) -> None:
    """Wait for the last process to go; name those that do not."""
    wait_until(lambda: not leftovers(), within_s, lambda: f"everything to be gone, {[p.name() for p in leftovers()]}")


@contextmanager
def responsible(process: subprocess.Popen[Any]) -> Iterator[None]:
    """What is below ``process`` is not left over while the block runs."""
    _ROOTS.add(process.pid)
    try:
        yield
    finally:
        _ROOTS.discard(process.pid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Much time for live tests; first the files with their own services: an idle one takes a third of a core."""
    own = ("test_start.py", "test_newcomer.py", "test_ray_users.py")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.timeout(1200))  # a start that takes 40 s on two free cores has taken 120 s
    items.sort(key=lambda item: own.index(item.path.name) if item.path.name in own else len(own))


@pytest.fixture(scope="session", autouse=True)
def adopted() -> None:
    """Makes this process the parent of every orphan below it."""
    lifetime.adopt_orphans()


@contextmanager
def serving(
    folder: Path, *arguments: str, ready: str = "Ctrl-C stops", env: dict[str, str] | None = None
) -> Iterator[Service]:
    """Run a command that serves on ``$PORT`` until the block ends; then Ctrl-C, and nothing may be left."""
    port = free_port()
    log = folder / "serve.log"
    # RAY_ADDRESS=local: `serve run` would join a cluster that some `ray start` of this machine has noted down.
    # As on a machine without a C++ compiler, which a serving machine need not have.
    environ = {**os.environ, "CXX": "no-compiler", "SWITCHYARD__SERVING__PORT": str(port), "RAY_ADDRESS": "local"}
    environ |= env or {}
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(BIN / arguments[0]), *(a.replace("$PORT", str(port)) for a in arguments[1:])],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environ,
            text=True,
            start_new_session=True,
        )
    service = Service(f"http://localhost:{port}", process, log)
    with responsible(process):
        try:
            wait_until(lambda: ready in log.read_text() or process.poll() is not None, 270, f"{arguments} to serve")
            assert process.poll() is None, log.read_text()
            yield service
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(120)
    assert process.returncode == (-signal.SIGKILL if service.killed else 0), log.read_text()
    assert_nothing_left()


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service file for the random model."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_file: Path) -> Iterator[Service]:
    """One service with the random model, shared by all tests that leave it as they found it."""
    with serving(tmp_path_factory.mktemp("tiny"), "switchyard", "serve", "-f", str(tiny_file)) as service:
        yield service
