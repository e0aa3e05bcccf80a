"""The model of Gemma's shape, made small: what transformers makes of it, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.gemma_random import CONFIG, make

SMALL: dict[str, Any] = {
    **CONFIG,
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 10,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, said = tmp_path_factory.mktemp("gemma"), list[str]()
    make(folder, said.append, SMALL)
    assert len(said) == 3, "one line a file"
    return folder


def test_it_has_the_weights_that_transformers_expects(folder: Path) -> None:
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    shapes: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            shapes |= {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118, it is no dict
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    expected = {name: list(value.shape) for name, value in model.state_dict().items() if name != "lm_head.weight"}
    assert shapes == expected


def test_every_token_it_can_say_is_text_and_asking_uses_the_small_part(folder: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == SMALL["vocab_size"]
    assert all(tokenizer.decode([number], skip_special_tokens=False) for number in range(512, SMALL["vocab_size"]))
    words = " the of and to in w599 is was"
    numbers = tokenizer.encode(words).ids
    assert max(numbers) < 512 and tokenizer.decode(numbers) == words


def test_no_token_ends_an_answer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"] is None
