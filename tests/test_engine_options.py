from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serve_app.config import ServiceConfig
from serve_app.engine_options import (
    GIB,
    Weights,
    engine_options,
    executor,
    kv_cache_bytes,
    placement,
    thread_binding,
)
from serve_app.load import load

DEPLOY = Path(__file__).parent.parent / "deploy"
WEIGHTS = Weights("/models/x")


def deploy(name: str) -> ServiceConfig:
    return load(str(DEPLOY / name), {})


def engine(**values: Any) -> ServiceConfig:
    return ServiceConfig.model_validate({"engine": values})


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "local.yaml",
            {
                "served_model_name": ["smollm2-135m-instruct"],
                "max_num_seqs": 16,
                "max_num_queued_reqs": 16 + 256,
                "kv_cache_memory_bytes": GIB // 2,
                "max_model_len": 2048,
                "enforce_eager": True,
            },
        ),
        ("e2e.yaml", {"served_model_name": ["tiny"], "kv_cache_memory_bytes": GIB // 4, "dtype": "float32"}),
        (
            "gke-l4.yaml",
            {
                "served_model_name": ["gemma-2-2b-it"],
                "dtype": "bfloat16",
                "max_num_seqs": 128,
                "max_num_queued_reqs": 128 + 256,
                "gpu_memory_utilization": 0.9,
                "max_model_len": 4096,
            },
        ),
        ("gke-incremental.yaml", {"served_model_name": ["gemma-2-2b-it"], "max_num_seqs": 128, "max_model_len": 4096}),
        (
            "gke-multi-gpu.yaml",
            {
                "served_model_name": ["llama-3.3-70b-instruct"],
                "tensor_parallel_size": 4,
                "pipeline_parallel_size": 2,
                "distributed_executor_backend": "ray",
                "quantization": "compressed-tensors",
                "max_model_len": 8192,
            },
        ),
    ],
)
def test_deploy_files(file: str, expected: dict[str, Any]) -> None:
    options = engine_options(deploy(file), WEIGHTS)
    assert {key: options.get(key) for key in expected} == expected
    assert options["model"] == "/models/x"
    assert options["enable_log_requests"] is False


def test_every_deploy_file_is_tested_here() -> None:
    assert {file.name for file in DEPLOY.glob("*.yaml")} == {
        "local.yaml",
        "e2e.yaml",
        "gke-l4.yaml",
        "gke-incremental.yaml",
        "gke-multi-gpu.yaml",
    }


def test_what_is_not_set_is_left_to_vllm() -> None:
    options = engine_options(engine(accelerator="gpu"), WEIGHTS)
    assert None not in options.values()
    absent = {"revision", "load_format", "max_model_len", "quantization", "kv_cache_memory_bytes"}
    assert not absent & options.keys()
    assert "distributed_executor_backend" not in options


def test_where_the_weights_are() -> None:
    options = engine_options(ServiceConfig(), Weights("gs://b/m", revision="c" * 40, load_format="runai_streamer"))
    assert (options["model"], options["revision"], options["load_format"]) == ("gs://b/m", "c" * 40, "runai_streamer")


def test_options_of_the_file_come_last() -> None:
    options = engine_options(engine(options={"block_size": 32, "enable_log_requests": True}), WEIGHTS)
    assert (options["block_size"], options["enable_log_requests"]) == (32, True)


def test_the_options_are_a_fresh_dict() -> None:
    config = engine(options={"block_size": 32})
    engine_options(config, WEIGHTS)["block_size"] = 1
    assert engine_options(config, WEIGHTS)["block_size"] == 32


@pytest.mark.parametrize(
    ("model", "accelerator", "dtype", "bf16_is_fast", "expected"),
    [
        ("tiny", "cpu", "auto", False, "float32"),
        ("tiny", "cpu", "auto", True, "auto"),
        ("tiny", "cpu", "bfloat16", False, "bfloat16"),
        ("tiny", "L4", "auto", False, "auto"),
        ("embedded", "cpu", "auto", True, "float32"),
        ("embedded", "cpu", "bfloat16", True, "bfloat16"),
        ("embedded", "L4", "auto", True, "auto"),
    ],
)
def test_dtype(model: str, accelerator: str, dtype: str, bf16_is_fast: bool, expected: str) -> None:
    config = ServiceConfig.model_validate(
        {"model": {"id": model, "dtype": dtype}, "engine": {"accelerator": accelerator}}
    )
    assert engine_options(config, WEIGHTS, bf16_is_fast=bf16_is_fast)["dtype"] == expected


def test_pipeline_stages_on_cpus_are_compiled_whatever_the_file_says() -> None:
    config = engine(pipeline_parallel_size=2, options={"enforce_eager": True, "block_size": 32})
    options = engine_options(config, WEIGHTS)
    assert (options["enforce_eager"], options["block_size"]) == (False, 32)
    assert options["compilation_config"] == {"mode": 2, "backend": "eager"}
    on_gpu = engine_options(
        engine(pipeline_parallel_size=2, accelerator="L4", options={"enforce_eager": True}), WEIGHTS
    )
    assert on_gpu["enforce_eager"] is True
    assert "compilation_config" not in on_gpu


@pytest.mark.parametrize(
    ("tensor", "pipeline", "expected"), [(1, 1, None), (2, 1, "mp"), (8, 1, "mp"), (1, 2, "ray"), (4, 2, "ray")]
)
def test_executor(tensor: int, pipeline: int, expected: str | None) -> None:
    config = engine(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline)
    assert executor(config) == expected
    assert engine_options(config, WEIGHTS).get("distributed_executor_backend") == expected


@pytest.mark.parametrize(
    ("accelerator", "gib", "expected"),
    [("cpu", None, GIB // 2), ("cpu", 2, 2 * GIB), ("L4", None, None), ("L4", 1.5, 3 * GIB // 2)],
)
def test_kv_cache(accelerator: str, gib: float | None, expected: int | None) -> None:
    size = kv_cache_bytes(engine(accelerator=accelerator, kv_cache_gib=gib))
    assert size == expected
    assert size is None or isinstance(size, int)


@pytest.mark.parametrize(
    ("values", "actor"),
    [
        ({}, {"num_cpus": 1}),
        ({"cpus_per_worker": 0.5, "tensor_parallel_size": 4}, {"num_cpus": 2}),
        ({"accelerator": "gpu"}, {"num_cpus": 1, "num_gpus": 1}),
        ({"accelerator": "L4", "cpus_per_worker": 4}, {"num_cpus": 4, "num_gpus": 1, "accelerator_type": "L4"}),
        (
            {"accelerator": "H100", "cpus_per_worker": 4, "tensor_parallel_size": 8},
            {"num_cpus": 32, "num_gpus": 8, "accelerator_type": "H100"},
        ),
    ],
)
def test_placement_on_one_node(values: dict[str, Any], actor: dict[str, Any]) -> None:
    place = placement(engine(**values))
    assert (place.actor_options, place.bundles, place.strategy) == (actor, None, None)


@pytest.mark.parametrize(
    ("values", "bundles", "strategy"),
    [
        ({"pipeline_parallel_size": 2}, [{"CPU": 1, "GPU": 1}] * 2, "STRICT_SPREAD"),
        ({"pipeline_parallel_size": 2, "accelerator": "gpu"}, [{"CPU": 1, "GPU": 1}] * 2, "STRICT_SPREAD"),
        (
            {"pipeline_parallel_size": 2, "tensor_parallel_size": 4, "accelerator": "L4", "cpus_per_worker": 4},
            [{"CPU": 4, "GPU": 1, "accelerator_type:L4": 0.001}] * 8,
            "PACK",
        ),
    ],
)
def test_placement_over_nodes(values: dict[str, Any], bundles: list[dict[str, float]], strategy: str) -> None:
    place = placement(engine(**values))
    assert (place.bundles, place.strategy) == (bundles, strategy)
    assert "num_gpus" not in place.actor_options  # each worker asks for a whole one
    assert place.actor_options["num_cpus"] <= bundles[0]["CPU"]


@pytest.mark.parametrize(
    ("values", "cores", "expected"),
    [
        ({}, 8, {"OMP_NUM_THREADS": "3"}),
        ({}, 2, {"OMP_NUM_THREADS": "1"}),
        ({"accelerator": "L4", "tensor_parallel_size": 2}, 8, {}),
        ({"tensor_parallel_size": 2}, 4, {"VLLM_CPU_OMP_THREADS_BIND": "0,1|2,3"}),
        ({"tensor_parallel_size": 2}, 5, {"VLLM_CPU_OMP_THREADS_BIND": "0,1|2,3"}),
        ({"tensor_parallel_size": 4}, 2, {"VLLM_CPU_OMP_THREADS_BIND": "0|1|0|1"}),
        ({"pipeline_parallel_size": 2}, 8, {"OMP_NUM_THREADS": "4"}),
        ({"pipeline_parallel_size": 4}, 2, {"OMP_NUM_THREADS": "1"}),
    ],
)
def test_thread_binding(values: dict[str, Any], cores: int, expected: dict[str, str]) -> None:
    assert thread_binding(engine(**values), cores, cores // 2) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"backend": "guidance"}),
        ({"reasoning_parser": "x"}, {"backend": "guidance", "reasoning_parser": "x"}),
        ({"backend": "xgrammar"}, {"backend": "xgrammar"}),
        (["wrong"], ["wrong"]),  # vLLM says so
    ],
)
@pytest.mark.parametrize("stages", [1, 2])
def test_one_backend_makes_the_grammars(given: Any, expected: Any, stages: int) -> None:
    config = engine(options={"structured_outputs_config": given, "enforce_eager": True}, pipeline_parallel_size=stages)
    assert engine_options(config, WEIGHTS)["structured_outputs_config"] == expected
