"""The class that :mod:`serve_app.cpu_platform` registers; apart from it, as a plugin must not import vLLM's platforms."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class CpuOverRay(CpuPlatform):
    """CPU workers, counted by Ray as if each had a GPU."""

    ray_device_key = "GPU"
