"""Tensor parallel within a node and pipeline parallel over two Ray nodes, with two CPU workers each: they really serve.

The first is started as Ray users start things, with ``serve run`` and a builder: one start less. The second lays out
the very bundles deploy/gke-multi-gpu.yaml would, over nodes that claim to have a GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bench.peers.processes import kind
from serve_app.environment import ENGINE_ENV, LAPTOP_ENV, SERVE_ENV

from .conftest import BIN, ROOT, SERVE_RUN, Service, assert_nothing_left, free_port, serving, wait_until

pytestmark = pytest.mark.live

REQUEST = {"prompt": "the time", "max_tokens": 12, "temperature": 0, "raw": True}
FILE = """
model: {{id: tiny, dtype: float32, max_model_len: 512}}
engine: {{max_num_seqs: 4, kv_cache_gib: 0.1, cpus_per_worker: 0.5, {parallel}: 2, options: {{enforce_eager: true}}}}
"""
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers want two cores")


@pytest.fixture(scope="module")
def expected(tiny: Service) -> str:
    """What a single worker answers."""
    return httpx2.post(f"{tiny.url}/generate", json=REQUEST, timeout=60).json()["text"]


@pytest.fixture(scope="module")
def tensor_parallel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers in one node, started with ``serve run`` and the builder."""
    folder = tmp_path_factory.mktemp("tp")
    file = folder / "tp.yaml"
    file.write_text(FILE.format(parallel="tensor_parallel_size"))
    with serving(folder, *SERVE_RUN, "serve_app:build", f"config={file}", ready="is ready at") as service:
        yield service


@needs_two_cores
def test_tensor_parallel_in_one_node(tensor_parallel: Service, expected: str):
    answer = httpx2.post(f"{tensor_parallel.url}/generate", json=REQUEST, timeout=240).json()
    assert answer["text"] == expected

    def engine() -> int:
        kinds = [kind(title) for title, _ in tensor_parallel.titles()]
        return kinds.count("engine core") + kinds.count("worker")  # which is which shows only in their titles

    # psutil leaves a child out for a moment when the machine's clock is set back.
    wait_until(
        lambda: engine() == 3, 30, lambda: f"an engine core and two workers; there are {tensor_parallel.titles()}"
    )


@needs_two_cores
def test_serve_run_with_the_builder(tensor_parallel: Service):
    body = {"prompt": "the", "max_tokens": 4}
    answer = httpx2.post(f"{tensor_parallel.url}/generate", json=body, timeout=60)
    assert answer.json()["usage"]["completion_tokens"] == 4
    assert tensor_parallel.listener().name() == "haproxy"
    assert tensor_parallel.process.poll() is None


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[str]:
    """Two Ray nodes on this machine, each with its own address and a logical GPU; yields the cluster's address."""
    port = free_port()
    environ = {**os.environ, **LAPTOP_ENV, **SERVE_ENV, **ENGINE_ENV, "RAY_AUTH_MODE": "disabled"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    common = ["--num-cpus=1", "--num-gpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
    temporary = tempfile.mkdtemp(prefix="sy-", dir="/tmp")  # short: Ray keeps sockets below it
    common.append(f"--temp-dir={temporary}")
    head = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    other = [f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.2"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number, arguments in enumerate((head, other)):
            log = tmp_path / f"node{number}.log"
            with log.open("w") as out:
                command = [str(BIN / "ray"), "start", *arguments, *common]
                nodes.append(subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=ROOT))
            wait_until(lambda log=log: "Ray runtime started" in log.read_text(), 180, "a Ray node")
        yield f"127.0.0.1:{port}"
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(120)
        assert_nothing_left()
        shutil.rmtree(temporary, ignore_errors=True)


@needs_two_cores
def test_pipeline_parallel_over_two_nodes(tmp_path: Path, two_nodes: str, expected: str):
    file = tmp_path / "pp.yaml"
    file.write_text(FILE.format(parallel="pipeline_parallel_size"))
    script = Path(__file__).with_name("deploy_on_cluster.py")
    done = subprocess.run(
        [sys.executable, str(script), str(file), two_nodes, str(free_port())],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert seen["status"] == 200
    assert seen["answer"]["text"] == expected
    assert len(set(seen["worker_nodes"])) == 2, "one stage on each node"
