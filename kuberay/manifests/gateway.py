"""What the incremental strategy stands on: KubeRay's Gateway and route, and what GKE has to be told of each Service.

Pure. KubeRay makes a Service for each cluster. GKE's load balancer checks a Service's health by ``GET /``, which a
Serve application need not answer, and ends answers after 30 seconds, unless it is told otherwise, Service by Service.
"""

from __future__ import annotations

from kuberay.manifests.rayservice import Json, owned_by
from kuberay.names import ours

GKE_CLASSES = "gke-l7-"
"""What the names of GKE's GatewayClasses begin with."""
HEALTH = "/-/healthz"
MOST_DRAIN_S = 3600
"""The most that the load balancer takes for ``drainingTimeoutSec``."""
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
"""On what an implementation makes for one Gateway (GEP-1762)."""
PORT = 80
"""Of KubeRay's Gateway, always."""


def gateway_name(service: str) -> str:
    """The Gateway of a RayService, as KubeRay calls it."""
    return f"{service}-gateway"


def route_name(service: str) -> str:
    """The HTTPRoute of a RayService, as KubeRay calls it."""
    return f"{service}-httproute"


def cluster_service(cluster: str) -> str:
    """The Service of one RayCluster, as KubeRay calls it."""
    return f"{cluster}-serve-svc"


def policies(service: str, namespace: str, cluster: str, uid: str, longest_s: float) -> list[Json]:
    """What GKE is to know of a cluster before that gets traffic; it belongs to the RayCluster, and goes with it.

    Args:
        uid: of the RayCluster.
        longest_s: the longest answer.
    """
    target = {"group": "", "kind": "Service", "name": cluster_service(cluster)}
    health = {
        "checkIntervalSec": 5,
        "timeoutSec": 5,
        "healthyThreshold": 1,
        "unhealthyThreshold": 2,
        "config": {
            "type": "HTTP",
            "httpHealthCheck": {"portSpecification": "USE_SERVING_PORT", "requestPath": HEALTH},
        },
    }
    seconds = int(longest_s) + 1
    backend = {
        "timeoutSec": seconds,
        "connectionDraining": {"drainingTimeoutSec": min(seconds, MOST_DRAIN_S)},
    }
    return [
        {
            "apiVersion": "networking.gke.io/v1",
            "kind": kind,
            "metadata": {
                "name": cluster_service(cluster),
                "namespace": namespace,
                "labels": ours(service),
                "ownerReferences": [owned_by(cluster, uid)],
            },
            "spec": {"default": settings, "targetRef": target},
        }
        for kind, settings in (("HealthCheckPolicy", health), ("GCPBackendPolicy", backend))
    ]
