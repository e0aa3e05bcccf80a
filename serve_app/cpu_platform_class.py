"""The class :mod:`serve_app.cpu_platform` registers; apart from it, since asking a plugin must import nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.platforms.cpu import CpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class OurCpuPlatform(CpuPlatform):
    """CPU workers, counted by Ray as if each had a GPU, that need no C++ compiler for what vLLM compiles aside."""

    ray_device_key = "GPU"
    # Log-probabilities, for one, are ranked in a compiled function even with enforce_eager
    # (vllm/v1/sample/ops/logprobs.py): without a compiler the first request for some would end the engine.
    simple_compile_backend = "eager"

    @classmethod
    def check_and_update_config(cls, vllm_config: VllmConfig) -> None:
        """As vLLM's, but a single worker lives in the engine's own process.

        vLLM gives it a process of its own, to set OpenMP's environment there: `thread_binding` sets it for both. What
        they would say to each other over shared memory costs more than a small model's step: each of the two polls for
        a second after every message, and on few cores that second is what somebody's first token waits for.
        """
        parallel = vllm_config.parallel_config
        alone = parallel.distributed_executor_backend == "uni"
        super().check_and_update_config(vllm_config)
        if alone:
            parallel.distributed_executor_backend = "uni"
