"""A Llama with random weights, under a million parameters, made in a second: for tests and benchmarks.

What it says is noise, but always the same noise: the weights come from a fixed seed. Every token it prefers decodes to
ASCII text, and as no token ends an answer, a request for 64 tokens gives 64.
"""

from __future__ import annotations

import json
from pathlib import Path

from models.store import Report

FOLDER = "tiny-llama-v2"
SEED = 20_260_101
VOCABULARY = 512
HIDDEN = 128  # 4 heads of 32: the smallest head size vLLM's CPU attention kernels take
LAYERS = 2
HEADS = 4
CONTEXT = 8192
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = (
    "the of and to in is was for that it with as on be at by this from or an are not which but have they you were all "
    "their one what there when can more if no out so said up its about into than them only other time new some could "
    "these two may first then do any like my now over such our man me even most made after also did many fore must "
    "through back years where much your way well down should because long each just state those people too how little"
)


def make(folder: Path, report: Report) -> None:
    """Write weights, tokenizer and configs to ``folder``."""
    report("making the tiny random model (once)")
    import torch
    from safetensors.torch import save_file

    write_tokenizer(folder)
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape: int, scale: float = 0.05) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(torch.float32)

    head_size = HIDDEN // HEADS
    weights = {
        "model.embed_tokens.weight": normal(VOCABULARY, HIDDEN, scale=1.0),
        "model.norm.weight": torch.ones(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name, rows in (("q", HIDDEN), ("k", 2 * head_size), ("v", 2 * head_size), ("o", HIDDEN)):
            weights[f"{prefix}.self_attn.{name}_proj.weight"] = normal(rows, HIDDEN)
        weights[f"{prefix}.mlp.gate_proj.weight"] = normal(4 * HIDDEN, HIDDEN)
        weights[f"{prefix}.mlp.up_proj.weight"] = normal(4 * HIDDEN, HIDDEN)
        weights[f"{prefix}.mlp.down_proj.weight"] = normal(HIDDEN, 4 * HIDDEN)
        weights[f"{prefix}.input_layernorm.weight"] = torch.ones(HIDDEN)
        weights[f"{prefix}.post_attention_layernorm.weight"] = torch.ones(HIDDEN)
    head = normal(VOCABULARY, HIDDEN, scale=1.0)
    # A zero row gives logit 0, far below the preferred token's: no special token, no byte that is half a character.
    head[_silent_tokens(folder)] = 0
    weights["lm_head.weight"] = head
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": head_size,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer of 512 tokens, with a chat template, to ``folder``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {WORDS}"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def _silent_tokens(folder: Path) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known = tokenizer.get_vocab_size()
    heard = {
        token
        for token in range(len(SPECIAL), known)
        if (text := tokenizer.decode([token])).isascii() and text.isprintable()
    }
    return [token for token in range(VOCABULARY) if token not in heard]
