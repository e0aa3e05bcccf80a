"""GPUs by the name Ray gives them: how GKE labels their nodes, and what a pod gets beside one. Pure.

Shares are those of the GKE machine types named beside them, less what the kubelet and system pods keep for
themselves, so that pods with all of a machine's GPUs fit it. Sources: cloud.google.com/compute/docs/gpus and
cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

GPU_RESOURCE = "nvidia.com/gpu"
GKE_ACCELERATOR_LABEL = "cloud.google.com/gke-accelerator"
GKE_SPOT_LABEL = "cloud.google.com/gke-spot"


@dataclass(frozen=True)
class Accelerator:
    """A kind of GPU.

    Attributes:
        gke: value of the node label ``cloud.google.com/gke-accelerator``.
        cpu: CPUs a pod asks for with each GPU.
        memory_gib: main memory a pod asks for with each GPU, GiB.
        per_node: most GPUs one machine has.
    """

    gke: str
    cpu: int
    memory_gib: int
    per_node: int


ACCELERATORS: dict[str, Accelerator] = {
    "T4": Accelerator("nvidia-tesla-t4", 6, 20, 4),  # n1-standard-8
    "L4": Accelerator("nvidia-l4", 6, 24, 8),  # g2-standard-8
    "A100": Accelerator("nvidia-tesla-a100", 10, 70, 16),  # a2-highgpu-1g
    "A100-80G": Accelerator("nvidia-a100-80gb", 10, 140, 8),  # a2-ultragpu-1g
    "H100": Accelerator("nvidia-h100-80gb", 24, 200, 8),  # a3-highgpu-1g
    "H200": Accelerator("nvidia-h200-141gb", 26, 330, 8),  # a3-ultragpu-8g
}
