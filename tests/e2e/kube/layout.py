"""Where the local cluster keeps its files, and which names and addresses it uses. Pure."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "switchyard" / "kube"
BINARIES = CACHE / "bin"
IMAGES = CACHE / "images"
CONTAINERD = CACHE / "containerd"
"""Containerd's images, which stay from one cluster to the next. Everything else of a cluster is below :data:`RUN`."""

RUN = CACHE / "run"
LOGS = RUN / "logs"
KUBECONFIG = RUN / "kubeconfig"
STATE = RUN / "state.json"

SOCKET = "/run/containerd/containerd.sock"
"""In the node's own mount namespace."""

NODE = "switchyard"
CGROUP = "switchyard"
INTERFACE = "switchyard0"
"""The machine's end of the cable to the node. The other end is the node's eth0."""

# One range for all, so that the machine needs one route. It exists between machine and node only.
RANGE = "10.213.0.0/16"
MACHINE_ADDRESS = "10.213.0.1"
NODE_ADDRESS = "10.213.0.2"
POD_RANGE = "10.213.64.0/18"
SERVICE_RANGE = "10.213.128.0/20"
API_SERVICE = "10.213.128.1"
DNS_SERVICE = "10.213.128.10"
GATEWAY_SERVICE = "10.213.128.20"
API_PORT = 6443
DOMAIN = "cluster.local"

GPUS = 8
NODE_LABELS = {
    "cloud.google.com/gke-accelerator": "nvidia-l4",
    "cloud.google.com/gke-nodepool": "local",
    "topology.kubernetes.io/region": "local",
    "topology.kubernetes.io/zone": "local-a",
}
