"""The typed model and what is rendered from it, against KubeRay's CustomResourceDefinition."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from kuberay.manifests.manifest import ray_service, release_of
from kuberay.manifests.rayservice import Json, Part, RayService
from tests import kuberay_crd
from tests.kuberay_crd import Schema, resolve
from tests.services import ON_KUBERNETES, deployed, rendered, service

LATER = {
    "spec.suspend",
    "spec.rayClusterConfig.gcsFaultToleranceOptions.backend",
    "spec.rayClusterConfig.workerGroupSpecs[].priority",
}
"""Fields of KubeRay 1.7, which the pinned version lacks. With a 1.7 extract this is to be empty."""


REQUIRED_UNTIL_LATER = {"spec.rayClusterConfig.gcsFaultToleranceOptions.redisAddress"}
"""Required by the pinned version, not by KubeRay 1.7."""


def differences(
    ours: Schema, theirs: Schema, roots: tuple[Schema, Schema], path: str = ""
) -> Iterator[tuple[str, str]]:
    """Where the model would send what the definition does not take: (path, what)."""
    ours, theirs = resolve(ours, roots[0]), resolve(theirs, roots[1])
    if "anyOf" in ours:  # X | None; None is never sent
        (ours,) = (resolve(one, roots[0]) for one in ours["anyOf"] if one.get("type") != "null")
    if "type" in ours and ours["type"] != theirs["type"]:
        yield path, f"{ours['type']} is not {theirs['type']}"
        return
    allowed = theirs.get("enum")
    values = ours.get("enum") or ([ours["const"]] if "const" in ours else [])
    if allowed and not values:
        yield path, "takes any value, the definition only some"
    if allowed and values and not set(values) <= set(allowed):
        yield path, f"{values} are not all among {allowed}"
    if "items" in ours:
        yield from differences(ours["items"], theirs["items"], roots, f"{path}[]")
    if theirs.get("additionalProperties") and isinstance(ours.get("additionalProperties"), dict):
        yield from differences(ours["additionalProperties"], theirs["additionalProperties"], roots, f"{path}.*")
    known = theirs.get("properties", {})
    for name, field in ours.get("properties", {}).items():
        below = f"{path}.{name}".lstrip(".")
        if name not in known:
            yield below, "unknown"
        else:
            yield from differences(field, known[name], roots, below)
    if "properties" in ours:
        for name in set(theirs.get("required", [])) - set(ours.get("required", [])):
            yield f"{path}.{name}".lstrip("."), "required there, optional here"


def compared(model: type[Part]) -> list[tuple[str, str]]:
    ours, theirs = model.model_json_schema(by_alias=True), kuberay_crd.schema()
    return list(differences(ours, theirs, (ours, theirs)))


def test_every_field_of_the_model_is_one_of_the_definition() -> None:
    found = compared(RayService)
    assert {path for path, what in found if what == "unknown"} == LATER
    assert {path for path, what in found if what == "required there, optional here"} == REQUIRED_UNTIL_LATER
    assert len(found) == len(LATER) + len(REQUIRED_UNTIL_LATER)


def test_the_comparison_sees_what_it_is_for() -> None:
    class Wrong(RayService):
        status_text: str = ""
        metadata: str = ""  # type: ignore[assignment]

    assert dict(compared(Wrong)) == {
        **dict.fromkeys(LATER, "unknown"),
        **dict.fromkeys(REQUIRED_UNTIL_LATER, "required there, optional here"),
        "statusText": "unknown",
        "metadata": "string is not object",
    }


def test_the_extract_is_that_of_the_pinned_module() -> None:
    """Needs Go, and a module proxy or a filled cache. CI has both, so there it may not be skipped."""
    try:
        if shutil.which("go") is None:
            raise FileNotFoundError("there is no Go here")
        extracted = kuberay_crd.extracted()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"cannot read KubeRay's module: {error}")
    assert kuberay_crd.text_of(extracted) == kuberay_crd.EXTRACT.read_text(), "python -m tests.kuberay_crd"


def without_later(item: Json) -> Json:
    """The object as KubeRay 1.6 is to be given it."""
    item = copy.deepcopy(item)
    for path in LATER:
        *above, last = path.split(".")
        nodes: list[Any] = [item]
        for step in above:
            nodes = [node[step.removesuffix("[]")] for node in nodes if step.removesuffix("[]") in node]
            nodes = [one for node in nodes for one in (node if isinstance(node, list) else [node])]
        for node in nodes:
            node.pop(last, None)
    return item


def complaints(item: Json) -> list[str]:
    validator = jsonschema.Draft202012Validator(kuberay_crd.schema())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]


VARIANTS: dict[str, dict[str, Any]] = {
    "incremental": {
        "kubernetes": {"upgrade": {"strategy": "NewClusterWithIncrementalUpgrade", "gateway_class": "istio"}}
    },
    "redis": {
        "kubernetes": {
            "gcs_fault_tolerance": {
                "backend": "redis",
                "redis_address": "redis:6379",
                "redis_password": {"name": "redis", "key": "password"},
            }
        }
    },
    "keys, volume, pull secret, open Ray": {
        "serving": {"api_keys_file": "keys.txt"},
        "kubernetes": {
            "api_keys": {"name": "keys", "key": "list"},
            "model_cache_claim": "models",
            "image_pull_secrets": ["registry"],
            "ray_token_auth": False,
        },
    },
    "two groups": {"kubernetes": {"worker_groups": [{"name": "a"}, {"name": "b", "spot": True}]}},
    "tolerations": {
        "kubernetes": {"worker_groups": [{"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 3}]}]}
    },
    "pipeline": {"engine": {"pipeline_parallel_size": 3, "tensor_parallel_size": 8}},
    "none": {"scaling": {"min_replicas": 0}, "kubernetes": {"upgrade": {"strategy": "None"}}},
}


@pytest.mark.parametrize("name", [file.name for file in ON_KUBERNETES])
def test_a_file_of_deploy_gives_a_valid_object(name: str) -> None:
    item = rendered(deployed(name), "RayService")
    assert complaints(without_later(item)) == []
    if without_later(item) == item:
        assert complaints(item) == []


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_is_a_valid_object(change: dict[str, Any]) -> None:
    assert complaints(without_later(rendered(service(change), "RayService"))) == []


def test_rocksdb_needs_a_later_version() -> None:
    item = rendered(service({"kubernetes": {"gcs_fault_tolerance": {"backend": "rocksdb"}}}), "RayService")
    assert len(complaints(item)) == 2
    assert "'redisAddress' is a required property" in complaints(item)[0]


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        (("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "nodeSelectr"), {}, "nodeSelectr"),
        (("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "hostIPC"), "yes", "boolean"),
        (("spec", "rayClusterConfig", "authOptions", "mode"), "none", "none"),
        (("spec", "upgradeStrategy", "clusterUpgradeOptions"), {}, "required"),
        (("spec", "nothing"), 1, "nothing"),
    ],
)
def test_the_schema_refuses_what_the_api_server_would(path: tuple[str, ...], value: Any, part: str) -> None:
    item = without_later(rendered(deployed("e2e.yaml"), "RayService"))
    node = item
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    assert part in "\n".join(complaints(item))


def test_fields_that_are_not_named_survive_a_round_trip() -> None:
    """An object read from a cluster has more than this project sets; and less, where somebody else made it."""
    item = rendered(deployed("gke-multi-gpu.yaml"), "RayService")
    item["metadata"]["uid"] = "u"
    item["status"] = {"numServeEndpoints": 2}
    item["spec"]["serveService"] = {"spec": {"type": "ClusterIP"}}
    item["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["a"]}
    item["spec"]["rayClusterConfig"]["headGroupSpec"]["headService"] = {"spec": {}}
    del item["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]
    assert RayService.model_validate(item).to_object() == item


def test_the_same_file_gives_the_same_object() -> None:
    one, two = (deployed("gke-multi-gpu.yaml") for _ in range(2))
    assert ray_service(one, release_of(one)) == ray_service(two, release_of(two))
    assert yaml.safe_load(release_of(one).config)["engine"]["tensor_parallel_size"] == 4
