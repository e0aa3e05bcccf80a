"""The class :mod:`serve_app.cpu_platform` registers; apart from it, since asking a plugin must import nothing heavy."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class CpuOverRay(CpuPlatform):
    """CPU workers, counted by Ray as if each had a GPU."""

    ray_device_key = "GPU"
