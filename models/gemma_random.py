"""A model of Gemma 2 2B's shape with random weights: 2.6 billion parameters, for measuring where none can be fetched.

How fast a model runs does not depend on what its weights are, only on how many and of what shape. Shape:
``config.json`` of google/gemma-2-2b. The tokenizer is the tiny model's, filled up to the same vocabulary: each token it
can be asked with differs, and each token that comes back is text. No token ends an answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.store import Report
from models.tiny import write_tokenizer

NAME = "gemma-2-2b-random"
FOLDER = "gemma-2-2b-random-v1"
SEED = 20_260_101
CONFIG: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_act": "gelu_pytorch_tanh",
    "attention_bias": False,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "torch_dtype": "bfloat16",
}
LAYERS_A_FILE = 9
NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


def layer_shapes(config: dict[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Shapes of one layer's weights, by the end of their names."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "mlp.gate_proj.weight": (wide, hidden),
        "mlp.up_proj.weight": (wide, hidden),
        "mlp.down_proj.weight": (hidden, wide),
        **{f"{norm}.weight": (hidden,) for norm in NORMS},
    }


def make(folder: Path, report: Report, config: dict[str, Any] = CONFIG) -> None:
    """Write weights (bfloat16, 5.2 GB in four files), tokenizer and configs to ``folder``."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(SEED)

    def values(shape: tuple[int, ...]) -> torch.Tensor:
        if len(shape) == 1:
            return torch.zeros(shape, dtype=torch.bfloat16)  # Gemma's norms multiply by one more than their weight
        return (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16)

    vocabulary, hidden, layers = config["vocab_size"], config["hidden_size"], config["num_hidden_layers"]
    ranges = [range(first, min(first + LAYERS_A_FILE, layers)) for first in range(0, layers, LAYERS_A_FILE)]
    count = 1 + len(ranges)

    def write(number: int, weights: dict[str, torch.Tensor]) -> None:
        report(f"making random weights of Gemma 2 2B's shape, file {number} of {count} (once)")
        save_file(weights, folder / f"model-{number:05}-of-{count:05}.safetensors", metadata={"format": "pt"})

    write(1, {"model.embed_tokens.weight": values((vocabulary, hidden)), "model.norm.weight": values((hidden,))})
    for number, numbers in enumerate(ranges, 2):
        shapes = layer_shapes(config).items()
        write(number, {f"model.layers.{layer}.{end}": values(shape) for layer in numbers for end, shape in shapes})
    write_tokenizer(folder)
    _fill(folder / "tokenizer.json", vocabulary)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def _fill(tokenizer: Path, vocabulary: int) -> None:
    """Give every id up to the model's vocabulary a text; nothing that is asked becomes one of the new ones."""
    data = json.loads(tokenizer.read_text(encoding="utf-8"))
    known: dict[str, int] = data["model"]["vocab"]
    known |= {f"w{number}": number for number in range(max(known.values()) + 1, vocabulary)}
    tokenizer.write_text(json.dumps(data), encoding="utf-8")
