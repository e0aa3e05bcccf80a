"""GPU machines: what a machine type contains. Pure. Where they exist is asked of the API, never kept here.

The shapes are Google's published ones (Compute Engine, "GPU machine types", read 2026-11); a machine type's shape never
changes. The accelerator names are the values of the node label ``cloud.google.com/gke-accelerator``.
"""

from __future__ import annotations

from dataclasses import dataclass

ACCELERATOR_LABEL = "cloud.google.com/gke-accelerator"
SPOT_LABEL = "cloud.google.com/gke-spot"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}


@dataclass(frozen=True)
class Machine:
    """A machine type.

    Attributes:
        accelerator: GKE's accelerator label; empty for machines without GPUs.
        gpus: how many.
        vcpus: virtual CPUs.
        memory_gb: GiB of memory.
        family: the price family (``g2``, ``a2``, ...).
        local_ssds: local SSDs that come with it and are part of its price, 375 GiB each.
        optional_ssds: numbers of local SSDs it can be given.
        boot_disk: the boot disk type it takes.
        rdma: needs GKE's automatic accelerator network profile for its RDMA NICs.
    """

    accelerator: str
    gpus: int
    vcpus: int
    memory_gb: float
    family: str
    local_ssds: int = 0
    optional_ssds: tuple[int, ...] = ()
    boot_disk: str = "pd-balanced"
    rdma: bool = False


_L4, _A100, _A100_80, _H100, _H200 = (
    "nvidia-l4",
    "nvidia-tesla-a100",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
)

GPU_MACHINES: dict[str, Machine] = {
    "g2-standard-4": Machine(_L4, 1, 4, 16, "g2", optional_ssds=(1,)),
    "g2-standard-8": Machine(_L4, 1, 8, 32, "g2", optional_ssds=(1,)),
    "g2-standard-12": Machine(_L4, 1, 12, 48, "g2", optional_ssds=(1,)),
    "g2-standard-16": Machine(_L4, 1, 16, 64, "g2", optional_ssds=(1,)),
    "g2-standard-24": Machine(_L4, 2, 24, 96, "g2", optional_ssds=(2,)),
    "g2-standard-32": Machine(_L4, 1, 32, 128, "g2", optional_ssds=(1,)),
    "g2-standard-48": Machine(_L4, 4, 48, 192, "g2", optional_ssds=(4,)),
    "g2-standard-96": Machine(_L4, 8, 96, 384, "g2", optional_ssds=(8,)),
    "a2-highgpu-1g": Machine(_A100, 1, 12, 85, "a2", optional_ssds=(1, 2, 4, 8)),
    "a2-highgpu-2g": Machine(_A100, 2, 24, 170, "a2", optional_ssds=(2, 4, 8)),
    "a2-highgpu-4g": Machine(_A100, 4, 48, 340, "a2", optional_ssds=(4, 8)),
    "a2-highgpu-8g": Machine(_A100, 8, 96, 680, "a2", optional_ssds=(8,)),
    "a2-megagpu-16g": Machine(_A100, 16, 96, 1360, "a2", optional_ssds=(8,)),
    "a2-ultragpu-1g": Machine(_A100_80, 1, 12, 170, "a2", local_ssds=1),
    "a2-ultragpu-2g": Machine(_A100_80, 2, 24, 340, "a2", local_ssds=2),
    "a2-ultragpu-4g": Machine(_A100_80, 4, 48, 680, "a2", local_ssds=4),
    "a2-ultragpu-8g": Machine(_A100_80, 8, 96, 1360, "a2", local_ssds=8),
    "a3-highgpu-1g": Machine(_H100, 1, 26, 234, "a3", local_ssds=2),
    "a3-highgpu-2g": Machine(_H100, 2, 52, 468, "a3", local_ssds=4),
    "a3-highgpu-4g": Machine(_H100, 4, 104, 936, "a3", local_ssds=8),
    "a3-highgpu-8g": Machine(_H100, 8, 208, 1872, "a3", local_ssds=16),
    "a3-ultragpu-8g": Machine(_H200, 8, 224, 2952, "a3ultra", local_ssds=32, boot_disk="hyperdisk-balanced", rdma=True),
}

SYSTEM_MACHINES: dict[str, Machine] = {
    "e2-standard-2": Machine("", 0, 2, 8, "e2"),
    "e2-standard-4": Machine("", 0, 4, 16, "e2"),
    "e2-standard-8": Machine("", 0, 8, 32, "e2"),
    "n2-standard-4": Machine("", 0, 4, 16, "n2"),
    "n2-standard-8": Machine("", 0, 8, 32, "n2"),
}


def machine(name: str) -> Machine:
    """The machine type called ``name``.

    Raises:
        KeyError: not in the tables.
    """
    return GPU_MACHINES[name] if name in GPU_MACHINES else SYSTEM_MACHINES[name]


def machines_with(accelerator: str, gpus: int | None = None) -> list[str]:
    """Machine types with this accelerator, smallest first; with exactly ``gpus`` of them where given."""
    return [
        name
        for name, shape in sorted(GPU_MACHINES.items(), key=lambda item: (item[1].gpus, item[1].vcpus))
        if shape.accelerator == accelerator and gpus in (None, shape.gpus)
    ]


def quota_metric(accelerator: str, *, spot: bool) -> str:
    """Compute Engine's regional quota metric for an accelerator, as ``regions.list`` names it (``NVIDIA_L4_GPUS``)."""
    name = {
        _L4: "NVIDIA_L4_GPUS",
        _A100: "NVIDIA_A100_GPUS",
        _A100_80: "NVIDIA_A100_80GB_GPUS",
        _H100: "NVIDIA_H100_GPUS",
        _H200: "NVIDIA_H200_GPUS",
    }[accelerator]
    return f"PREEMPTIBLE_{name}" if spot else name


def quota_family(accelerator: str) -> str:
    """The ``gpu_family`` dimension of Cloud Quotas' ``GPUS-PER-GPU-FAMILY-per-project-region``."""
    return quota_metric(accelerator, spot=False).removesuffix("_GPUS")
