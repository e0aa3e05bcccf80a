"""The kinds of Kubernetes objects this package knows, and where the API server keeps them. Pure.

A fixed table instead of discovery: discovery costs two requests a command and more rights than some users have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kuberay.errors import ConfigError


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        version: ``group/version`` as in an object's ``apiVersion``; the core group has no ``group/``.
        name: as in an object's ``kind``.
        plural: as in URLs and in RBAC rules.
        namespaced: False for kinds that belong to the whole cluster.
    """

    version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """As kubectl and RBAC messages name it, e.g. ``rayservices.ray.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of one object, or of one object's subresource. No namespace: all of them."""
        parts = ["apis" if self.group else "api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts += [self.plural, *([quote(name, safe="")] if name else []), *([subresource] if subresource else [])]
        return "/" + "/".join(parts)


RAYSERVICE = Kind("ray.io/v1", "RayService", "rayservices")
RAYCLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters")
RAYJOB = Kind("ray.io/v1", "RayJob", "rayjobs")
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
ENDPOINTSLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
CONFIGMAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("v1", "Event", "events")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
LIMITRANGE = Kind("v1", "LimitRange", "limitranges")
SERVICEACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
PDB = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
JOB = Kind("batch/v1", "Job", "jobs")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLEBINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
CLUSTERROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTERROLEBINDING = Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
NETWORKPOLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
PODMONITORING = Kind("monitoring.googleapis.com/v1", "PodMonitoring", "podmonitorings")
GATEWAYCLASS = Kind("gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses", namespaced=False)
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
HEALTH_CHECK_POLICY = Kind("networking.gke.io/v1", "HealthCheckPolicy", "healthcheckpolicies")
BACKEND_POLICY = Kind("networking.gke.io/v1", "GCPBackendPolicy", "gcpbackendpolicies")
HTTPROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
ACCESS_REVIEW = Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.version, kind.name): kind for kind in list(globals().values()) if isinstance(kind, Kind)
}


def kind_of(item: Mapping[str, Any]) -> Kind:
    """The kind of an object.

    Raises:
        ConfigError: a kind that is not in the table.
    """
    version, name = item.get("apiVersion", ""), item.get("kind", "")
    try:
        return KINDS[version, name]
    except KeyError:
        raise ConfigError(f"Switchyard does not handle objects of the kind {name!r} in {version!r}.") from None
