"""What is written for a rollout's steps: patches of the RayService's status, a pace, the preview. Pure."""

from __future__ import annotations

from kuberay.manifests.rayservice import Json, owned_by
from kuberay.names import CLUSTER_LABEL, SERVE_LABEL, SERVE_PORT, ours
from kuberay.rollout.seen import Pace
from kuberay.rollout.steps import Nudge


def nudge(step: Nudge) -> list[Json]:
    """A JSON patch that has KubeRay make one step: its tests keep it from a second step, and one of another rollout."""
    which = "active" if step.cluster == step.active else "pending"
    expected = {
        "activeServiceStatus/rayClusterName": step.active,
        "pendingServiceStatus/rayClusterName": step.pending,
        "pendingServiceStatus/trafficRoutedPercent": step.traffic,
    }
    return [
        *({"op": "test", "path": f"/status/{path}", "value": value} for path, value in expected.items()),
        {"op": "remove", "path": f"/status/{which}ServiceStatus/lastTrafficMigratedTime"},
    ]


def point(cluster: str, active: str) -> list[Json]:
    """A JSON patch that names the pending cluster, or none: its test keeps it from undoing a switch of this moment."""
    status = "/status/activeServiceStatus/rayClusterName"
    change: list[Json] = [{"op": "test", "path": status, "value": active}] if active else []
    path = "/status/pendingServiceStatus"
    named: Json = {"op": "add", "path": path, "value": {"rayClusterName": cluster}}
    return [*change, named if cluster else {"op": "remove", "path": path}]


def paced(strategy: Json, pace: Pace | None) -> Json:
    """An incremental upgrade strategy with another pace than its own. A step above the surge is not allowed."""
    options = strategy.get("clusterUpgradeOptions") or {}
    if pace is None or not options:
        return strategy
    step_of = min(pace.step, options.get("maxSurgePercent", pace.step))
    changed = {"stepSizePercent": step_of, "intervalSeconds": pace.interval_s}
    return {**strategy, "clusterUpgradeOptions": {**options, **changed}}


def preview_name(service: str) -> str:
    """Name of the Service on the pods of a release that is held."""
    return f"{service}-preview"


def preview(service: str, namespace: str, cluster: str, uid: str) -> Json:
    """The Service on the pods of a release that is held."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": preview_name(service),
            "namespace": namespace,
            "labels": ours(service),
            "ownerReferences": [owned_by(cluster, uid)],
        },
        "spec": {
            "selector": {CLUSTER_LABEL: cluster, SERVE_LABEL: "true"},
            "ports": [{"name": "serve", "port": SERVE_PORT, "targetPort": SERVE_PORT}],
        },
    }
