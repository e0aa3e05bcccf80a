"""The service file in vLLM's words, and a replica's in Ray's. Pure: neither is imported.

Facts behind the choices are cited where they are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from serve_app.config import ServiceConfig

GIB = 2**30
CPU_KV_CACHE_GIB = 0.5


@dataclass(frozen=True)
class Weights:
    """Where the weights are, in the words of vLLM's options ``model``, ``revision`` and ``load_format``."""

    model: str
    revision: str | None = None
    load_format: str | None = None


def engine_options(config: ServiceConfig, weights: Weights, *, bf16_is_fast: bool = True) -> dict[str, Any]:
    """Arguments for vLLM's ``AsyncEngineArgs``.

    Args:
        config: the service.
        weights: where the model was found.
        bf16_is_fast: whether this CPU multiplies bfloat16 in hardware; without it float32 is faster.
    """
    model, engine = config.model, config.engine
    options: dict[str, Any] = {
        "model": weights.model,
        "served_model_name": [model.served_name],
        "dtype": _dtype(config, bf16_is_fast),
        "tensor_parallel_size": engine.tensor_parallel_size,
        "pipeline_parallel_size": engine.pipeline_parallel_size,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_queued_reqs": engine.max_num_seqs + engine.max_waiting,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "enable_log_requests": False,
        "structured_outputs_config": _structured_outputs(engine.options),
    }
    optional = {
        "revision": weights.revision,
        "load_format": weights.load_format,
        "max_model_len": model.max_model_len,
        "quantization": model.quantization,
        "distributed_executor_backend": executor(config),
        "kv_cache_memory_bytes": kv_cache_bytes(config),
    }
    options |= {key: value for key, value in optional.items() if value is not None}
    merged = {"structured_outputs_config"}
    if engine.on_cpu and engine.pipeline_parallel_size > 1:
        # Buffers between stages are made in a warm-up that vLLM's CPU worker skips when nothing is compiled
        # (vllm/v1/worker/cpu_worker.py): compile, but with the backend that takes no time.
        options |= {"enforce_eager": False, "compilation_config": {"mode": 2, "backend": "eager"}}
        merged.add("enforce_eager")
    return options | {key: value for key, value in engine.options.items() if key not in merged}


def _structured_outputs(given: Mapping[str, Any]) -> Any:
    """The backend that makes grammars: llguidance, unless ``engine.options`` names another.

    Left to itself, vLLM goes by the first schema it sees and keeps to that backend, so that what is valid depends on
    who came first; and xgrammar 0.2.8 fails in the engine, with a 500, on a pattern like ``[a-z]{1,500}`` that it
    accepted before.
    """
    own: Any = given.get("structured_outputs_config") or {}
    # What is no mapping is left for vLLM's check to refuse.
    return {"backend": "guidance", **cast("dict[str, Any]", own)} if isinstance(own, dict) else own


def executor(config: ServiceConfig) -> str | None:
    """How one replica runs its workers: processes of one node, or Ray actors over several; None for a single worker."""
    if config.engine.pipeline_parallel_size > 1:
        return "ray"
    return "mp" if config.engine.tensor_parallel_size > 1 else None


@dataclass(frozen=True)
class Placement:
    """What Ray Serve reserves for one replica.

    Attributes:
        actor_options: resources of the replica's own actor.
        bundles: a placement group instead, one bundle a worker; the replica's actor takes its share of the first.
        strategy: how the bundles are spread over nodes.
    """

    actor_options: dict[str, Any]
    bundles: list[dict[str, float]] | None = None
    strategy: str | None = None


def placement(config: ServiceConfig) -> Placement:
    """Resources of one replica.

    One node: the replica's actor holds everything, and vLLM's worker processes are its children. Several nodes: one
    bundle a worker, since vLLM's Ray executor takes at most one GPU of a bundle (vllm/v1/executor/ray_utils.py), and
    the actor itself holds no GPU, since each worker asks for a whole one (ray_executor_v2.py). With one worker a node
    the bundles must be on different nodes; with several they are packed, and the executor keeps a node's together.
    """
    engine = config.engine
    if executor(config) != "ray":
        options: dict[str, Any] = {"num_cpus": engine.cpus_per_worker * engine.workers}
        if not engine.on_cpu:
            options["num_gpus"] = engine.workers
            if engine.accelerator != "gpu":
                options["accelerator_type"] = engine.accelerator
        return Placement(options)
    bundle: dict[str, float] = {"CPU": engine.cpus_per_worker, "GPU": 1}
    if engine.accelerator not in ("cpu", "gpu"):
        bundle[f"accelerator_type:{engine.accelerator}"] = 0.001
    strategy = "STRICT_SPREAD" if engine.tensor_parallel_size == 1 else "PACK"
    return Placement({"num_cpus": engine.cpus_per_worker}, [dict(bundle) for _ in range(engine.workers)], strategy)


def thread_binding(config: ServiceConfig, cores: int, physical: int) -> dict[str, str]:
    """Environment that gives each CPU worker cores of its own.

    vLLM's automatic binding wants a NUMA node for each worker (vllm/utils/ompmultiprocessing.py); with several workers
    on one node the cores are shared out evenly here. Workers that Ray starts are not bound, only kept to their share. A
    single worker, which is in the engine's process, leaves a core to the front end, as vLLM's would.

    Args:
        cores: logical ones of the machine.
        physical: those with an arithmetic unit of their own.
    """
    engine = config.engine
    if not engine.on_cpu:
        return {}
    if engine.workers == 1:
        return {"OMP_NUM_THREADS": str(max(1, physical - 1))}  # Ray has set it to the actor's CPUs
    if executor(config) == "ray":
        return {"OMP_NUM_THREADS": str(max(1, cores // engine.workers))}
    each = max(1, cores // engine.workers)
    ranks = (range(rank * each, (rank + 1) * each) for rank in range(engine.workers))
    return {"VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(str(core % cores) for core in rank) for rank in ranks)}


def _dtype(config: ServiceConfig, bf16_is_fast: bool) -> str:
    # In bfloat16 the embedded model's answers to simple questions turn on how a CPU rounds (docs/decisions.md).
    if config.model.dtype == "auto" and config.engine.on_cpu and (config.model.id == "embedded" or not bf16_is_fast):
        return "float32"
    return config.model.dtype


def kv_cache_bytes(config: ServiceConfig) -> int | None:
    size = config.engine.kv_cache_gib
    if size is None and config.engine.on_cpu:
        size = CPU_KV_CACHE_GIB
    return None if size is None else int(size * GIB)
