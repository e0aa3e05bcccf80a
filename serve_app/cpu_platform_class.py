"""The class :mod:`serve_app.cpu_platform` registers; apart from it, since asking a plugin must import nothing heavy."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class OurCpuPlatform(CpuPlatform):
    """CPU workers, counted by Ray as if each had a GPU, that need no C++ compiler for what vLLM compiles aside."""

    ray_device_key = "GPU"
    # Log-probabilities, for one, are ranked in a compiled function even with enforce_eager
    # (vllm/v1/sample/ops/logprobs.py): without a compiler the first request for some would end the engine.
    simple_compile_backend = "eager"
