from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from models.store import Located
from serve_app.config import ServiceConfig
from serve_app.errors import StartError
from serve_app.preflight import check_machine, check_port, weights_size

GIB = 2**30


def config(**sections: Any) -> ServiceConfig:
    return ServiceConfig.model_validate(sections)


def refusal(service: ServiceConfig, weights: int = 0) -> str:
    with pytest.raises(StartError) as caught:
        check_machine(service, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_busy_port_names_who_listens(host: str) -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StartError) as caught:
            check_port(config(serving={"port": port}))
    assert f"Port {port} is in use" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    assert "--port" in str(caught.value)


def test_the_last_port_is_not_answered_with_one_beyond_it() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 65535))
        listener.listen()
        with pytest.raises(StartError) as caught:
            check_port(config(serving={"port": 65535}))
    assert "65536" not in str(caught.value)


def test_a_free_port_is_left_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_port(config(serving={"port": port}))
    check_port(config(serving={"port": port}))
    with socket.socket() as again:
        again.bind(("0.0.0.0", port))


def test_a_port_whose_last_client_has_just_left_is_free() -> None:
    """TIME_WAIT: a service that was stopped can be started again at once."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server, _ = listener.accept()
        server.close()
        client.close()
    check_port(config(serving={"port": port}))


@pytest.mark.parametrize(
    "sections",
    [
        {"engine": {"cpus_per_worker": 10_000}},
        {"engine": {"cpus_per_worker": 1000, "tensor_parallel_size": 10}},
        {"engine": {"cpus_per_worker": 2500}, "scaling": {"min_replicas": 4, "max_replicas": 4}},
    ],
)
def test_more_cpus_than_there_are(sections: dict[str, Any]) -> None:
    message = refusal(config(**sections))
    assert "10000 CPUs" in message
    assert f"this machine has {os.cpu_count()}" in message


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU")
@pytest.mark.parametrize(("accelerator", "tensor"), [("L4", 1), ("gpu", 1), ("H100", 8)])
def test_gpus_that_are_not_there(accelerator: str, tensor: int) -> None:
    message = refusal(config(engine={"accelerator": accelerator, "tensor_parallel_size": tensor}))
    assert f"{tensor} {accelerator} GPU(s) and this machine has 0" in message
    assert "engine.accelerator: cpu" in message


def test_memory_that_is_not_there() -> None:
    assert "GiB of memory is needed" in refusal(config(engine={"kv_cache_gib": 100_000}))
    assert "GiB of memory is needed" in refusal(config(engine={"kv_cache_gib": 0.1}), weights=100_000 * GIB)


def test_a_service_that_fits() -> None:
    check_machine(config(engine={"cpus_per_worker": 0, "kv_cache_gib": 0.001}))


def test_what_one_node_cannot_be() -> None:
    assert "nothing would be served" in refusal(config(scaling={"min_replicas": 0}))
    assert "several Ray nodes" in refusal(config(engine={"pipeline_parallel_size": 2, "cpus_per_worker": 0}))
    two = config(engine={"accelerator": "L4"}, scaling={"min_replicas": 2, "max_replicas": 2})
    assert "wants 2 L4 GPU(s)" in refusal(two)


def test_weights_size(tmp_path: Path) -> None:
    for name, size in {"a.safetensors": 10, "b.safetensors": 5, "c.json": 100}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert weights_size(Located(str(tmp_path))) == 15
    assert weights_size(Located("gs://bucket/model")) == 0
