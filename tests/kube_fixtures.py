"""Kubernetes objects as a GKE cluster with KubeRay has them, in any number, and a server full of them."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.fake_kubernetes import Reply, Request

HASH = "6b0f1a9e2c"


def managed(manager: str, bulk: int) -> list[dict[str, Any]]:
    """What server-side apply keeps, about as large as in reality."""
    fields = {f"f:field{number}": {} for number in range(bulk)}
    return [{"manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": fields}}]


def metadata(name: str, namespace: str, labels: dict[str, str], bulk: int = 60) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-22T06:00:00Z",
        "labels": labels,
        "managedFields": managed("switchyard", bulk),
    }


def pod(namespace: str, cluster: str, name: str, node_type: str) -> dict[str, Any]:
    """A running Ray pod."""
    labels = {
        "ray.io/cluster": cluster,
        "ray.io/node-type": node_type,
        "ray.io/group": f"{node_type}group",
        "ray.io/is-ray-node": "yes",
        "app.kubernetes.io/instance": cluster.rpartition("-")[0],
    }
    env = [{"name": f"RAY_SETTING_{number}", "value": f"value-{number}" * 2} for number in range(40)]
    mounts = [{"name": f"volume-{number}", "mountPath": f"/mnt/{number}"} for number in range(4)]
    container = {
        "name": f"ray-{node_type}",
        "image": "us-docker.pkg.dev/project/switchyard/serve:0.1.0",
        "command": ["/bin/bash", "-c", "--"],
        "args": ["ulimit -n 65536; ray start --block --dashboard-agent-listen-port=52365 --metrics-export-port=8080"],
        "env": env,
        "resources": {"limits": {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "1"}},
        "volumeMounts": mounts,
        "readinessProbe": {"httpGet": {"path": "/-/healthz", "port": 8000}},
    }
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-11-22T06:01:00Z"}
        for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers")
    ]
    state = {"running": {"startedAt": "2026-11-22T06:00:30Z"}}
    status = {"name": container["name"], "ready": True, "restartCount": 0, "state": state, "image": container["image"]}
    return {
        "metadata": metadata(name, namespace, labels, 90),
        "spec": {"containers": [container], "nodeName": "gke-pool-1", "volumes": [{"name": "v", "emptyDir": {}}] * 4},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": [status]},
    }


def ray_service(namespace: str, name: str) -> dict[str, Any]:
    """A RayService that serves."""
    template = {"spec": {"containers": [{"name": "ray", "image": "x", "env": [{"name": "A", "value": "b"}] * 40}]}}
    groups = [{"groupName": "gpu", "replicas": 1, "minReplicas": 1, "maxReplicas": 4, "template": template}]
    spec = {"rayClusterConfig": {"headGroupSpec": {"template": template}, "workerGroupSpecs": groups}}
    applications = {"llm": {"status": "RUNNING", "serveDeploymentStatuses": {"LLM": {"status": "HEALTHY"}}}}
    active = {"rayClusterName": f"{name}-{HASH}", "applicationStatuses": applications}
    conditions = [{"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints"}]
    status = {"activeServiceStatus": active, "conditions": conditions, "numServeEndpoints": 9}
    return {"metadata": metadata(name, namespace, {"app.kubernetes.io/instance": name}), "spec": spec, "status": status}


def ray_cluster(namespace: str, service: str) -> dict[str, Any]:
    """Its RayCluster."""
    name = f"{service}-{HASH}"
    inner = ray_service(namespace, service)["spec"]["rayClusterConfig"]
    about = metadata(name, namespace, {"ray.io/originated-from-cr-name": service})
    return {"metadata": about, "spec": inner, "status": {"state": "ready", "readyWorkerReplicas": 9}}


class Fleet:
    """Answers lists of many services, each with one cluster and ``pods`` pods, from pages that are ready to be sent."""

    def __init__(self, services: int, pods: int, page: int = 500) -> None:
        names = [f"llm-{number}" for number in range(services)]
        clusters = [f"{name}-{HASH}" for name in names]
        kinds = ["head", *["worker"] * (pods - 1)]
        # Made once and filled in as text: ten thousand times json.dumps would take longer than the test.
        shapes = {kind: _text(pod("prod", "@cluster-x", "@cluster-@number", kind)) for kind in set(kinds)}
        self._pages = {
            "rayservices": _pages([_text(ray_service("prod", name)) for name in names], page),
            "rayclusters": _pages([_text(ray_cluster("prod", name)) for name in names], page),
            "pods": _pages(
                [
                    shapes[kind].replace("@cluster-x", cluster).replace("@cluster-@number", f"{cluster}-{number}")
                    for cluster in clusters
                    for number, kind in enumerate(kinds)
                ],
                page,
            ),
        }
        self.pod_bytes = sum(len(gzip.decompress(one)) for one in self._pages["pods"])

    def __call__(self, request: Request) -> Reply:
        pages = self._pages[request.path.rpartition("/")[2]]
        return Reply(pages[int(request.query.get("continue", "0"))], headers={"Content-Encoding": "gzip"})


def _text(item: dict[str, Any]) -> str:
    return json.dumps(item, separators=(",", ":"))


def _pages(items: list[str], size: int) -> list[bytes]:
    made = []
    for at in range(0, len(items), size):
        more = {"continue": str(at // size + 1)} if at + size < len(items) else {}
        about = _text({"resourceVersion": "1", **more})
        body = f'{{"kind":"List","metadata":{about},"items":[{",".join(items[at : at + size])}]}}'
        made.append(gzip.compress(body.encode(), 1))
    return made
