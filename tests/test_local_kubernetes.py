"""The pure parts of the local cluster; tests/e2e has the rest."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256

import pytest

from tests.e2e.kube import archive, build, components, manifests, needs
from tests.e2e.kube.steps import KubeError, run


def test_an_image_is_packed_under_the_digests_of_its_parts() -> None:
    image = archive.of_one_file("docker.io/library/x:1", "/x", b"program", architecture="amd64", user="1")
    with tarfile.open(fileobj=io.BytesIO(archive.pack(image))) as tar:
        files = {name: tar.extractfile(name) for name in tar.getnames()}
        blobs = {name: file.read() for name, file in files.items() if file and name.startswith("blobs/")}
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert all(name.rpartition("/")[2] == sha256(blob).hexdigest() for name, blob in blobs.items())
    assert len(blobs) == 3
    [entry] = index["manifests"]
    assert entry["digest"] == image.digest
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/x:1"


def test_the_same_program_gives_the_same_image() -> None:
    once, twice = (archive.of_one_file("x", "/x", b"x", architecture="amd64", user="1") for _ in range(2))
    assert once.digest == twice.digest


def test_a_snapshot_is_named_after_its_layer_and_all_below() -> None:
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert archive.chain_ids([first, second]) == [
        first,
        f"sha256:{sha256(f'{first} {second}'.encode()).hexdigest()}",
    ]


def test_every_program_that_is_started_is_built() -> None:
    text = "".join((module.source / "go.mod").read_text() + module.program for module in build.ALL)
    for component in components.components():
        assert component.name in text


def test_kubernetes_says_its_version() -> None:
    version = build.KUBERNETES.version("k8s.io/kubernetes")
    assert f"gitVersion={version}" in " ".join(build.KUBERNETES.flags())


def test_no_module_has_a_replacement_on_this_machine() -> None:
    for module in (*build.ALL, build.TRAEFIK):
        assert "=> ." not in (module.source / "go.mod").read_text()


def test_the_operator_comes_from_our_image_and_nowhere_else() -> None:
    files = manifests.operator("../config", "docker.io/library/kuberay-operator:local")
    kustomization = json.loads(files["kustomization.yaml"])
    assert kustomization["images"][0]["newTag"] == "local"
    assert set(kustomization["resources"]) == {"namespace.json", "../config/crd", "../config/rbac", "../config/manager"}


def test_traefik_comes_from_our_image_and_only_for_those_who_ask() -> None:
    assert build.TRAEFIK not in build.ALL
    made = [json.loads(text) for text in manifests.gateway("docker.io/library/traefik:local").split("\n---\n")]
    [deployment] = [one for one in made if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("docker.io/library/traefik:local", "Never")


def test_a_machine_without_go_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(KubeError, match=r"Go 1\.26.*kube-needs\.sh"):
        needs.check_needs()


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(KubeError, match="exit status 3\nno luck"):
        run("sh", "-c", "echo no luck >&2; exit 3")
