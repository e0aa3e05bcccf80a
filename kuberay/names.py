"""Names, labels and ports by which the objects of a service are found. Pure."""

from __future__ import annotations

INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Ours, on everything that is made for a service; its value is the service's name."""
MANAGED_LABEL = "app.kubernetes.io/managed-by"
RELEASE = "switchyard.dev/release"
"""Ours: a label on pods and ConfigMaps, an annotation on the RayService, which KubeRay hands on to its RayClusters."""
SERVICE_LABEL = "ray.io/originated-from-cr-name"
CLUSTER_LABEL = "ray.io/cluster"
NODE_TYPE_LABEL = "ray.io/node-type"
GROUP_LABEL = "ray.io/group"
SERVE_LABEL = "ray.io/serve"
"""KubeRay's, ``"true"`` on the pods whose proxy is ready: what the serve Service selects."""
GATE = "gate"
"""The Serve application without a route that stays DEPLOYING while an upgrade is held; see serve_app/gate.py."""
INCREMENTAL = "NewClusterWithIncrementalUpgrade"
"""The upgrade strategy that moves traffic by steps, through a Gateway."""
SERVE_PORT = 8000
DASHBOARD_PORT = 8265


def ours(service: str) -> dict[str, str]:
    """Labels of everything that is made for a service."""
    return {INSTANCE_LABEL: service, MANAGED_LABEL: "switchyard"}


def selector(service: str) -> str:
    """Selects everything that was made for a service."""
    return ",".join(f"{key}={value}" for key, value in ours(service).items())


def release_name(service: str, release: str) -> str:
    """Name of the ConfigMap that carries a release's configuration."""
    return f"{service}-release-{release}"


def suspended_name(service: str) -> str:
    """Name of the ConfigMap that a service is kept as while it is suspended; see :attr:`Snapshot.put_away`."""
    return f"{service}-suspended"
