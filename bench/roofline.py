"""The most tokens a second that a GPU's memory and arithmetic allow a decoder, to hold a measurement against. Pure.

A decoding step reads each weight once for the whole batch, and each sequence's KV cache; it multiplies each weight
once for each sequence. Whichever takes longer bounds it. Attention's own arithmetic and the start of kernels are left
out, so this is a ceiling that nothing reaches. On a fast GPU a small model's step is bound by the start of its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BYTES = 2
"""Of a weight and of a value in the KV cache: bfloat16."""


@dataclass(frozen=True)
class Gpu:
    """What a GPU can do, by its data sheet.

    Attributes:
        bytes_per_s: from its memory.
        flops: dense bfloat16, floating-point operations a second.
    """

    bytes_per_s: float
    flops: float


GPUS: dict[str, Gpu] = {
    "L4": Gpu(300e9, 121e12),
    "A100-SXM4-40GB": Gpu(1_555e9, 312e12),
    "A100-SXM4-80GB": Gpu(2_039e9, 312e12),
    "H100": Gpu(3_350e9, 989e12),
    "H200": Gpu(4_800e9, 989e12),
}
"""By a word of the name that ``nvidia-smi`` gives. NVIDIA's data sheets, SXM variants; the PCIe H100 has less."""


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes.

    Attributes:
        weights: parameters that a step reads: the layers and the head, not the embeddings beside it.
        kv_values: values in the KV cache, a token.
    """

    weights: int
    kv_values: int


def shape(config: Mapping[str, Any]) -> Shape:
    """Sizes from a model's ``config.json``: a decoder with gated MLPs, as Llama, Qwen and Gemma are; norms left out.

    Raises:
        KeyError: it is none of these.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    keys: int = config.get("num_key_value_heads") or heads
    size: int = config.get("head_dim") or hidden // heads
    attention = 2 * hidden * heads * size + 2 * hidden * keys * size
    layer = attention + 3 * hidden * config["intermediate_size"]
    layers: int = config["num_hidden_layers"]
    return Shape(layers * layer + config["vocab_size"] * hidden, layers * 2 * keys * size)


def gpu_of(name: str) -> Gpu | None:
    """The GPU whose name is a word of the one given, such as ``NVIDIA H200``; None if it is not on the list."""
    return next((gpu for known, gpu in GPUS.items() if known in name.split()), None)


def ceiling(model: Shape, gpu: Gpu, batch: int, context: float) -> float:
    """Output tokens a second at most.

    Args:
        model: its sizes.
        gpu: on which.
        batch: sequences decoded together.
        context: tokens a sequence has in the KV cache, on average.
    """
    read_s = BYTES * (model.weights + batch * context * model.kv_values) / gpu.bytes_per_s
    multiplied_s = 2 * batch * model.weights / gpu.flops
    return batch / max(read_s, multiplied_s)
