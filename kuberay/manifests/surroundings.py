"""What stands beside a service's RayService: account, rights, budgets, network policy, monitoring. Pure."""

from __future__ import annotations

from typing import Any

from kuberay.config import Service
from kuberay.manifests.pods import AGENT_PORT, labels, pods_per_replica
from kuberay.manifests.rayservice import Json
from kuberay.names import DASHBOARD_PORT, INSTANCE_LABEL, SERVE_PORT
from serve_app import decision


def metadata(service: Service, name: str) -> Json:
    """Of an object of the service."""
    return {"name": name, "namespace": service.kubernetes.namespace, "labels": labels(service)}


def service_account(service: Service) -> Json:
    """The pods' account."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(service, service.name)}


def gate_rights(service: Service) -> list[Json]:
    """What the gate reads: the decisions about releases, which cluster serves, and which pods are ready."""
    name = f"{service.name}-gate"
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [decision.config_map(service.name)]},
        {"apiGroups": ["ray.io"], "resources": ["rayservices"], "resourceNames": [service.name]},
    ]
    role: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(service, name),
        "rules": [
            *(rule | {"verbs": ["get"]} for rule in rules),
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ],
    }
    account = service.kubernetes.service_account or service.name
    binding: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(service, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": service.kubernetes.namespace}],
    }
    return [role, binding]


def disruption_budgets(service: Service) -> list[Json]:
    """Budgets in absolute numbers: KubeRay's clusters have no scale subresource, which percentages would need."""
    low = service.config.scaling.min_replicas * pods_per_replica(service)
    wanted = {"head": 1, "worker": max(1, low - 1)} if low else {"head": 1}
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(service, f"{service.name}-{role}"),
            "spec": {"minAvailable": least, "selector": {"matchLabels": _selector(service, role)}},
        }
        for role, least in wanted.items()
    ]


def _selector(service: Service, role: str | None = None) -> dict[str, str]:
    selector = {INSTANCE_LABEL: service.name, "app.kubernetes.io/name": "switchyard"}
    return selector | {"switchyard.dev/role": role} if role else selector


def network_policy(service: Service) -> Json:
    """Who may reach the pods."""
    policy = service.kubernetes.network_policy

    def namespaces(*names: str) -> list[Json]:
        if not names:
            return []
        values = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(names)}
        return [{"namespaceSelector": {"matchExpressions": [values]}}]

    def ports(*numbers: int) -> list[Json]:
        return [{"port": number, "protocol": "TCP"} for number in numbers]

    clients = policy.client_namespaces
    rules: list[dict[str, Any]] = [
        {"from": [{"podSelector": {"matchLabels": _selector(service)}}]},
        # The operator asks the dashboard and the head's proxy; the API server's proxy goes through kube-system.
        {
            "from": namespaces(policy.operator_namespace, "kube-system"),
            "ports": ports(DASHBOARD_PORT, SERVE_PORT, AGENT_PORT),
        },
        {"from": namespaces(*policy.monitoring_namespaces), "ports": ports(8080, 9101)},
        {"ports": ports(SERVE_PORT)} | ({} if clients is None else {"from": namespaces(*clients)}),
    ]
    # Nobody is named: the rule is left out. To Kubernetes an empty "from" would mean everybody.
    rules = [rule for rule in rules if rule.get("from") != []]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(service, service.name),
        "spec": {
            "podSelector": {"matchLabels": _selector(service)},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def pod_monitoring(service: Service) -> list[Json]:
    """What Google's managed Prometheus reads."""
    endpoints = [{"port": port, "interval": "15s"} for port in ("metrics", "haproxy")]
    return [
        {
            "apiVersion": "monitoring.googleapis.com/v1",
            "kind": "PodMonitoring",
            "metadata": metadata(service, service.name),
            "spec": {"selector": {"matchLabels": _selector(service)}, "endpoints": endpoints},
        }
    ]
