"""Kubernetes objects that a service needs beside its RayService, and where the API server has each kind. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cluster.config import ClusterConfig
from cluster.model import labels_of

FIELD_MANAGER = "switchyard"

_PATHS: dict[str, tuple[str, str, bool]] = {
    # kind -> API root, plural, whether it is in a namespace
    "Namespace": ("/api/v1", "namespaces", False),
    "Service": ("/api/v1", "services", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Secret": ("/api/v1", "secrets", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "CronJob": ("/apis/batch/v1", "cronjobs", True),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "StorageClass": ("/apis/storage.k8s.io/v1", "storageclasses", False),
    "PodMonitoring": ("/apis/monitoring.googleapis.com/v1", "podmonitorings", True),
    "RayService": ("/apis/ray.io/v1", "rayservices", True),
}


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """The API server's path of a kind, of one namespace, of one object."""
    root, plural, namespaced = _PATHS[kind]
    place = f"/namespaces/{namespace}" if namespaced and namespace else ""
    return f"{root}{place}/{plural}{f'/{name}' if name else ''}"


def path_of_object(item: Mapping[str, Any]) -> str:
    """The path of this object."""
    return path_of(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])


def objects(config: ClusterConfig, token: str) -> list[dict[str, Any]]:
    """Namespace, service account bound to Google's, the token's secret, monitoring, storage class.

    Args:
        token: the Hugging Face token; empty: the secret is left alone.
    """
    labels, namespace = labels_of(config.name), config.namespace
    items: list[dict[str, Any]] = []
    if namespace != "default":
        items.append(_item("v1", "Namespace", {"name": namespace, "labels": labels}))
    account = {
        "name": config.service_account,
        "namespace": namespace,
        "labels": labels,
        "annotations": {"iam.gke.io/gcp-service-account": config.workload_email},
    }
    items.append(_item("v1", "ServiceAccount", account))
    if token:
        meta = {"name": config.hf_secret, "namespace": namespace, "labels": labels}
        data = {config.hf_secret_key: base64.b64encode(token.encode()).decode()}
        items.append({**_item("v1", "Secret", meta), "type": "Opaque", "data": data})
    if config.hyperdisk_ml:
        meta = {"name": "switchyard-weights", "labels": labels}
        items.append(
            {
                **_item("storage.k8s.io/v1", "StorageClass", meta),
                "provisioner": "pd.csi.storage.gke.io",
                "parameters": {"type": "hyperdisk-ml", "provisioned-throughput-on-create": "2400Mi"},
                "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": "Delete",
                "allowVolumeExpansion": True,
            }
        )
    items.append(_scrape(labels, namespace, "switchyard-ray", {"ray.io/is-ray-node": "yes"}, "metrics"))
    if config.ray_operator == "kuberay":
        operator = {"app.kubernetes.io/component": "kuberay-operator"}
        items.append(_scrape(labels, "kuberay-operator", "switchyard-kuberay", operator, "http"))
    return items


def _scrape(labels: Any, namespace: str, name: str, selector: dict[str, str], port: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": labels}
    spec = {"selector": {"matchLabels": selector}, "endpoints": [{"port": port, "interval": "30s"}]}
    return {**_item("monitoring.googleapis.com/v1", "PodMonitoring", meta), "spec": spec}


def _item(version: str, kind: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
