"""A service from nothing to nothing on a real cluster: deployed, asked, scaled, broken, upgraded, deleted.

One service for the whole file, as each start of Ray and vLLM takes a minute or two; the tests run in this order, and
each leaves the service serving. Times are printed (pytest -s) and are those in docs/performance.md.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.names import SERVE_PORT
from kuberay.snapshot import condition_of, dig, labels
from serve_app.drain import FIRST_PORT
from tests.e2e.conftest import Kube, eventually
from tests.e2e.deployed import FILE, START_S, Service
from tests.e2e.streams import Stream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TARGET, CLIENTS = 4, 7
"""Requests a replica is to have, and clients: these want a second replica."""
LONG: dict[str, str] = {
    "SWITCHYARD__MODEL__MAX_MODEL_LEN": "65536",
    # The tiny model knows 8192 positions, which are over in less than a minute.
    "SWITCHYARD__ENGINE__OPTIONS": '{"enforce_eager": true, "hf_overrides": {"max_position_embeddings": 65536}}',
    "SWITCHYARD__SERVING__MAX_REQUEST_S": "600",
}
"""Streams may be longer than it takes to end a worker."""
OUTLIVES_S = 90
"""Twice what it takes when nothing passes through it: the replica's 30 s of draining, ``idle_timeout_s``, a look."""


@pytest.fixture(scope="module")
def service(kube: Kube) -> Iterator[Service]:
    with kube.namespace("service") as namespace:
        api = Api.connect(kubeconfig=str(kube.kubeconfig))
        yield Service(kube, api, namespace, {"SWITCHYARD__KUBERNETES__NAMESPACE": namespace, **LONG})


def test_deploy_until_it_serves(service: Service) -> None:
    begun = time.monotonic()
    printed = service.deploy()
    print(f"\nfirst deploy: {time.monotonic() - begun:.0f} s")
    assert "first install" in printed
    assert "done     traffic: 1 endpoint" in printed
    answer = service.ask()
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["release"] == service.status()["release"]


def test_deploying_again_changes_nothing(service: Service) -> None:
    found = service.diff()
    assert (found["exit"], found["effect"], found["changes"], found["problems"]) == (0, "no-op", [], [])


def test_a_streamed_answer_through_a_forwarded_port(service: Service) -> None:
    done = service.run("generate", "-f", FILE, "hello", "--max-tokens", "16")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 10
    done = service.run("generate", "-f", FILE, "hello", "--max-tokens", "16", "-o", "json")
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 16


def test_status_doctor_and_logs_of_a_healthy_service(service: Service) -> None:
    screen = service.run("status", "-f", FILE)
    assert "Serving" in screen.stdout
    assert service.active() in screen.stdout
    doctor = service.run("doctor", "-f", FILE)
    assert doctor.returncode == 0, doctor.stdout
    assert "nothing wrong was found" in doctor.stdout
    assert service.run("status").stdout.count("llm") >= 1
    logs = service.run("logs", "-f", FILE, "--of", "autoscaler")
    assert logs.returncode == 0 and logs.stdout, logs.stderr


def test_ray_wants_its_token(service: Service) -> None:
    """The dashboard answers those who have it, through the command line, and nobody else."""
    head = service.pods("head")[0]["metadata"]["name"]
    with service.api.forward(head, 8265, service.namespace) as forward, httpx2.Client() as client:
        assert client.get(f"{forward.url}/api/serve/applications/").status_code == 401
    assert service.status()["clusters"][0]["replicas"] == {"RUNNING": 1}


def test_pods_keep_to_the_restricted_profile(service: Service) -> None:
    """Admission itself says so, to a dry run of each pod under the strictest standard."""
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    service.api.patch(kinds.NAMESPACE, service.namespace, "", label)
    try:
        for pod in [*service.pods("head"), *service.pods("worker")]:
            copy = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"copy-{pod['metadata']['name']}"[:60], "namespace": service.namespace},
                "spec": {key: value for key, value in pod["spec"].items() if key != "nodeName"},
            }
            service.api.create(copy, dry_run=True)
    finally:
        service.api.patch(
            kinds.NAMESPACE,
            service.namespace,
            "",
            {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}},
        )


def test_scaling_limits_change_in_place(service: Service) -> None:
    before = service.active()
    service.environ["SWITCHYARD__SCALING__MAX_REPLICAS"] = "3"
    service.environ["SWITCHYARD__SCALING__TARGET_ONGOING_REQUESTS"] = str(TARGET)
    found = service.diff()
    assert (found["exit"], found["effect"], found["refused"]) == (2, "carried over", False)
    service.deploy()
    assert service.active() == before
    cluster = service.api.get(kinds.RAYCLUSTER, before, service.namespace)
    assert cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] == 3, "KubeRay alone would not have passed it on"
    assert service.diff()["effect"] == "no-op"


@pytest.mark.timeout(1200)
def test_load_brings_a_second_replica(service: Service) -> None:
    stop = threading.Event()

    def load(url: str) -> None:
        with httpx2.Client(timeout=120) as client:
            while not stop.is_set():
                client.post(f"{url}/generate", json={"prompt": "again", "max_tokens": 200})
                time.sleep(0.1)

    def running() -> int:
        return sum(one["replicas"].get("RUNNING", 0) for one in service.status()["clusters"])

    pod = service.pods("worker")[0]["metadata"]["name"]
    begun = time.monotonic()
    with service.api.forward(pod, 8000, service.namespace) as forward:
        threads = [threading.Thread(target=load, args=(forward.url,), daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(service.pods("worker")) > 1, 180, "a second worker pod")
            asked = time.monotonic() - begun
            eventually(lambda: running() > 1, 600, "a second replica that serves")
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=120)
    print(f"\na second pod was asked for after {asked:.0f} s and served after {time.monotonic() - begun:.0f} s")


def test_quiet_takes_it_away_and_cuts_no_stream_on_its_way_through_it(service: Service) -> None:
    """A pod's HAProxy carries streams to replicas in other pods. Ray's autoscaler runs no ``preStop`` hook."""
    names = [pod["metadata"]["name"] for pod in service.pods("worker")]
    begun = time.monotonic()

    def ready(name: str) -> bool:
        pod = service.api.get(kinds.POD, name, service.namespace)
        return condition_of(pod, "Ready").get("status") == "True"

    with contextlib.ExitStack() as stack:

        def forward(pod: str, port: int) -> str:
            return stack.enter_context(service.api.forward(pod, port, service.namespace)).url

        here, there = names
        doors = {name: forward(name, SERVE_PORT) for name in names}
        replicas = {name: forward(name, FIRST_PORT) for name in names}

        def busy(name: str) -> int:
            return httpx2.get(f"{replicas[name]}/health", timeout=30).json()["in_flight"]

        def crossing(pod: str, other: str) -> Stream:
            """A stream through this pod to the other's replica: HAProxy chooses the replica with the fewest."""
            until = time.monotonic() + 60  # its HAProxy learns of a replica some seconds after Serve has it running
            while time.monotonic() < until:
                with contextlib.ExitStack() as others:
                    for _ in range(4):
                        before, stream = busy(other), Stream(doors[pod])
                        eventually(lambda stream=stream: stream.begun, 60, "a first token")
                        if busy(other) > before:
                            stack.callback(stream.close)
                            return stream
                        others.callback(stream.close)
                time.sleep(1)
            raise AssertionError(f"no stream through {pod} went to {other}")

        eventually(lambda: busy(here) + busy(there) == 0, 120, "the load to be over")
        through = {here: crossing(here, there), there: crossing(there, here)}
        leaving = eventually(lambda: next((name for name in names if not ready(name)), ""), 180, "a replica to go")
        staying = there if leaving == here else here
        print(f"\nits replica is to go {time.monotonic() - begun:.0f} s after the load")
        through[staying].close()  # the leaving replica's own; without it nothing but the other one keeps its pod
        begun = time.monotonic()
        while time.monotonic() - begun < OUTLIVES_S:
            assert through[leaving].flows(), f"{through[leaving].broken}; {time.monotonic() - begun:.0f} s later"
            time.sleep(1)
    begun = time.monotonic()
    eventually(lambda: len(service.pods("worker")) == 1, 300, "one worker pod again")
    print(f"one worker again {time.monotonic() - begun:.0f} s after the last stream")
    assert service.ask()["usage"]["completion_tokens"] == 8


def test_suspended_it_has_no_pods_and_resumed_it_is_the_same(service: Service) -> None:
    release = service.status()["release"]
    done = service.run("suspend", "-f", FILE, timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert service.pods("head") + service.pods("worker") == []
    assert service.status()["phase"] == "Suspended"
    assert [one["id"] for one in json.loads(service.run("doctor", "-f", FILE, "-o", "json").stdout)["findings"]] == [
        "suspended"
    ]
    begun = time.monotonic()
    done = service.run("resume", "-f", FILE)
    assert done.returncode == 0, done.stderr
    eventually(lambda: service.status()["phase"] == "Serving", START_S, "the service to be back")
    print(f"\nresumed: serving after {time.monotonic() - begun:.0f} s")
    assert service.ask()["release"] == release
    assert service.diff()["effect"] == "no-op"


def test_the_head_is_killed_and_comes_back(service: Service) -> None:
    head = service.pods("head")[0]
    service.api.delete(kinds.POD, head["metadata"]["name"], service.namespace, grace_s=0)
    begun = time.monotonic()

    def serves() -> bool:
        pods = service.pods("head")
        if not pods or pods[0]["metadata"]["uid"] == head["metadata"]["uid"]:
            return False
        return service.status()["phase"] == "Serving"

    eventually(serves, START_S, "the service to be back")
    eventually(lambda: answers(service), 120, "an answer")
    print(f"\nhead killed: serving again after {time.monotonic() - begun:.0f} s")


def test_a_new_release_is_a_new_cluster_though_the_operator_restarts_half_way(service: Service) -> None:
    before, release = service.active(), service.status()["release"]
    service.environ["SWITCHYARD__SERVING__DEFAULTS__MAX_TOKENS"] = "32"
    found = service.diff()
    assert (found["effect"], found["refused"]) == ("NEW CLUSTER", False), found
    assert found["release"]["before"] == release
    begun = time.monotonic()
    done: list[str] = []
    deploying = threading.Thread(target=lambda: done.append(service.deploy()))
    deploying.start()
    pending = ("status", "pendingServiceStatus", "rayClusterName")
    get = lambda: service.api.get(kinds.RAYSERVICE, service.name, service.namespace)  # noqa: E731
    eventually(lambda: dig(get(), *pending), 120, "a second cluster")
    service.kube.restart_operator()
    deploying.join(START_S + 60)
    assert done, "deploy failed, see above"
    print(f"\nnew release: serving after {time.monotonic() - begun:.0f} s")
    assert "NEW CLUSTER" in done[0]
    assert service.active() != before
    assert service.ask()["release"] == found["release"]["after"] != release
    old = service.api.get(kinds.RAYCLUSTER, before, service.namespace)
    assert "deletionTimestamp" not in old["metadata"], "the old cluster is kept for its streams, and for a way back"


def test_delete_lets_a_running_stream_end_and_leaves_nothing(service: Service) -> None:
    pod = next(pod["metadata"]["name"] for pod in service.pods("worker", service.active()))
    body = {"prompt": "a long answer", "max_tokens": 1000, "stream": True}
    ended: list[subprocess.CompletedProcess[str]] = []
    with (
        service.api.forward(pod, 8000, service.namespace) as forward,
        httpx2.Client(timeout=120) as client,
        client.stream("POST", f"{forward.url}/generate", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        begun = time.monotonic()
        deleting = threading.Thread(
            target=lambda: ended.append(service.run("delete", "-f", FILE, "--yes", timeout_s=300))
        )
        deleting.start()
        text = [line for line in lines if line]
    assert text[-1] == "data: [DONE]", text[-3:]
    assert '"finish_reason":"length"' in text[-2].replace(" ", "")
    deleting.join(300)
    assert ended[0].returncode == 0, ended[0].stderr
    print(f"\ndelete, beside a stream: {time.monotonic() - begun:.0f} s")
    left = [
        f"{item['kind']}/{item['metadata']['name']}"
        for kind in (
            *(kinds.RAYSERVICE, kinds.RAYCLUSTER, kinds.POD, kinds.SERVICE, kinds.CONFIGMAP, kinds.SECRET),
            *(kinds.PDB, kinds.NETWORKPOLICY, kinds.SERVICEACCOUNT, kinds.ROLE, kinds.ROLEBINDING, kinds.PVC),
        )
        for item in service.api.list(kind, service.namespace)
        if labels(item).get("app.kubernetes.io/instance") == service.name or item["metadata"]["name"].startswith("llm")
    ]
    assert left == []
    assert service.status()["phase"] == "Absent"


def answers(service: Service) -> bool:
    try:
        return service.ask()["usage"]["completion_tokens"] == 8
    except Exception as error:
        print(f"not yet: {error}")
        return False
