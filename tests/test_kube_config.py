"""The ``kubernetes`` section: what it may say, and what is said to whoever wrote it wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kuberay.config import Service, load, parse
from kuberay.errors import ConfigError
from kuberay.manifests.manifest import objects
from tests.services import BASE, merged, service, text

DIGEST = "@sha256:" + "0" * 64


def refusal(change: dict[str, Any] | str, **environ: str) -> str:
    """What is said about a change of the base file, or a text added to it."""
    whole = text() + change if isinstance(change, str) else text(change)
    with pytest.raises(ConfigError) as caught:
        objects(parse(whole, source="f.yaml", environ=environ))
    return str(caught.value)


def kubernetes(**change: Any) -> dict[str, Any]:
    return {"kubernetes": change}


def group(**change: Any) -> dict[str, Any]:
    return {"kubernetes": {"worker_groups": [change]}}


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("  namespce: x\n", "f.yaml:12: unknown key 'kubernetes.namespce'; did you mean 'kubernetes.namespace'?"),
        ("  head: {gpu: 1}\n", "f.yaml:12: unknown key 'kubernetes.head.gpu'; "),
        ("  upgrade:\n    stepsize: 5\n", "f.yaml:13: unknown key 'kubernetes.upgrade.stepsize'; did you mean 'kuber"),
        (
            "  worker_groups:\n  - nme: x\n",
            "f.yaml:13: unknown key 'kubernetes.worker_groups.0.nme'; did you mean 'kubernetes.worker_groups.0.name'?",
        ),
        ("  worker_groups: []\n", "f.yaml:12: kubernetes.worker_groups: "),
        ("  worker_groups: {name: x}\n", "f.yaml:12: kubernetes.worker_groups: "),
        ("  head: {cpu: two}\n", "f.yaml:12: kubernetes.head.cpu: must be a number of CPUs such as 2, 0.5 or 500m"),
        ("  head: {cpu: 8Gi}\n", "f.yaml:12: kubernetes.head.cpu: must be a number of CPUs such as 2, 0.5 or 500m"),
        ("  head: {memory: 8 GB}\n", "f.yaml:12: kubernetes.head.memory: must be an amount with its unit (Mi, Gi, Ti"),
        ("  head: {memory: 8}\n", "f.yaml:12: kubernetes.head.memory: must be an amount with its unit"),
        ("  head: {memory: 500m}\n", "f.yaml:12: kubernetes.head.memory: must be an amount with its unit"),
        ("  namespace: My_Space\n", "f.yaml:12: kubernetes.namespace: "),
        ("  namespace: a\n  namespace: b\n", "f.yaml:13: 'kubernetes.namespace' is given twice, first on line 12."),
        ("  env: {A: 1}\n", "f.yaml:12: kubernetes.env.A: "),
        ("  probe_timeout_s: 0\n", "f.yaml:12: kubernetes.probe_timeout_s: "),
        ("  model_cache_claim: A_B\n", "f.yaml:12: kubernetes.model_cache_claim: "),
    ],
)
def test_a_mistake_is_told_with_its_line(added: str, message: str) -> None:
    assert message in refusal(added)


def test_every_mistake_is_told_at_once() -> None:
    assert len(refusal("  head: {cpu: x, memory: y}\n  namespce: z\n").splitlines()) == 3


@pytest.mark.parametrize(
    "image", ["a:1", "h.test/p/a:1.0-rc_1", "h.test:5000/p/a:v1", f"a{DIGEST}", f"h/a:latest{DIGEST}"]
)
def test_images_that_are_known(image: str) -> None:
    assert service(kubernetes(image=image)).kubernetes.image == image


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ("switchyard", "must have a tag other than latest, or a digest"),
        ("h.test:5000/p/a", "must have a tag other than latest, or a digest"),
        ("h.test/a:latest", "must have a tag other than latest, or a digest"),
        ("", "must be an image reference such as"),
        ("a:", "must be an image reference such as"),
        ("a:b:c", "must be an image reference such as"),
        ("a:1\n", "must be an image reference such as"),
        ("a b:1", "must be an image reference such as"),
        ("h.test/Team/a:1", "must be an image reference such as"),
        ("https://h.test/a:1", "must be an image reference such as"),
        ("a@sha256:123", "must be an image reference such as"),
    ],
)
def test_images_that_are_not(image: str, part: str) -> None:
    assert part in refusal(kubernetes(image=image))


def test_no_image_at_all() -> None:
    message = refusal(kubernetes(image=None))
    assert "kubernetes.image is missing" in message
    assert "make image" in message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (kubernetes(worker_groups=[{"name": "a"}, {"name": "a"}]), ["each needs a name of its own, not a, a"]),
        (kubernetes(upgrade={"strategy": "NewClusterWithIncrementalUpgrade"}), ["needs gateway_class"]),
        (
            kubernetes(
                upgrade={
                    "strategy": "NewClusterWithIncrementalUpgrade",
                    "gateway_class": "g",
                    "max_surge_percent": 5,
                    "step_size_percent": 10,
                }
            ),
            ["step_size_percent (10) is above max_surge_percent (5)"],
        ),
        (kubernetes(upgrade={"strategy": "BlueGreen"}), ["kubernetes.upgrade.strategy", "'NewCluster'"]),
        ({"serving": {"api_keys_file": "k"}}, ["a file of this machine", "kubernetes.api_keys (name, key)"]),
        ({"model": {"id": "/models/x"}}, ["folder /models/x", "gs://bucket/path", "kubernetes.model_cache_claim"]),
        ({"model": {"id": "./x"}}, ["folder ./x"]),
        (
            {"engine": {"tensor_parallel_size": 16}},
            ["tensor_parallel_size is 16", "at most 8 L4", "engine.pipeline_parallel_size"],
        ),
        ({"engine": {"accelerator": "B300"}}, ["B300 is not known here", "node_selector, cpu and memory"]),
        (group(accelerator="l4"), ["worker group 'workers'", "no replica would fit"]),
        (
            group(accelerator="A100"),
            ["has accelerator A100, but engine.accelerator is L4", "Set engine.accelerator to gpu"],
        ),
        (
            merged(group(accelerator="L4"), {"engine": {"accelerator": "cpu"}}),
            ["has accelerator L4, but engine.accelerator is cpu"],
        ),
        (merged(group(accelerator="l4"), {"engine": {"accelerator": "gpu"}}), ["l4 is not known here (known: T4, L4"]),
        (group(extra_resources={"nvidia.com/gpu": 1}), ["nvidia.com/gpu in extra_resources", "tensor_parallel_size"]),
        (group(extra_resources={"a.test/b": -1}), ["kubernetes.worker_groups.0.extra_resources.a.test/b"]),
        (group(min_replicas=3, max_replicas=2), ["min_replicas (3) is above max_replicas (2)"]),
        (group(max_replicas=0), ["kubernetes.worker_groups.0.max_replicas"]),
        (
            merged(group(max_replicas=1), {"scaling": {"max_replicas": 2}}),
            ["allow 1 replicas in all, scaling.max_replicas is 2", "Raise a group's max_replicas"],
        ),
        (
            {"engine": {"accelerator": "cpu", "cpus_per_worker": 0}},
            ["engine.cpus_per_worker is 0", "Set it to 1 or more"],
        ),
        (
            kubernetes(gcs_fault_tolerance={"backend": "redis"}),
            ["redis_address belongs to backend redis, which needs it"],
        ),
        (kubernetes(gcs_fault_tolerance={"redis_address": "r:1"}), ["redis_address belongs to backend redis"]),
        (
            kubernetes(gcs_fault_tolerance={"redis_password": {"name": "a", "key": "b"}}),
            ["redis_password belongs to backend redis"],
        ),
        (kubernetes(env={"A-B": "x"}), ["'A-B' is no name for a variable"]),
        (kubernetes(env={"SWITCHYARD_RELEASE": "x"}), ["SWITCHYARD_RELEASE is set by the release itself"]),
        (kubernetes(env={"SWITCHYARD_CONFIG": "x"}), ["SWITCHYARD_CONFIG is set by the release itself"]),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(change: dict[str, Any], parts: list[str]) -> None:
    message = refusal(change)
    assert [part for part in parts if part.lower() not in message.lower()] == [], message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "x"),
        ("hf_token", "x"),
        ("REDIS_PASSWORD", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("OPENAI_API_KEY", "x"),
        ("OTHER", "hf_abcdefgh"),
        ("OTHER", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_secrets_have_no_place_in_env(name: str, value: str) -> None:
    message = refusal(kubernetes(env={name: value}))
    assert f"{name} looks like a secret; put it into a Secret" in message
    assert value == "x" or value not in message


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "OMP_NUM_THREADS", "SECRETARY"])
def test_names_that_only_sound_like_secrets(name: str) -> None:
    assert service(kubernetes(env={name: "1"})).kubernetes.env == {name: "1"}


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [(2, "8Gi", ("2", "8Gi")), (0.5, "1.5Gi", ("0.5", "1.5Gi")), ("300m", "512Mi", ("300m", "512Mi"))],
)
def test_amounts(cpu: Any, memory: str, expected: tuple[str, str]) -> None:
    head = service(kubernetes(head={"cpu": cpu, "memory": memory})).kubernetes.head
    assert (head.cpu, head.memory) == expected


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SWITCHYARD__KUBERNETES__NAMESPACE", "x", lambda s: s.kubernetes.namespace == "x"),
        ("SWITCHYARD__KUBERNETES__HEAD__CPU", "4", lambda s: s.kubernetes.head.cpu == "4"),
        ("SWITCHYARD__KUBERNETES__IMAGE", "h.test/a:2", lambda s: s.kubernetes.image == "h.test/a:2"),
        ("SWITCHYARD__KUBERNETES__ENV", "{A: b}", lambda s: s.kubernetes.env == {"A": "b"}),
        ("MODEL_ID", "other/model", lambda s: s.config.model.id == "other/model"),
    ],
)
def test_overrides_from_the_environment(variable: str, value: str, expected: Callable[[Service], bool]) -> None:
    assert not expected(service())
    assert expected(service(None, **{variable: value}))


def test_a_wrong_override_is_told_by_its_variable() -> None:
    message = refusal({}, SWITCHYARD__KUBERNETES__NAMESPACE="Not_Allowed")
    assert message.startswith("SWITCHYARD__KUBERNETES__NAMESPACE: kubernetes.namespace: ")


def bounds(of: Service) -> list[tuple[int, int]]:
    (item,) = (one for one in objects(of) if one["kind"] == "RayService")
    groups = item["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert all(one["replicas"] == one["minReplicas"] for one in groups)
    return [(one["minReplicas"], one["maxReplicas"]) for one in groups]


@pytest.mark.parametrize(
    ("groups", "scaling", "expected"),
    [
        ([{}], (1, 4), [(1, 4)]),
        ([{}], (0, 4), [(0, 4)]),
        ([{"name": "a"}, {"name": "b"}], (2, 4), [(2, 4), (0, 4)]),
        ([{"name": "a", "max_replicas": 1}, {"name": "b"}], (2, 4), [(1, 1), (0, 4)]),
        ([{"name": "a", "min_replicas": 0}, {"name": "b", "min_replicas": 1}], (1, 3), [(0, 3), (1, 3)]),
    ],
)
def test_bounds_of_groups(
    groups: list[dict[str, Any]], scaling: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    low, high = scaling
    change = {"scaling": {"min_replicas": low, "max_replicas": high}, "kubernetes": {"worker_groups": groups}}
    assert bounds(service(change)) == expected


def test_an_unknown_accelerator_works_when_it_is_described() -> None:
    described = {"node_selector": {"gpu": "b300"}, "cpu": 8, "memory": "64Gi"}
    assert bounds(service(merged(group(**described), {"engine": {"accelerator": "B300"}}))) == [(1, 2)]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"There is no service file nowhere\.yaml"):
        load("nowhere.yaml", {})


def test_the_base_file_is_accepted() -> None:
    assert parse(text(), source="f.yaml", environ={}).name == BASE["name"]
