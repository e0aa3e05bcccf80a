"""What `switchyard cluster apply` does inside the cluster, with KubeRay's released manifests on a real API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from cluster.errors import ConfigError, Refused
from cluster.hours import parse
from cluster.inside import kuberay_release as release
from cluster.inside.kuberay_release import Installed
from cluster.inside.objects import path_of
from cluster.kube.client import Kube, from_kubeconfig, read_release
from cluster.kube.in_cluster import apply_objects, install_operator, operator_of, set_schedule
from cluster.load import load
from tests.e2e.bare import KUBERAY, bare_server, kuberay_config

pytestmark = pytest.mark.e2e

VERSION = KUBERAY.rpartition("@v")[2]


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    with bare_server(tmp_path_factory.mktemp("install")) as server:
        yield from_kubeconfig(server.kubeconfig())


def contents() -> Mapping[str, bytes]:
    return read_release(str(kuberay_config()), release.files(VERSION))


def test_the_released_operator_is_installed_once(kube: Kube) -> None:
    said: list[str] = []
    assert install_operator(kube, VERSION, contents, said.append).apply
    assert "CustomResourceDefinition rayservices.ray.io" in said
    assert operator_of(kube) == Installed(VERSION, "kuberay-operator", ours=True)
    assert install_operator(kube, VERSION, contents, said.append).apply is False
    again = install_operator(kube, VERSION, contents, said.append, again=True)
    assert again.apply, "where it is asked for, and it changes nothing"


def test_a_changed_manifest_is_not_applied(kube: Kube) -> None:
    changed = {path: content + b"\n" for path, content in contents().items()}
    with pytest.raises(ConfigError, match="Nothing was applied"):
        install_operator(kube, VERSION, lambda: changed, print, again=True)


def test_the_operator_is_left_alone_while_an_upgrade_runs(kube: Kube) -> None:
    path = path_of("RayService", "default", "busy")
    head = {"template": {"spec": {"containers": [{"name": "ray-head", "image": "ray"}]}}}
    spec = {"rayClusterConfig": {"headGroupSpec": {"rayStartParams": {}, **head}}}
    metadata = {"name": "busy", "namespace": "default"}
    kube.apply({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata, "spec": spec})
    condition = {"type": "UpgradeInProgress", "status": "True", "reason": "Test", "message": ""}
    condition["lastTransitionTime"] = "2026-11-22T00:00:00Z"
    kube.merge(f"{path}/status", {"status": {"conditions": [condition]}})
    with pytest.raises(Refused, match="busy"):
        install_operator(kube, VERSION, contents, print, again=True)
    assert kube.delete(path)


def test_what_a_service_needs_there(kube: Kube) -> None:
    config = load("deploy/gke-l4.yaml", {}).config
    said: list[str] = []
    left_out = apply_objects(kube, config, "hf_not_a_token", said.append)
    assert said == ["ServiceAccount switchyard", "Secret hf-secret"]
    assert {one.split()[0] for one in left_out} == {"PodMonitoring"}, "Google's kinds are not there"
    with pytest.raises(Refused, match=r"1\.7"):
        set_schedule(kube, config, parse("weekdays 08:00-20:00 Europe/Berlin"), "gemma", said.append)
