"""The ceiling a GPU sets, against figures that were derived by hand."""

from __future__ import annotations

import pytest

from bench.roofline import GPUS, Gpu, Shape, ceiling, gpu_of, shape
from models.gemma_random import CONFIG, layer_shapes


def test_gemma_2_2b_has_the_weights_it_is_known_for() -> None:
    found = shape(CONFIG)
    assert found.weights == pytest.approx(2.614e9, rel=1e-3)
    assert found.kv_values * 2 == 106_496, "bytes a token"
    norms = 4 * CONFIG["hidden_size"]
    layer = sum(rows * columns for rows, *more in layer_shapes().values() for columns in more or [1])
    whole = CONFIG["num_hidden_layers"] * (layer - norms) + CONFIG["vocab_size"] * CONFIG["hidden_size"]
    assert found.weights == whole


@pytest.mark.parametrize(
    ("name", "batch", "tokens"),
    [("NVIDIA L4", 1, 57), ("NVIDIA L4", 64, 2202), ("NVIDIA L4", 256, 4003), ("NVIDIA H200", 32, 22_028)],
)
def test_the_ceiling_of_gemma_2_2b(name: str, batch: int, tokens: float) -> None:
    gpu = gpu_of(name)
    assert gpu is not None
    assert ceiling(shape(CONFIG), gpu, batch, 512) == pytest.approx(tokens, rel=0.01)


def test_arithmetic_bounds_a_large_batch() -> None:
    model, gpu = Shape(weights=1_000, kv_values=0), Gpu(bytes_per_s=2_000, flops=20_000)
    assert ceiling(model, gpu, 1, 0) == 1
    assert ceiling(model, gpu, 10, 0) == ceiling(model, gpu, 1_000, 0) == 10


def test_untied_heads_and_missing_sizes() -> None:
    config = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "vocab_size": 10,
    }
    assert shape(config) == Shape(4 * 8 * 8 + 3 * 8 * 16 + 80, 16)


def test_gpus_by_their_names() -> None:
    assert gpu_of("NVIDIA A100-SXM4-80GB") is GPUS["A100-SXM4-80GB"]
    assert gpu_of("NVIDIA H100 80GB HBM3") is GPUS["H100"]
    assert [gpu_of(f"NVIDIA {name}") for name in ("GeForce", "L40S", "GH200 480GB")] == [None] * 3
