"""Who is compared, and how each is started: the same model and the same engine flags. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Name = Literal["bare", "switchyard", "ray-default", "ray-best"]
NAMES: tuple[Name, ...] = ("bare", "switchyard", "ray-default", "ray-best")
TITLES: dict[str, str] = {
    "bare": "vllm serve",
    "switchyard": "Switchyard",
    "ray-default": "ray.serve.llm",
    "ray-best": "ray.serve.llm, best mode",
}
MODEL = "tiny"
APP = "llm"
CPUS = 16
"""CPUs that ray.serve.llm's Ray counts with: its two ingress replicas and the engine's two places want four."""

GPU_MEMORY = 0.85
"""Share of the GPU's memory that an engine takes."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_BEST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
}
_NOT_OURS = ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS", "SWITCHYARD_CONFIG", "VLLM_CPU_KVCACHE_SPACE")


@dataclass(frozen=True)
class Engine:
    """The engine's flags, the same for all.

    Attributes:
        model: the folder of the model.
        dtype: in vLLM's words.
        max_model_len, max_num_seqs: in vLLM's words.
        kv_cache_bytes: size of the KV cache, on CPUs.
        gpu: on a GPU: with CUDA graphs, and as much KV cache as there is room for.
    """

    model: str
    dtype: str
    max_model_len: int = 8192
    max_num_seqs: int = 64
    kv_cache_bytes: int = 2**29
    gpu: bool = False

    def options(self) -> dict[str, object]:
        """As arguments of vLLM's ``AsyncEngineArgs``."""
        options: dict[str, object] = {
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
        }
        if self.gpu:
            return options | {"gpu_memory_utilization": GPU_MEMORY}
        return options | {"enforce_eager": True, "kv_cache_memory_bytes": self.kv_cache_bytes}


@dataclass(frozen=True)
class Start:
    """How a server is started.

    Attributes:
        command: program and arguments.
        environ: its whole environment.
        files: what it reads: text by name, put into the folder that it is started for.
    """

    command: list[str]
    environ: dict[str, str]
    files: dict[str, str]


def start(
    name: Name, engine: Engine, port: int, folder: Path, programs: Path, extra: Path, environ: Mapping[str, str]
) -> Start:
    """How to start a server.

    Args:
        name: which.
        engine: the engine's flags.
        port: where it is to listen.
        folder: where its files go.
        programs: folder of ``python``, ``vllm`` and ``switchyard``.
        extra: folder with the packages that only ray.serve.llm needs, and with the name ``vllm`` of our CPU build.
        environ: the environment of this process.
    """
    environ = {key: value for key, value in environ.items() if key not in _NOT_OURS} | _QUIET
    if name == "switchyard":
        file = folder / "switchyard.yaml"
        return Start(
            [str(programs / "switchyard"), "serve", "-f", str(file)], environ, {file.name: _ours(engine, port)}
        )
    # The others run without this project's vLLM plugins, and find the extra packages before all others.
    path = os.pathsep.join(filter(None, [str(extra), environ.get("PYTHONPATH", "")]))
    environ |= {"PYTHONPATH": path, "VLLM_PLUGINS": ""}
    if name == "bare":
        return Start([str(programs / "vllm"), *_flags(engine, port)], environ, {})
    settings = {"port": port, "app": APP, "name": MODEL, "model": engine.model, "cpus": CPUS, "gpu": engine.gpu}
    told = json.dumps(settings | {"engine": engine.options()})
    command = [str(programs / "python"), "-m", "bench.peers.ray_llm", told]
    return Start(command, environ | (_BEST if name == "ray-best" else {}), {})


def _flags(engine: Engine, port: int) -> list[str]:
    flags = {
        "served-model-name": MODEL,
        "host": "127.0.0.1",
        "port": port,
        **{key.replace("_", "-"): value for key, value in engine.options().items() if value is not True},
    }
    given = [text for key, value in flags.items() for text in (f"--{key}", str(value))]
    # No line a request in a log: the others write none either.
    switches = ["--disable-uvicorn-access-log"] + ["--enforce-eager"] * (not engine.gpu)
    return ["serve", engine.model, *given, *switches]


def _ours(engine: Engine, port: int) -> str:
    """The service file, as JSON, which YAML takes."""
    where: dict[str, object] = (
        {"accelerator": "gpu", "gpu_memory_utilization": GPU_MEMORY}
        if engine.gpu
        else {"kv_cache_gib": engine.kv_cache_bytes / 2**30, "options": {"enforce_eager": True}}
    )
    return json.dumps(
        {
            "name": APP,
            "model": {
                "id": engine.model,
                "name": MODEL,
                "dtype": engine.dtype,
                "max_model_len": engine.max_model_len,
            },
            "engine": {"max_num_seqs": engine.max_num_seqs, **where},
            "serving": {"port": port},
        },
        indent=1,
    )


def dtype_for(cpuinfo: str) -> str:
    """The dtype for the CPU that ``/proc/cpuinfo`` describes: without AVX512, bfloat16 costs more than float32."""
    x86 = "flags" in cpuinfo
    return "float32" if x86 and "avx512f" not in cpuinfo.split() else "bfloat16"
