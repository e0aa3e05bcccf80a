"""The cluster is one: names, Services, tokens, logs, exec, port-forward, scheduling, and an operator that runs Ray."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import pytest
from kubernetes import client, watch
from kubernetes.stream import portforward, stream

from tests.e2e.conftest import Kube, eventually
from tests.e2e.kube import layout

pytestmark = pytest.mark.e2e

SERVER = """
import http.server, socket
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello from {socket.gethostname()}".encode())
http.server.ThreadingHTTPServer(("", 8080), Hello).serve_forever()
"""
CLIENT = """
import json, pathlib, socket, ssl, time, urllib.request
account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
trusted = ssl.create_default_context(cafile=account / "ca.crt")
def get(url, **options):
    secure = {"context": trusted} if url.startswith("https") else {}
    until = time.monotonic() + 30
    while True:  # a node's rules for a new Service take a moment, and refuse until then
        try:
            with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10, **secure) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
def outside():
    try:
        return socket.gethostbyname("example.com")
    except OSError as error:
        return str(error)
bearer = {"Authorization": "Bearer " + (account / "token").read_text()}
namespace = (account / "namespace").read_text()
pods = f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/pods"
print(json.dumps({
    "api": socket.gethostbyname("kubernetes.default.svc"),
    "service": get("http://web"),
    "headless": get(f"http://web-headless.{namespace}.svc.cluster.local:8080"),
    "pods": [pod["metadata"]["name"] for pod in json.loads(get(pods, headers=bearer))["items"]],
    "outside": outside(),
}))
"""
HELLO = """
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Hello:
    async def __call__(self, request):
        return "hello from Ray"

app = Hello.bind()
"""


def pod(name: str, image: str, *command: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container."""
    container = {"name": "main", "image": image, "command": list(command)}
    container["resources"] = spec.pop("resources", {"requests": {"cpu": "10m"}})
    if "readinessProbe" in spec:
        container["readinessProbe"] = spec.pop("readinessProbe")
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", **spec},
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    """A Service in front of the pod ``web``."""
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, **spec}}


def wait_for_phase(kube: Kube, namespace: str, name: str, *phases: str) -> None:
    """Wait for a pod to be in one of ``phases``."""
    field = f"metadata.name={name}"
    for event in watch.Watch().stream(
        kube.core.list_namespaced_pod, namespace, field_selector=field, timeout_seconds=90
    ):
        if cast(Any, event)["object"].status.phase in phases:
            return
    pytest.fail(f"pod {name} is not {' or '.join(phases)}: {kube.core.read_namespaced_pod(name, namespace).status}")


def wait_until_ready(kube: Kube, namespace: str, name: str) -> None:
    """Wait for a pod's readiness: one that runs may not listen yet."""

    def ready() -> bool:
        conditions = kube.core.read_namespaced_pod(name, namespace).status.conditions or []
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    eventually(ready, 90, f"pod {name} to be ready")


@pytest.fixture(scope="module")
def web(kube: Kube) -> Iterator[str]:
    """A namespace with a small web server, the pod ``web``, behind three Services."""
    with kube.namespace() as name:
        probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
        kube.core.create_namespaced_pod(name, pod("web", kube.image, "python", "-c", SERVER, readinessProbe=probe))
        port = {"port": 80, "targetPort": 8080}
        for item in (
            service("web", ports=[port]),
            service("web-headless", clusterIP="None", ports=[{"port": 8080}]),
            service("web-node", type="NodePort", ports=[port]),
        ):
            kube.core.create_namespaced_service(name, item)
        wait_until_ready(kube, name, "web")
        yield name


def fetch(url: str) -> str:
    """The body at ``url``; rules of a new Service take a moment."""

    def once() -> str:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    return eventually(once, 30, url)


def local_only(kube: Kube) -> None:
    if not kube.local:
        pytest.skip("of the cluster on this machine only")


def test_the_node_is_ready_and_looks_like_gke_with_gpus(kube: Kube) -> None:
    local_only(kube)
    node = kube.core.read_node(layout.NODE)
    ready = next(condition for condition in node.status.conditions if condition.type == "Ready")
    assert ready.status == "True"
    assert (ready.last_transition_time - node.metadata.creation_timestamp).total_seconds() < 60
    assert node.status.allocatable["nvidia.com/gpu"] == str(layout.GPUS)
    assert node.metadata.labels.items() >= layout.NODE_LABELS.items()
    assert client.VersionApi(kube.api).get_code().git_version == "v1.36.3"


def test_a_pod_finds_services_and_the_api_by_name_and_nothing_outside(kube: Kube, web: str) -> None:
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": web}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    kube.rbac.create_namespaced_role_binding(
        web, {"metadata": {"name": "view"}, "subjects": [subject], "roleRef": role}
    )
    kube.core.create_namespaced_pod(web, pod("asker", kube.image, "python", "-c", CLIENT))
    wait_for_phase(kube, web, "asker", "Succeeded", "Failed")
    # As it came: the client would otherwise hand out JSON as Python's repr of it.
    said = kube.core.read_namespaced_pod_log("asker", web, _preload_content=False).data.decode()
    assert said.startswith("{"), said
    found = json.loads(said)
    assert found["service"] == found["headless"] == "hello from web"
    assert set(found["pods"]) == {"web", "asker"}
    if kube.local:
        assert found["api"] == layout.API_SERVICE
        assert "not known" in found["outside"]


def test_services_answer_this_machine(kube: Kube, web: str) -> None:
    local_only(kube)
    by_ip = kube.core.read_namespaced_service("web", web).spec.cluster_ip
    by_node = kube.core.read_namespaced_service("web-node", web).spec.ports[0].node_port
    assert fetch(f"http://{by_ip}") == fetch(f"http://{layout.NODE_ADDRESS}:{by_node}") == "hello from web"


def test_exec(kube: Kube, web: str) -> None:
    connect = kube.core.connect_get_namespaced_pod_exec
    said = stream(connect, "web", web, command=["id", "-un"], stdout=True, stderr=True, stdin=False, tty=False)
    assert said.strip() == "ray"


def test_port_forward(kube: Kube, web: str) -> None:
    connect = kube.core.connect_get_namespaced_pod_portforward
    forwarded = portforward(connect, "web", web, ports="8080").socket(8080)
    forwarded.setblocking(True)
    forwarded.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := forwarded.recv(4096):
        answer += piece
    assert answer.endswith(b"hello from web")


def test_the_scheduler_counts_gpus(kube: Kube, namespace: str) -> None:
    local_only(kube)
    selector = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    for count in (layout.GPUS, layout.GPUS + 1):
        wanted = {"limits": {"nvidia.com/gpu": str(count)}}
        body = pod(f"gpus-{count}", kube.image, "sleep", "60", nodeSelector=selector, resources=wanted)
        kube.core.create_namespaced_pod(namespace, body)
    wait_for_phase(kube, namespace, f"gpus-{layout.GPUS}", "Running")

    def reason() -> str:
        conditions = kube.core.read_namespaced_pod(f"gpus-{layout.GPUS + 1}", namespace).status.conditions or []
        return next((c.message or "" for c in conditions if c.type == "PodScheduled" and c.status == "False"), "")

    assert "Insufficient nvidia.com/gpu" in eventually(reason, 30, "the scheduler's reason")


def ray_service(image: str) -> dict[str, Any]:
    """The least that KubeRay runs: a head, and an application of one replica."""
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001, "serve": 8000}
    head = {
        "name": "ray-head",
        "image": image,
        "env": [{"name": "PYTHONPATH", "value": "/opt/app"}],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "3Gi"}},
        "volumeMounts": [{"name": "app", "mountPath": "/opt/app"}],
    }
    template = {"spec": {"containers": [head], "volumes": [{"name": "app", "configMap": {"name": "hello"}}]}}
    applications = {"applications": [{"name": "hello", "import_path": "hello:app", "route_prefix": "/"}]}
    cluster = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {"rayStartParams": {"num-cpus": "1"}, "template": template},
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "hello"},
        "spec": {"serveConfigV2": json.dumps(applications), "rayClusterConfig": cluster},
    }


def test_kuberay_runs_a_ray_service(kube: Kube, namespace: str) -> None:
    kube.core.create_namespaced_config_map(namespace, {"metadata": {"name": "hello"}, "data": {"hello.py": HELLO}})
    place = ("ray.io", "v1", namespace, "rayservices")
    kube.custom.create_namespaced_custom_object(*place, ray_service(kube.image))
    begun = time.monotonic()

    def ready() -> bool:
        found: Any = kube.custom.get_namespaced_custom_object(*place, "hello")
        conditions = found.get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    eventually(ready, 240, "the RayService to be Ready")
    print(f"RayService Ready after {time.monotonic() - begun:.0f} s")
    if kube.local:
        address = kube.core.read_namespaced_service("hello-serve-svc", namespace).spec.cluster_ip
        assert fetch(f"http://{address}:8000/") == "hello from Ray"
