"""What can be known to fail before anything heavy is started: port, cores, GPUs, memory, engine options.

Each check takes milliseconds, but for :func:`check_engine`, which asks vLLM itself in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from models import store
from models.errors import ModelError
from models.store import Located, Report, cache_folder
from serve_app.config import ServiceConfig
from serve_app.engine_options import GIB, Weights, engine_options, executor, kv_cache_bytes
from serve_app.errors import StartError

PROCESSES_GIB = 2.5
"""Memory of Ray, HAProxy and vLLM's three processes without weights and KV cache, measured on Linux x86_64."""


def check_port(config: ServiceConfig) -> None:
    """Raises:
    StartError: something listens on the port.
    """
    port = config.serving.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except PermissionError:
            raise StartError(f'Port {port} needs root. Choose one above 1023: make serve ARGS="--port 8001".') from None
        except OSError:
            raise StartError(
                f"Port {port} is in use{_listener(port)}. Stop what listens there, or choose another: "
                f'make serve ARGS="--port {port + 1 if port < 65535 else 8000}".'
            ) from None


def check_machine(config: ServiceConfig, weights_bytes: int = 0) -> None:
    """Raises:
    StartError: too few cores or GPUs, or too little memory, for one replica.
    """
    engine = config.engine
    cores = os.cpu_count() or 1
    wanted = engine.cpus_per_worker * engine.workers * max(1, config.scaling.min_replicas)
    if engine.on_cpu and wanted > cores:
        raise StartError(
            f"The service wants {wanted:g} CPUs (engine.cpus_per_worker times workers times replicas), and this "
            f"machine has {cores}. Lower engine.cpus_per_worker, the parallel sizes, or scaling.min_replicas."
        )
    if config.scaling.min_replicas == 0:
        raise StartError("scaling.min_replicas is 0, so nothing would be served here. Set it to 1 or more.")
    if executor(config) == "ray":
        raise StartError(
            "engine.pipeline_parallel_size above 1 needs several Ray nodes, and this command starts one. Deploy the "
            "file on a Ray cluster, or use engine.tensor_parallel_size within one machine."
        )
    if not engine.on_cpu:
        gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
        wanted_gpus = engine.workers * config.scaling.min_replicas
        if gpus < wanted_gpus:
            raise StartError(
                f"The service wants {wanted_gpus} {engine.accelerator} GPU(s) and this machine has {gpus}. "
                "Run it on GKE, or serve on the CPU: engine.accelerator: cpu."
            )
        return
    need = PROCESSES_GIB + (weights_bytes + (kv_cache_bytes(config) or 0)) / GIB
    have = _free_memory() / GIB
    if need > have:
        raise StartError(
            f"About {need:.1f} GiB of memory is needed and {have:.1f} GiB is free. Close other programs, choose a "
            "smaller model, or lower engine.kv_cache_gib."
        )


def _free_memory() -> int:
    """Bytes that can still be used, by this container if it has a limit (cgroup v2)."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    return free


def weights_size(located: Located) -> int:
    """Bytes of the weights of a model in a local folder; 0 if it is elsewhere."""
    folder = Path(located.model)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0


def find_model(config: ServiceConfig, report: Report) -> Located:
    """The service's model, fetched or made if need be.

    Raises:
        StartError: it is not there; with what to do about it.
    """
    try:
        store.check(config.model.id)
        report(f"finding the model {config.model.id}")
        return store.locate(config.model.id, config.model.revision, report=report)
    except ModelError as error:
        raise StartError(str(error)) from error


def check_engine(config: ServiceConfig, located: Located) -> None:
    """Have vLLM itself check the engine's options against the model. Done once for each combination.

    Raises:
        StartError: with vLLM's reason in one line.
    """
    options = engine_options(config, Weights(located.model, located.revision, located.load_format))
    model_config = Path(located.model) / "config.json"
    changed = model_config.stat().st_mtime_ns if model_config.is_file() else 0
    inputs = [options, sys.version, _vllm_file(), changed]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode())
    stamp = cache_folder() / "checked" / key.hexdigest()[:32]
    if stamp.exists():
        return
    code = "import sys; from serve_app.vllm_args import main_check; main_check(*sys.stdin.read().splitlines())"
    told = f"{config.model_dump_json()}\n{json.dumps(asdict(located))}\n"  # not in argv, which everybody can read
    environ = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=told, capture_output=True, text=True, env=environ, check=False
    )
    if done.returncode:
        lines = [line for line in (done.stdout or done.stderr).splitlines() if line.strip()]
        raise StartError(lines[-1] if lines else f"vLLM's check of the options ended with exit code {done.returncode}.")
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def _vllm_file() -> str:
    from importlib.util import find_spec

    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise StartError("vLLM is not installed in this environment. Run 'make install'.")
    return f"{spec.origin}:{Path(spec.origin).stat().st_mtime_ns}"


def _listener(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            address: Any = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address.port == port and connection.pid:
                return f" (by {psutil.Process(connection.pid).name()}, pid {connection.pid})"
    return ""
