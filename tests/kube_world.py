"""An API server with one service on it, for tests of what looks at it."""

from __future__ import annotations

import base64
from typing import Any

from tests.fake_kubernetes import Reply, Request, status
from tests.kube_fixtures import HASH, pod, ray_cluster, ray_service

CLUSTER = f"llm-{HASH}"
REPORT = {
    "applications": {
        "llm": {
            "status": "DEPLOY_FAILED",
            "deployments": {
                "LLM": {
                    "replicas": [
                        {"replica_id": "r1", "state": "RUNNING", "actor_id": "a1"},
                        {"replica_id": "r2", "state": "STARTING", "actor_id": "a2"},
                    ]
                }
            },
        }
    }
}


class World:
    """A namespace with one service, whose head runs and whose worker crashes."""

    def __init__(self) -> None:
        head = pod("prod", CLUSTER, f"{CLUSTER}-head", "head")
        worker = pod("prod", CLUSTER, f"{CLUSTER}-worker", "worker")
        worker["status"]["containerStatuses"][0] |= {
            "ready": False,
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1}},
        }
        hf = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "hf_api_token"}}}
        service = ray_service("prod", "llm")
        service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"] = [hf]
        cluster = ray_cluster("prod", "llm")
        cluster["spec"]["authOptions"] = {"mode": "token", "secretName": "ray-token"}
        self.service = service
        self.lists: dict[str, list[dict[str, Any]]] = {
            "rayservices": [service],
            "rayclusters": [cluster],
            "pods": [head, worker],
        }
        self.secrets = {"ray-token": {"auth_token": base64.b64encode(b"t0k3n").decode()}}
        self.refused: set[str] = set()
        self.dashboard: list[Request] = []
        self.report: dict[str, Any] = REPORT

    def __call__(self, request: Request) -> Reply:
        parts = request.path.strip("/").split("/")
        if any(part in self.refused for part in parts):
            return status(403, "Forbidden", 'User "me" cannot list resource')
        if "proxy" in parts:
            return self._proxied(request)
        if request.path.endswith("/rayservices/llm"):
            return Reply({"apiVersion": "ray.io/v1", "kind": "RayService", **self.service})
        if parts[-2:-1] == ["rayservices"]:
            return status(404, "NotFound", f'rayservices.ray.io "{parts[-1]}" not found', name=parts[-1])
        if parts[-2:-1] == ["secrets"]:
            if data := self.secrets.get(parts[-1]):
                about = {"name": parts[-1], "namespace": "prod", "uid": parts[-1]}
                return Reply({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": data})
            return status(404, "NotFound", "no such secret", name=parts[-1])
        if parts[-1] == "log":
            return Reply(f"log of {parts[-2]}, previous: {request.query['previous']}")
        if request.path == "/apis/ray.io":
            return Reply({"versions": [{"version": "v1"}]})
        if request.path == "/apis/ray.io/v1":
            return Reply({"resources": [{"name": "rayservices", "kind": "RayService"}]})
        return Reply({"metadata": {"resourceVersion": "1"}, "items": self.lists.get(parts[-1], [])})

    def _proxied(self, request: Request) -> Reply:
        self.dashboard.append(request)
        if request.headers.get("x-ray-authorization") != "Bearer t0k3n":
            return Reply("Unauthorized", 401)
        if request.path.endswith("/api/serve/applications/"):
            return Reply(self.report)
        if request.path.endswith("/api/cluster_status"):
            return Reply({"data": {"clusterStatus": "Demands: {'GPU': 1.0}: 1+ pending"}})
        return Reply(f"{request.query['suffix']} of {request.query['actor_id']}")
