"""A start that cannot succeed ends within seconds: one clear line, exit code 1, no stack trace, nothing left."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from .conftest import BIN, ROOT, leftovers, responsible

pytestmark = pytest.mark.live


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, the lines it wrote, and the seconds of CPU it and its children used."""

    code: int
    out: list[str]
    errors: list[str]
    cpu_s: float


def run(*command: str, **env: str) -> Ended:
    """Run a command that starts a service until it gives up."""
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    )
    with responsible(process):
        out, errors = process.communicate(timeout=200)
    assert "Traceback" not in out + errors
    return Ended(process.returncode, out.splitlines(), errors.strip().splitlines(), 0)


def start(*arguments: str) -> Ended:
    """``switchyard serve``, which is to give up within seconds: of CPU, as the machine may be busy with others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = run("switchyard", "serve", *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return replace(ended, cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


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
    file = tmp_path / "service.yaml"
    file.write_text(yaml)
    ended = start("-f", str(file))
    assert ended.code == 1
    assert [message in line for line in ended.errors] == [True]
    assert ended.cpu_s < 8


def test_a_busy_port_names_its_holder():
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ended = start("--port", str(port))
    assert ended.code == 1
    assert f"Port {port} is in use (by " in ended.errors[0]
    assert f"pid {os.getpid()}" in ended.errors[0]
    assert ended.cpu_s < 8


WRONG_OPTIONS = {
    "switchyard-name": ("model: {id: tiny}\nengine: {options: {max_num_sequences: 3}}", "max_num_sequences"),
    "serve-build-type": ("model: {id: tiny}\nengine: {options: {block_size: many}}", "block_size"),
    "serve-app-model": ("model: {id: tiny, max_model_len: 1000000}", "max_model_len"),
    "switchyard-value": ("model: {id: tiny, quantization: int1}", "int1"),
}
"""Ways to start, each with a mistake of its own that only vLLM can find: the first part of the name is the way."""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each start of :data:`WRONG_OPTIONS` ended; two at a time, as each imports vLLM."""

    def one(name: str) -> Ended:
        file = tmp_path_factory.mktemp(name) / "service.yaml"
        file.write_text(WRONG_OPTIONS[name][0])
        if name.startswith("serve-build"):
            return run("serve", "run", "serve_app:build", f"config={file}", RAY_ADDRESS="local")
        if name.startswith("serve-app"):
            return run("serve", "run", "serve_app:app", RAY_ADDRESS="local", SWITCHYARD_CONFIG=str(file))
        return run("switchyard", "serve", "-f", str(file))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(WRONG_OPTIONS, pool.map(one, WRONG_OPTIONS), strict=True))


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_vllm_itself_checks_the_options_before_ray_starts(refusals: dict[str, Ended], name: str):
    ended = refusals[name]
    assert ended.code == 1
    assert WRONG_OPTIONS[name][1] in ended.errors[-1]
    assert ended.errors[-1].startswith("switchyard: ")
    assert name.startswith("serve-") or len(ended.errors) == 1
    assert not [line for line in ended.out + ended.errors if "Started a local Ray" in line or "starting Ray" in line]
    assert not leftovers()
