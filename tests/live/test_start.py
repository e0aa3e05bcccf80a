"""A start that cannot succeed ends within seconds: one clear line, exit code 1, no stack trace, nothing left."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import BIN, ROOT, snapshot

pytestmark = pytest.mark.live


def start(*arguments: str, **env: str) -> tuple[int, str, float]:
    """Run ``switchyard serve`` until it gives up: exit code, what it wrote to stderr, seconds."""
    begun = time.monotonic()
    done = subprocess.run(
        [str(BIN / "switchyard"), "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stderr.strip(), time.monotonic() - begun


def refused(tmp_path: Path, yaml: str, message: str) -> float:
    """Start with this service file and see it refused in one line; the seconds it took."""
    file = tmp_path / "service.yaml"
    file.write_text(yaml)
    code, error, took = start("-f", str(file))
    assert code == 1
    assert message in error
    assert len(error.splitlines()) == 1
    return took


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("model: {id: /no/such/folder}", "There is no folder /no/such/folder"),
        ("modle: {id: tiny}", "did you mean 'model'"),
        ("model:\n\tid: tiny", ":2: not valid YAML"),
        ("model: {id: tiny}\nengine: {accelerator: L4}", "wants 1 L4 GPU(s) and this machine has 0"),
        ("model: {id: tiny}\nengine: {kv_cache_gib: 100000}", "GiB of memory is needed"),
        ("model: {id: tiny}\nengine: {cpus_per_worker: 4096}", "wants 4096 CPUs"),
        ("model: {id: tiny}\nserving: {api_keys_file: /no/keys}", "serving.api_keys_file /no/keys"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path: Path, yaml: str, message: str):
    assert refused(tmp_path, yaml, message) < 8


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("model: {id: tiny}\nengine: {options: {max_num_sequences: 3}}", "max_num_sequences"),
        ("model: {id: tiny}\nengine: {options: {block_size: many}}", "block_size"),
        ("model: {id: tiny, max_model_len: 1000000}", "max_model_len"),
        ("model: {id: tiny, quantization: int1}", "int1"),
    ],
)
def test_vllm_itself_checks_the_options_before_ray_starts(tmp_path: Path, yaml: str, message: str):
    before = snapshot()
    assert refused(tmp_path, yaml, message) < 60
    assert not snapshot() - before


def test_a_busy_port_names_its_holder():
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, error, took = start("--port", str(port))
    assert code == 1
    assert f"Port {port} is in use (by " in error
    assert f"pid {os.getpid()}" in error
    assert took < 8
