"""Real services for the live tests: `switchyard serve` as a user would start it, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TINY = """
name: llm
model: {id: tiny, dtype: float32, max_model_len: 1024}
engine: {max_num_seqs: 8, max_waiting: 4, kv_cache_gib: 0.2, options: {enforce_eager: true}}
serving: {health_window_s: 6, defaults: {max_tokens: 16, temperature: 0}}
"""
OURS = ("raylet", "gcs_server", "haproxy", "VLLM::", "ray::", "default_worker.py", "log_monitor.py", "switchyard")


@dataclass
class Service:
    """A running service, and the process that holds it."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=10))

    def metric(self, name: str) -> float:
        """Sum of a vLLM metric over its labels."""
        lines = httpx2.get(f"{self.url}/metrics", timeout=10).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def in_flight(self) -> int:
        """Requests the engine holds, running and waiting."""
        return self.client.get(f"{self.url}/health").json()["in_flight"]

    def vllm(self, name: str) -> psutil.Process:
        """One of vLLM's processes: ``EngineCore`` or ``Worker``."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(p for p in children if f"VLLM::{name}"[:15] in p.name())


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition, timeout_s: float, what: str) -> float:
    """Poll until ``condition()`` is true; the seconds it took."""
    begun = time.monotonic()
    while not condition():
        took = time.monotonic() - begun
        assert took < timeout_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)
    return time.monotonic() - begun


def snapshot() -> set[int]:
    """Pids of every process of Ray, HAProxy, vLLM or ours, zombies included unless it is init that should reap them."""
    found = psutil.process_iter(["cmdline", "name", "status", "ppid"])
    return {p.pid for p in found if _is_ours(p) and (p.info["status"], p.info["ppid"]) != (psutil.STATUS_ZOMBIE, 1)}


def describe(pids: set[int]) -> list[str]:
    """What processes with these pids are, for a message."""
    return [f"{p.pid} {p.info['name']}" for p in psutil.process_iter(["name"]) if p.pid in pids]


def _is_ours(process: psutil.Process) -> bool:
    text = " ".join(process.info["cmdline"] or []) or process.info["name"] or ""
    return any(word in text for word in OURS) and process.pid != os.getpid()


@contextmanager
def serving(
    folder: Path, *arguments: str, ready: str = "Ctrl-C stops", env: dict[str, str] | None = None
) -> Iterator[Service]:
    """Run a command that serves on ``$PORT`` until the block ends; then Ctrl-C, and nothing may be left."""
    before = snapshot()
    port = free_port()
    log = folder / "serve.log"
    # RAY_ADDRESS=local: `serve run` would join a cluster that some `ray start` of this machine has noted down.
    environ = {**os.environ, "SWITCHYARD__SERVING__PORT": str(port), "RAY_ADDRESS": "local", **(env or {})}
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
        try:
            wait_until(lambda: ready in log.read_text() or process.poll() is not None, 150, f"{arguments} to serve")
            assert process.poll() is None, log.read_text()
            yield Service(f"http://localhost:{port}", process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    assert process.returncode in (0, -signal.SIGKILL), log.read_text()
    wait_until(lambda: not snapshot() - before, 20, f"everything to be gone, {describe(snapshot() - before)}")


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
