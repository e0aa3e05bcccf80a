"""Services that cannot start, made for real: `doctor` names the cause, and `deploy` refuses what it can foresee.

With SWITCHYARD_E2E_BUNDLES naming a folder, each leaves a bundle of what doctor saw there; those in tests/data/bundles
were made so, and tests/test_doctor.py replays them without a cluster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.api import kinds
from kuberay.api.client import Api
from tests.e2e.conftest import Kube, eventually
from tests.e2e.deployed import FILE, Service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def service(kube: Kube) -> Iterator[Service]:
    with kube.namespace("broken") as namespace:
        api = Api.connect(kubeconfig=str(kube.kubeconfig))
        yield Service(kube, api, namespace, {"SWITCHYARD__KUBERNETES__NAMESPACE": namespace})
        Service(kube, api, namespace, {}).run("delete", "llm", "-n", namespace, "--yes", timeout_s=300)


def causes(service: Service, *arguments: str) -> list[dict[str, Any]]:
    done = service.run("doctor", "-f", FILE, "-o", "json", *arguments)
    assert done.stdout.startswith("{"), done.stderr
    return json.loads(done.stdout)["findings"]


def keep(service: Service, wanted: str) -> None:
    """A bundle of the situation, where they are asked for. It is looked at anew, so it must still be the same."""
    if folder := os.environ.get("SWITCHYARD_E2E_BUNDLES"):
        found = causes(service, "--bundle", str(Path(folder) / f"{wanted}--captured.tgz"))
        assert found[0]["id"] == wanted, found


def first_cause(service: Service, wanted: str, within_s: float = 120) -> dict[str, Any]:
    """Deploy without waiting, and wait for the doctor to find ``wanted`` first."""
    done = service.run("deploy", "-f", FILE, "--no-wait", "--force")
    assert done.returncode == 0, done.stderr
    seen: list[str] = []

    def found() -> dict[str, Any] | None:
        now = causes(service)
        seen[:] = [one["id"] for one in now]
        return now[0] if now and now[0]["id"] == wanted else None

    try:
        finding = eventually(found, within_s, f"the cause {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}; found {seen}") from None
    assert finding is not None
    keep(service, wanted)
    return finding


def test_an_image_that_does_not_exist(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__IMAGE"] = "registry.invalid/nobody/nothing:1"
    finding = first_cause(service, "image-registry-unreachable")
    assert "registry.invalid/nobody/nothing:1" in json.dumps(finding)


def test_too_few_gpus(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__WORKER_GROUPS"] = (
        "[{name: workers, cpu: 300m, memory: 1Gi, extra_resources: {nvidia.com/gpu: 99}}]"
    )
    refused = service.run("deploy", "-f", FILE, "--no-wait")
    assert refused.returncode == 1
    assert "no node has more than 8" in refused.stdout
    assert service.api.list(kinds.RAYSERVICE, service.namespace) == [], "nothing was written"
    finding = first_cause(service, "no-free-gpu")
    assert finding["next_steps"]


def test_a_missing_secret(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__API_KEYS"] = "{name: no-such-secret, key: keys}"
    service.environ["SWITCHYARD__SERVING__API_KEYS_FILE"] = "/etc/keys"
    refused = service.run("deploy", "-f", FILE, "--no-wait")
    assert refused.returncode == 1
    assert "The Secret no-such-secret does not exist." in refused.stdout
    assert first_cause(service, "secret-missing")["next_steps"]


GROUP = "SWITCHYARD__KUBERNETES__WORKER_GROUPS"
SMALL = "name: workers, cpu: 300m, memory: 1Gi"

MISCONFIGURED = {
    "no-matching-node": {GROUP: f"[{{{SMALL}, node_selector: {{disk: nvme}}}}]"},
    "node-too-small": {GROUP: "[{name: workers, cpu: 300m, memory: 900Gi}]"},
    "claim-missing": {"SWITCHYARD__KUBERNETES__MODEL_CACHE_CLAIM": "no-such-claim"},
    "service-account-missing": {"SWITCHYARD__KUBERNETES__SERVICE_ACCOUNT": "nobody"},
    "head-out-of-memory": {"SWITCHYARD__KUBERNETES__HEAD": "{cpu: 300m, memory: 120Mi}"},
}


@pytest.mark.slow
@pytest.mark.parametrize("cause", MISCONFIGURED)
def test_a_file_that_asks_for_what_is_not_there(service: Service, cause: str) -> None:
    service.environ |= MISCONFIGURED[cause]
    assert first_cause(service, cause)["next_steps"]


@pytest.mark.slow
def test_a_secret_without_the_key(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__API_KEYS"] = "{name: keys, key: keys}"
    service.environ["SWITCHYARD__SERVING__API_KEYS_FILE"] = "/etc/keys"
    metadata = {"name": "keys", "namespace": service.namespace}
    service.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"other": "x"}})
    refused = service.run("deploy", "-f", FILE, "--no-wait")
    assert "The Secret keys has no key keys." in refused.stdout
    assert first_cause(service, "secret-key-missing")["next_steps"]


@pytest.mark.slow
def test_an_operator_that_does_not_run(service: Service) -> None:
    [operator] = [one for one in service.api.list(kinds.DEPLOYMENT) if "kuberay-operator" in one["metadata"]["name"]]
    where = (operator["metadata"]["name"], operator["metadata"]["namespace"])

    def ready(wanted: int) -> bool:
        status = service.api.get(kinds.DEPLOYMENT, *where).get("status", {})
        return status.get("availableReplicas", 0) == wanted and status.get("replicas", 0) == wanted

    service.api.patch(kinds.DEPLOYMENT, *where, {"spec": {"replicas": 0}})
    try:
        eventually(lambda: ready(0), 60, "no operator")
        finding = first_cause(service, "operator-not-running")
        assert where[0] in json.dumps(finding["next_steps"])
    finally:
        service.api.patch(kinds.DEPLOYMENT, *where, {"spec": {"replicas": 1}})
        eventually(lambda: ready(1), 120, "the operator again")


def test_nothing_was_deployed(service: Service) -> None:
    assert [one["id"] for one in causes(service)] == ["service-absent"]
    keep(service, "service-absent")


@pytest.mark.slow
def test_a_service_that_was_suspended(service: Service) -> None:
    assert service.run("deploy", "-f", FILE, "--no-wait").returncode == 0
    assert service.run("suspend", "-f", FILE, timeout_s=120).returncode == 0
    assert [one["id"] for one in causes(service)] == ["suspended"]
    keep(service, "suspended")


@pytest.mark.slow
def test_a_volume_that_nobody_provides(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__MODEL_CACHE_CLAIM"] = "weights"
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights", "namespace": service.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    service.api.create(claim)
    assert first_cause(service, "claim-pending")["next_steps"]


ENGINE = {
    "context-too-long-for-memory": {
        "SWITCHYARD__MODEL__MAX_MODEL_LEN": "8192",
        "SWITCHYARD__ENGINE__KV_CACHE_GIB": "0.001",
    },
    "engine-option-unknown": {"SWITCHYARD__ENGINE__OPTIONS": "{no_such_option: 1}"},
    "hub-unreachable": {"SWITCHYARD__MODEL__ID": "nobody/nothing"},
}


@pytest.mark.slow
@pytest.mark.parametrize("cause", ENGINE)
def test_an_engine_that_does_not_start(service: Service, cause: str) -> None:
    service.environ |= ENGINE[cause]
    assert first_cause(service, cause, within_s=400)["next_steps"]


PROBED = {
    "Hugging Face cannot be reached": {"SWITCHYARD__MODEL__ID": "nobody/nothing"},
    "built for CPUs": {"SWITCHYARD__MODEL__ID": "gs://nobody/nothing"},
    "cannot be pulled (image-registry-unreachable)": {"SWITCHYARD__KUBERNETES__IMAGE": "registry.invalid/nothing:1"},
}


@pytest.mark.parametrize("said", PROBED)
def test_a_probe_finds_out_before_anything_is_written(service: Service, said: str) -> None:
    service.environ |= PROBED[said]
    done = service.run("deploy", "-f", FILE, "--no-wait", "--probe", timeout_s=120)
    assert done.returncode == 1, done.stderr
    assert said in done.stdout
    accounts = [one["metadata"]["name"] for one in service.api.list(kinds.SERVICEACCOUNT, service.namespace)]
    left = service.api.list(kinds.POD, service.namespace) + service.api.list(kinds.RAYSERVICE, service.namespace)
    assert (left, accounts) == ([], ["default"]), "the probe cleans up"


def test_a_probe_that_finds_nothing_is_followed_by_the_deployment(service: Service) -> None:
    done = service.run("deploy", "-f", FILE, "--no-wait", "--probe", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert "the image starts, and tiny comes with the image" in done.stdout
    assert len(service.api.list(kinds.RAYSERVICE, service.namespace)) == 1


def test_a_namespace_that_does_not_exist(service: Service) -> None:
    service.environ["SWITCHYARD__KUBERNETES__NAMESPACE"] = "nowhere"
    done = service.run("deploy", "-f", FILE, "--no-wait")
    assert done.returncode == 1
    assert "There is no namespace 'nowhere'" in done.stderr


def test_a_quota_that_is_too_small(service: Service) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": service.namespace},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
    }
    service.api.create(quota)
    hard = lambda: service.api.get(kinds.QUOTA, "small", service.namespace).get("status", {}).get("hard")  # noqa: E731
    eventually(hard, 30, "the quota to count")
    refused = service.run("deploy", "-f", FILE, "--no-wait")
    assert refused.returncode == 1
    assert "ResourceQuota small allows 0 requests.nvidia.com/gpu" in refused.stdout
    assert first_cause(service, "namespace-quota")["next_steps"]
