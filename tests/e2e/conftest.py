"""The cluster that end-to-end tests use: the one of ``$KUBECONFIG``, or a local one for the length of the session."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import client, config

from tests.e2e.kube import cluster, layout, manifests
from tests.e2e.kube.steps import KubeError

VARIABLES = ("SWITCHYARD_E2E_KUBECONFIG", "KUBECONFIG")
T = TypeVar("T")


@dataclass(frozen=True)
class Kube:
    """A cluster with KubeRay's operator.

    Attributes:
        kubeconfig: how to reach it as an administrator.
        owned: it was started for this session, and ends with it.
        local: it is the one of tests/e2e/kube, on this machine.
        image: the project's image, as pods there name it.
        api: a client for it.
    """

    kubeconfig: Path
    owned: bool
    local: bool
    image: str
    api: client.ApiClient

    # Any: the client takes plain dictionaries for bodies, and its annotations do not say so.

    @property
    def core(self) -> Any:
        """Pods, Services, ConfigMaps, namespaces: a ``CoreV1Api``."""
        return client.CoreV1Api(self.api)

    @property
    def rbac(self) -> Any:
        """Roles and their bindings: an ``RbacAuthorizationV1Api``."""
        return client.RbacAuthorizationV1Api(self.api)

    @property
    def custom(self) -> Any:
        """RayServices and RayClusters: a ``CustomObjectsApi``."""
        return client.CustomObjectsApi(self.api)

    @contextmanager
    def namespace(self, prefix: str = "e2e") -> Iterator[str]:
        """A namespace of its own. It is deleted when the block ends, and waited for: the next one needs the cores."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
        # Pods that are made before it is there are refused.
        eventually(lambda: self._exists(self.core.read_namespaced_service_account, "default", name), 30, "its account")
        try:
            yield name
        finally:
            self.core.delete_namespace(name)
            # A Ray node that is told to stop drains for as long as its grace period lasts.
            self.core.delete_collection_namespaced_pod(name, grace_period_seconds=1)
            eventually(lambda: not self._exists(self.core.read_namespace, name), 180, f"namespace {name} to be gone")

    def restart_operator(self) -> None:
        """KubeRay's operator ends, and with it what it kept in memory; another one is ready."""

        def pods() -> list[Any]:
            chosen = "app.kubernetes.io/component=kuberay-operator"  # of KubeRay's manifests, and of its Helm chart
            return self.core.list_pod_for_all_namespaces(label_selector=chosen).items

        old = {pod.metadata.uid for pod in pods()}
        assert old, "there is an operator"
        for pod in pods():
            self.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace)

        def another() -> bool:
            new = [pod for pod in pods() if pod.metadata.uid not in old]
            left = len(pods()) - len(new)
            return not left and any(
                one.type == "Ready" and one.status == "True" for pod in new for one in pod.status.conditions or ()
            )

        eventually(another, 120, "another operator")

    @staticmethod
    def _exists(read: Callable[..., object], *name: str) -> bool:
        try:
            read(*name)
        except client.ApiException as error:
            if error.status == 404:
                return False
            raise
        return True


def eventually(value: Callable[[], T], timeout_s: float, what: str) -> T:
    """Call ``value`` until what it returns is true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := value()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.2)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a cluster of their own come before the session's, as a machine has room for one."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        if not any(item.iter_markers("timeout")):
            item.add_marker(pytest.mark.timeout(900))
    ours.sort(key=lambda item: "kube" in getattr(item, "fixturenames", ()))
    items[:] = [item for item in items if item not in ours] + ours


def foreign() -> Path | None:
    """The kubeconfig of a cluster that is there already, if one is named."""
    named = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    return Path(named) if named else None


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The cluster, for all tests of the session; each makes a namespace of its own in it."""
    kubeconfig = foreign()
    owned = False
    if kubeconfig is None:
        kubeconfig = layout.KUBECONFIG
        try:
            owned = cluster.up(tied=True)
        except KubeError as error:
            pytest.fail(str(error), pytrace=False)
    api = config.new_client_from_config(str(kubeconfig))
    image = os.environ.get("SWITCHYARD_E2E_IMAGE", "switchyard:e2e")
    yield Kube(kubeconfig, owned, kubeconfig == layout.KUBECONFIG, image, api)
    api.close()
    if owned:
        left = cluster.down()
        assert not left, f"left of the cluster: {left}"


@pytest.fixture(scope="session")
def gateway_class(kube: Kube) -> str:
    """A GatewayClass: the local cluster's, which is added here; elsewhere ``$SWITCHYARD_E2E_GATEWAY_CLASS``."""
    if kube.local:
        cluster.add_gateway()
        return manifests.GATEWAY_CLASS
    named = os.environ.get("SWITCHYARD_E2E_GATEWAY_CLASS", "")
    if not named:
        pytest.skip("$SWITCHYARD_E2E_GATEWAY_CLASS names no GatewayClass of this cluster")
    return named


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace for one test."""
    with kube.namespace() as name:
        yield name
