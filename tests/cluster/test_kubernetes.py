"""What is done inside the cluster: KubeRay, the freeze rule, the service's objects, off-hours.

tests/e2e/test_install_operator.py does the first against a real API server.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.errors import ConfigError, Refused
from cluster.inside import kuberay_release as release
from cluster.inside.kuberay_release import Installed
from cluster.inside.objects import path_of
from cluster.kube.client import Kube, from_kubeconfig, read_release
from cluster.kube.in_cluster import install_operator, operator_of, park, set_schedule, suspend, unpark
from tests.cluster.conftest import SMALL
from tests.cluster.fakes import FakeGoogle
from tests.cluster.fakes.kube import FakeKube, serving_kube
from tests.cluster.terminal import User, sitting

VERSION = "9.9.9"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rayservices.ray.io"},
    "spec": {
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {"properties": {"spec": {"properties": {"suspend": {"type": "boolean"}}}}}
                },
            }
        ]
    },
}
FILES: dict[str, list[dict[str, Any]]] = {
    "crd/bases/ray.io_rayservices.yaml": [CRD],
    "rbac/role_binding.yaml": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "kuberay-operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kuberay-operator"},
            "subjects": [{"kind": "ServiceAccount", "name": "kuberay-operator"}],
        }
    ],
    "rbac/service_account.yaml": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "kuberay-operator"}}
    ],
    "manager/manager.yaml": [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "kuberay-operator",
                "namespace": "system",
                "labels": {"app.kubernetes.io/name": "kuberay"},
            },
            "spec": {"template": {"spec": {"containers": [{"name": "kuberay-operator", "image": "kuberay/operator"}]}}},
        }
    ],
}
"""A release as KubeRay lays one out, smaller."""

PINS = {
    VERSION: {
        path: hashlib.sha256(yaml.safe_dump_all(documents).encode()).hexdigest() for path, documents in FILES.items()
    }
}

SERVICE = {
    "apiVersion": "ray.io/v1",
    "kind": "RayService",
    "metadata": {"name": "gemma", "namespace": "default"},
    "spec": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The release's folder."""
    digests: dict[str, str] = {}
    for path, documents in FILES.items():
        file = tmp_path / "config" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        digests[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digests == PINS[VERSION]
    return tmp_path / "config"


@pytest.fixture
def server() -> FakeKube:
    return FakeKube()


@pytest.fixture
def kube(server: FakeKube, tmp_path: Path) -> Iterator[Kube]:
    """The real client on the fake server, through a kubeconfig with a token."""
    with serving_kube(server) as where:
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://{where}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        yield from_kubeconfig(str(path))


def install(kube: Kube, folder: Path, version: str = VERSION, **options: Any) -> tuple[str, list[str]]:
    said: list[str] = []
    contents = lambda: read_release(str(folder), PINS[version])  # noqa: E731
    verdict = install_operator(kube, version, contents, said.append, pins=PINS, **options)
    return verdict.text, said


def test_install_puts_crds_first_and_knows_itself_again(kube: Kube, server: FakeKube, folder: Path) -> None:
    text, said = install(kube, folder)
    assert text == "install KubeRay 9.9.9"
    assert said == [
        "CustomResourceDefinition rayservices.ray.io",
        "Namespace kuberay-operator",
        "ServiceAccount kuberay-operator",
        "ClusterRoleBinding kuberay-operator",
        "Deployment kuberay-operator",
    ]
    deployment = server.objects["/apis/apps/v1/namespaces/kuberay-operator/deployments/kuberay-operator"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "quay.io/kuberay/operator:v9.9.9"
    binding = server.objects["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kuberay-operator"]
    assert binding["subjects"][0]["namespace"] == "kuberay-operator"
    assert operator_of(kube) == Installed(VERSION, "kuberay-operator", ours=True)
    asked = len([entry for entry in server.journal if entry.write])
    assert install(kube, folder)[0] == "KubeRay 9.9.9 is installed"
    assert len([entry for entry in server.journal if entry.write]) == asked


def test_a_changed_file_is_refused_before_anything_is_applied(kube: Kube, server: FakeKube, folder: Path) -> None:
    (folder / "manager/manager.yaml").write_text("kind: Deployment\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"manager/manager.yaml is not KubeRay 9\.9\.9's: SHA-256 .* Nothing was applied"
    ):
        install(kube, folder)
    assert server.objects == {}


def test_an_unpinned_version_is_refused(kube: Kube, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"KubeRay 1\.5\.0 is not known here \(.*\); known: 9\.9\.9"):
        install(kube, folder, "1.5.0")


def test_nothing_is_touched_while_a_rollout_runs(kube: Kube, server: FakeKube, folder: Path) -> None:
    condition = {"type": "UpgradeInProgress", "status": "True"}
    path = path_of("RayService", "default", "gemma")
    server.objects[path] = {**SERVICE, "status": {"conditions": [condition]}}
    with pytest.raises(Refused, match=r"a rollout is running \(default/gemma: UpgradeInProgress=True\)"):
        install(kube, folder)
    assert list(server.objects) == [path]
    condition["status"] = "False"
    assert install(kube, folder)[0] == "install KubeRay 9.9.9"


def test_somebody_elses_operator_is_left_alone(kube: Kube, server: FakeKube, folder: Path) -> None:
    deployment = {
        "metadata": {
            "name": "kuberay-operator",
            "namespace": "ray",
            "labels": {"app.kubernetes.io/name": "kuberay-operator"},
        },
        "spec": {"template": {"spec": {"containers": [{"image": "quay.io/kuberay/operator:v1.5.1"}]}}},
    }
    server.objects["/apis/apps/v1/namespaces/ray/deployments/kuberay-operator"] = deployment
    with pytest.raises(Refused, match=r"operator 1\.5\.1 runs in namespace ray, and Switchyard did not install it"):
        install(kube, folder)


@pytest.mark.parametrize(
    ("installed", "options", "apply", "text"),
    [
        (Installed("1.6.1"), {}, True, "upgrade KubeRay 1.6.1 to 1.7.0, CRDs first"),
        (Installed("1.7.0"), {}, False, "KubeRay 1.7.0 is installed"),
        (Installed("1.7.0"), {"again": True}, True, "upgrade KubeRay 1.7.0 to 1.7.0, CRDs first"),
        (Installed("1.8.0"), {}, False, "KubeRay 1.8.0 is installed, 1.7.0 is older"),
        (Installed("1.8.0"), {"downgrade": True}, True, "upgrade KubeRay 1.8.0 to 1.7.0"),
        (Installed(), {}, True, "install KubeRay 1.7.0"),
    ],
)
def test_decide(installed: Installed, options: dict[str, bool], apply: bool, text: str) -> None:
    verdict = release.decide(installed, "1.7.0", [], **options)
    assert verdict.apply is apply
    assert verdict.text.startswith(text)


def test_schedule_objects(kube: Kube, server: FakeKube) -> None:
    from cluster.hours import parse

    server.objects[path_of("CustomResourceDefinition", name="rayservices.ray.io")] = CRD
    set_schedule(kube, SMALL, parse("weekdays 08:00-20:00 Europe/Berlin"), "gemma", lambda text: None)
    wake, sleep = (server.objects[path_of("CronJob", "default", f"gemma-hours-{what}")] for what in ("wake", "sleep"))
    assert (wake["spec"]["schedule"], sleep["spec"]["schedule"]) == ("0 8 * * 1,2,3,4,5", "0 20 * * 1,2,3,4,5")
    assert wake["spec"]["timeZone"] == "Europe/Berlin"
    container = sleep["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][-1] == '--patch={"spec":{"suspend":true}}'
    role = server.objects[path_of("Role", "default", "gemma-hours")]
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayservices"], "resourceNames": ["gemma"], "verbs": ["get", "patch"]}
    ]
    set_schedule(kube, SMALL, None, "gemma", lambda text: None)
    assert list(server.objects) == [path_of("CustomResourceDefinition", name="rayservices.ray.io")]


def test_an_old_kuberay_cannot_suspend_and_is_not_asked_to(kube: Kube, server: FakeKube) -> None:
    server.objects[path_of("RayService", "default", "gemma")] = dict(SERVICE)
    with pytest.raises(Refused, match="cannot suspend a RayService"):
        suspend(kube, "default", "gemma", lambda text: None, value=True)
    with pytest.raises(Refused, match="cannot suspend a RayService"):
        park(kube, "default", lambda text: None)
    assert server.objects[path_of("RayService", "default", "gemma")] == SERVICE


def test_a_cluster_that_comes_back_wakes_what_it_put_to_sleep_and_nothing_else(kube: Kube, server: FakeKube) -> None:
    def service(name: str, *, suspended: bool) -> dict[str, Any]:
        server.objects[path_of("RayService", "default", name)] = made = {
            "metadata": {"name": name},
            "spec": {"suspend": suspended},
        }
        return made

    server.objects[path_of("CustomResourceDefinition", name="rayservices.ray.io")] = CRD
    serving, resting = service("gemma", suspended=False), service("trial", suspended=True)
    told: list[str] = []
    for _ in range(2):  # as often as one likes
        park(kube, "default", told.append)
        assert (serving["spec"]["suspend"], resting["spec"]["suspend"]) == (True, True)
    for _ in range(2):
        unpark(kube, "default", told.append)
        assert (serving["spec"]["suspend"], resting["spec"]["suspend"]) == (False, True)
    stays = "RayService trial stays suspended, as it was before; wake it with: switchyard resume trial -n default"
    assert told == ["RayService gemma suspended", "RayService gemma resumed", stays, stays]


def test_the_whole_way_inside_the_cluster(tmp_path: Path) -> None:
    with sitting(tmp_path, FakeGoogle(slow=0)) as user:
        user.environ["HF_TOKEN"] = "hf_secret"
        user.write(ray_operator="addon")  # KubeRay's own release is four megabytes
        user.kube.objects[path_of("CustomResourceDefinition", name="rayservices.ray.io")] = CRD
        done = user.run("apply", "--yes")
        assert done.code == 0
        secret = user.kube.objects[path_of("Secret", "default", "hf-secret")]
        assert base64.b64decode(secret["data"]["hf_api_token"]) == b"hf_secret"
        account = user.kube.objects[path_of("ServiceAccount", "default", "switchyard")]
        assert account["metadata"]["annotations"] == {
            "iam.gke.io/gcp-service-account": "switchyard-serve@my-project.iam.gserviceaccount.com"
        }
        # Later runs need no token: Secret Manager has it.
        del user.environ["HF_TOKEN"], user.kube.objects[path_of("Secret", "default", "hf-secret")]
        assert user.run("apply", "--yes").code == 0
        assert path_of("Secret", "default", "hf-secret") in user.kube.objects
        _off_hours(user)
        assert "Google's add-on looks after it" in user.run("doctor").out
        assert "cluster.ray_operator is addon" in user.run("install-operator").text


def _off_hours(user: User) -> None:
    path = path_of("RayService", "default", "gemma")
    user.kube.objects[path] = {**SERVICE, "spec": {}}
    done = user.run("schedule", "weekdays 08:00-20:00 Europe/Berlin")
    assert done.code == 0
    assert "On 36% of the week: saves up to $2,295 a month (unverified estimates" in done.out
    assert user.run("schedule").out == "gemma is up weekdays 08:00-20:00 Europe/Berlin.\n"
    assert user.run("schedule", "--sleep").out.startswith("RayService gemma suspended")
    assert user.kube.objects[path]["spec"] == {"suspend": True}
    assert user.run("schedule", "--wake").code == 0
    assert user.run("scale", "--to-zero", "--yes").code == 0
    assert user.kube.objects[path]["spec"] == {"suspend": True}
    assert user.run("scale", "--resume", "--yes").code == 0
    assert user.kube.objects[path]["spec"] == {"suspend": False}
    assert user.run("schedule", "--off").out.endswith("gemma has no schedule.\n")
    bad = user.run("schedule", "weekdays 20:00-08:00 Europe/Berlin")
    assert bad.code == 1
    assert "ends before it starts" in bad.text
    assert user.run("schedule", "").code == 1


def test_a_folder_without_the_release_is_noticed_before_anything_is_made(tmp_path: Path, folder: Path) -> None:
    for path in release.files("1.7.0"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("kind: Secret", encoding="utf-8")
    with sitting(tmp_path, FakeGoogle(slow=0)) as user:
        for where, message in (
            (tmp_path, "--manifests is KubeRay's folder ray-operator/config."),
            (folder, "Nothing was applied."),  # a release, but not the released files
        ):
            done = user.run("apply", "--yes", "--manifests", str(where))
            assert done.code == 1
            assert message in done.text
        assert user.fake.journal == []


def test_a_failure_inside_the_cluster_says_what_is_done(tmp_path: Path) -> None:
    with sitting(tmp_path, FakeGoogle(slow=0)) as user:
        user.kube.down = True
        done = user.run("apply", "--yes")
        assert done.code == 1
        assert "the server is currently unable to handle the request" in done.text
        assert "Google's part is done; what is inside the cluster is not. Run apply again." in done.text
