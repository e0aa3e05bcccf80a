"""The cluster's entry in a kubeconfig, as ``gcloud container clusters get-credentials`` writes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from cluster.config import ClusterConfig
from cluster.errors import ConfigError

PLUGIN = "gke-gcloud-auth-plugin"


def context_name(config: ClusterConfig) -> str:
    """gcloud's name, so that the two tools agree."""
    return f"gke_{config.project}_{config.location}_{config.name}"


def merged(existing: Any, config: ClusterConfig, endpoint: str) -> dict[str, Any]:
    """The kubeconfig with this cluster in it and current; everything else as it was.

    Raises:
        ConfigError: what is there is no kubeconfig.
    """
    if existing is None:
        existing = {}
    if not isinstance(existing, Mapping):
        raise ConfigError("The kubeconfig that is there is not a mapping; it is left alone. Give another file: --to")
    name = context_name(config)
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": PLUGIN,
            "installHint": f"Install {PLUGIN}: gcloud components install {PLUGIN}",
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": True,
        }
    }
    before = cast("Mapping[str, Any]", existing)
    result: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **before}
    for section, key, value in (
        ("clusters", "cluster", {"server": f"https://{endpoint}"}),
        ("users", "user", user),
        ("contexts", "context", {"cluster": name, "user": name, "namespace": config.namespace}),
    ):
        entries: list[dict[str, Any]] = result.get(section) or []
        others = [item for item in entries if item.get("name") != name]
        result[section] = [*others, {"name": name, key: value}]
    result["current-context"] = name
    return result
