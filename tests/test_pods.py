"""Pods: that a replica fits them, that the autoscaler sees so, what they may do, and what makes new ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kuberay.accelerators import ACCELERATORS, GKE_ACCELERATOR_LABEL, GPU_RESOURCE
from kuberay.config import Service
from kuberay.errors import ConfigError
from kuberay.manifests.manifest import objects, release_of
from kuberay.manifests.muting import muted
from kuberay.manifests.rayservice import Json
from serve_app.config import parse_config
from serve_app.engine_options import placement
from serve_app.environment import ENGINE_ENV, SERVE_ENV
from tests.services import ON_KUBERNETES, cluster_spec, deployed, groups, merged, rendered, service

EVERYTHING: dict[str, Any] = {
    "serving": {"api_keys_file": "keys.txt"},
    "kubernetes": {
        "api_keys": {"name": "keys-secret", "key": "list"},
        "hf_token": {"name": "token-secret", "key": "token"},
        "model_cache_claim": "models",
        "image_pull_secrets": ["pull-secret"],
        "pod_monitoring": True,
        "gcs_fault_tolerance": {
            "backend": "redis",
            "redis_address": "redis:6379",
            "redis_password": {"name": "redis-secret", "key": "password"},
        },
        "worker_groups": [{"name": "a"}, {"name": "b", "spot": True}],
    },
}
SERVICES = {
    **{file.name: deployed(file.name) for file in ON_KUBERNETES},
    "everything": service(EVERYTHING),
    "on CPUs over two pods": service({"engine": {"accelerator": "cpu", "pipeline_parallel_size": 2}}),
}

each_service = pytest.mark.parametrize("of", SERVICES.values(), ids=SERVICES.keys())


def container(group: Json) -> Json:
    (only,) = group["template"]["spec"]["containers"]
    return only


def variables(group: Json) -> dict[str, Any]:
    return {item["name"]: item.get("value") for item in container(group)["env"]}


# A replica and the pods for it


def seen_by_the_autoscaler(group: Json, *, is_head: bool = False) -> dict[str, float]:
    """What Ray's autoscaler counts on from a pod of this group before there is one."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _node_type_from_group_spec

    return _node_type_from_group_spec(group, is_head)["resources"]


def demand(of: Service) -> list[dict[str, float]]:
    """What one replica asks Ray for: the bundles of its placement group, or its actor alone."""
    place = placement(of.config)
    if place.bundles is not None:
        return place.bundles
    wanted = {"CPU": place.actor_options["num_cpus"], "GPU": place.actor_options.get("num_gpus", 0)}
    if accelerator := place.actor_options.get("accelerator_type"):
        wanted[f"accelerator_type:{accelerator}"] = 0.001  # as ray.util.accelerators does it
    return [wanted]


def pods_needed(bundles: list[dict[str, float]], pod: dict[str, float], *, spread: bool) -> int | None:
    """Pods that hold the bundles, filled one after the other; None if one does not fit an empty pod."""
    left: list[dict[str, float]] = []
    for bundle in bundles:
        room = left[-1] if left and not spread else {}
        if any(room.get(name, 0) < amount for name, amount in bundle.items()):
            room = dict(pod)
            left.append(room)
        for name, amount in bundle.items():
            if room.get(name, 0) < amount:
                return None
            room[name] = round(room.get(name, 0) - amount, 4)
    return len(left)


ENGINES = st.fixed_dictionaries(
    {
        "accelerator": st.sampled_from(["cpu", "gpu", *ACCELERATORS]),
        "tensor_parallel_size": st.integers(1, 8),
        "pipeline_parallel_size": st.integers(1, 4),
        "cpus_per_worker": st.sampled_from([0, 0.1, 0.5, 1, 1.1, 3, 8]),
    }
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(engine=ENGINES, accelerator=st.none() | st.sampled_from(list(ACCELERATORS)))
def test_a_replica_fits_its_pods_exactly(engine: dict[str, Any], accelerator: str | None) -> None:
    change = {"engine": engine, "kubernetes": {"worker_groups": [{"accelerator": accelerator}]}}
    try:
        of = service(change)
        head, worker = groups(of)
    except ConfigError:
        impossible = (
            (engine["accelerator"] == "cpu" and (engine["cpus_per_worker"] == 0 or accelerator is not None))
            or (accelerator is not None and engine["accelerator"] not in ("gpu", accelerator))
            or engine["tensor_parallel_size"] > ACCELERATORS[accelerator or engine["accelerator"]].per_node
        )
        assert impossible
        return
    pod, bundles = seen_by_the_autoscaler(worker), demand(of)
    spread = placement(of.config).strategy == "STRICT_SPREAD"
    assert pods_needed(bundles, pod, spread=spread) == worker["numOfHosts"]
    assert pods_needed(bundles, seen_by_the_autoscaler(head, is_head=True), spread=spread) is None
    wasted = pod["CPU"] - engine["cpus_per_worker"] * engine["tensor_parallel_size"]
    assert -1e-6 <= wasted < 1
    on_gpus = engine["accelerator"] != "cpu"
    gpus = container(worker)["resources"]["limits"].get(GPU_RESOURCE)
    assert gpus == (str(engine["tensor_parallel_size"]) if on_gpus else None)
    if on_gpus:
        assert pod["GPU"] == engine["tensor_parallel_size"]


def test_a_pod_that_is_one_gpu_short_is_found() -> None:
    """The test above would see it."""
    of = service({"engine": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}})
    pod = seen_by_the_autoscaler(groups(of)[1])
    assert pods_needed(demand(of), pod, spread=False) == 2
    assert pods_needed(demand(of), pod | {"GPU": 3}, spread=False) == 3
    assert pods_needed(demand(of), pod | {"accelerator_type:L4": 0}, spread=False) is None


def test_the_resources_of_ray_start_survive_the_shell() -> None:
    """KubeRay puts them into a command line as they are; the autoscaler reads the same text."""
    (text,) = (groups(service())[1]["rayStartParams"]["resources"],)
    import shlex

    (word,) = shlex.split(text)
    assert json.loads(word) == {"accelerator_type:L4": 1}


@each_service
def test_the_head_runs_no_replica(of: Service) -> None:
    head = groups(of)[0]
    assert head["rayStartParams"]["num-cpus"] == "0"
    resources = container(head)["resources"]
    assert not [name for name in (*resources["limits"], *resources["requests"]) if "gpu" in name]
    assert seen_by_the_autoscaler(head, is_head=True).keys() <= {"CPU", "memory"}


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_gpu_pods_go_to_nodes_that_have_them(name: str) -> None:
    worker = groups(service({"engine": {"accelerator": name}, "kubernetes": {"worker_groups": [{"spot": True}]}}))[1]
    spec = worker["template"]["spec"]
    assert spec["nodeSelector"] == {
        GKE_ACCELERATOR_LABEL: ACCELERATORS[name].gke,
        "cloud.google.com/gke-spot": "true",
    }
    assert {item["key"] for item in spec["tolerations"]} == {GPU_RESOURCE, "cloud.google.com/gke-spot"}


def test_a_pod_has_the_cpus_that_its_replica_counts_on() -> None:
    worker = groups(service({"engine": {"cpus_per_worker": 12}}))[1]
    assert container(worker)["resources"]["requests"]["cpu"] == "12"


def test_groups_are_tried_in_the_files_order() -> None:
    """Ray's scheduler takes the highest number first."""
    named = [{"name": name} for name in "abc"]
    of = service({"kubernetes": {"worker_groups": named}})
    numbers = [group["priority"] for group in groups(of)[1:]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 3
    assert "priority" not in groups(service())[1]
    named[2]["priority"] = 9  # type: ignore[assignment]
    assert groups(service({"kubernetes": {"worker_groups": named}}))[3]["priority"] == 9


# How long a pod may take to go


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(longest=st.floats(0.1, 86_400), keep=st.integers(0, 86_400))
def test_a_request_that_is_running_can_end(longest: float, keep: int) -> None:
    of = service({"serving": {"max_request_s": longest}, "kubernetes": {"upgrade": {"keep_old_s": keep}}})
    spec = rendered(of, "RayService")["spec"]
    assert spec["rayClusterDeletionDelaySeconds"] >= max(longest, keep)
    worker = groups(of)[1]
    assert worker["template"]["spec"]["terminationGracePeriodSeconds"] > longest
    assert float(variables(worker)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= longest


# What a pod may do, and what it knows


@each_service
def test_pods_meet_the_restricted_profile(of: Service) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, Restricted, as of 1.36, field by field.

    KubeRay gives its init container the worker's security context, and the autoscaler has one of its own.
    """
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for group in groups(of):
        spec = group["template"]["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not {"annotations"} & group["template"]["metadata"].keys()  # AppArmor
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] != 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"seLinuxOptions", "sysctls", "windowsOptions"} & pod.keys()
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= allowed
        for context in (container(group)["securityContext"], cluster_spec(of)["autoscalerOptions"]["securityContext"]):
            assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert not [port for port in container(group)["ports"] if "hostPort" in port]
        for probe in ("livenessProbe", "readinessProbe"):
            assert "host" not in container(group)[probe]["httpGet"]


@each_service
def test_only_the_head_talks_to_the_api_server(of: Service) -> None:
    head, *workers = groups(of)
    assert head["template"]["spec"]["automountServiceAccountToken"] is True
    assert not any(worker["template"]["spec"]["automountServiceAccountToken"] for worker in workers)


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from walk(value, (*path, str(key)))


@each_service
def test_secrets_are_named_and_never_there(of: Service) -> None:
    for item in objects(of):
        assert item["kind"] != "Secret"
        for path, node in walk(item):
            if isinstance(node, dict) and "name" in node and re.search(r"TOKEN|PASSWORD|SECRET|KEY", str(node["name"])):
                assert "value" not in node, path
                assert node["valueFrom"].keys() == {"secretKeyRef"}


def test_where_secrets_are_named() -> None:
    of = SERVICES["everything"]
    found = {
        str(node)
        for path, node in walk(cluster_spec(of))
        if path[-2:-1] in (("secretKeyRef",), ("secret",), ("authOptions",), ("imagePullSecrets",))
        or "secretName" in path
        if str(node).endswith(("-secret", "-token"))
    }
    pulls = [one for group in groups(of) for one in group["template"]["spec"]["imagePullSecrets"]]
    assert pulls == [{"name": "pull-secret"}] * 3
    assert found >= {"keys-secret", "token-secret", "redis-secret", "llm-ray-token"}
    assert yaml.safe_load(release_of(of).config)["serving"]["api_keys_file"] == "/etc/switchyard-keys/keys"


@each_service
def test_every_port_has_a_name_of_its_own(of: Service) -> None:
    for group in groups(of):
        ports = {item["name"]: item["containerPort"] for item in container(group)["ports"]}
        assert len(ports) == len(set(ports.values())) == len(container(group)["ports"])
        assert all(re.fullmatch(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?", name) for name in ports)
        # KubeRay's Services take the ports from here, instead of its defaults.
        assert ports["serve"] == 8000
        assert ports["metrics"] == 8080
    assert {"gcs", "dashboard", "client"} <= {port["name"] for port in container(groups(of)[0])["ports"]}


@each_service
def test_probes_need_no_programs_in_the_image(of: Service) -> None:
    for group in groups(of):
        for probe in ("livenessProbe", "readinessProbe"):
            assert container(group)[probe].keys() & {"httpGet", "exec", "tcpSocket", "grpc"} == {"httpGet"}


@each_service
def test_ray_starts_in_every_pod_as_it_does_on_a_laptop(of: Service) -> None:
    for group in groups(of):
        assert {**SERVE_ENV, **ENGINE_ENV}.items() <= variables(group).items()


def test_a_variable_is_there_once() -> None:
    """The API server merges lists of variables by name and refuses a name that is there twice."""
    own = {"HF_HOME": "/mine", "RAY_SERVE_LOG_TO_STDERR": "1", "NEW": "x"}
    for group in groups(service({"kubernetes": {"env": own}})):
        names = [item["name"] for item in container(group)["env"]]
        assert len(names) == len(set(names))
        assert own.items() <= variables(group).items()


@each_service
def test_the_config_map_on_the_pods_is_the_one_that_is_rendered(of: Service) -> None:
    config_map = rendered(of, "ConfigMap")
    assert config_map["immutable"] is True
    for group in groups(of):
        (volume,) = (one for one in group["template"]["spec"]["volumes"] if one["name"] == "release")
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        (mount,) = (one for one in container(group)["volumeMounts"] if one["name"] == "release")
        folder, file = variables(group)["SWITCHYARD_CONFIG"].rsplit("/", 1)
        assert mount["mountPath"] == folder
        assert file in config_map["data"]
        assert variables(group)["SWITCHYARD_RELEASE"] == config_map["metadata"]["labels"]["switchyard.dev/release"]
        volumes = {one["name"] for one in group["template"]["spec"]["volumes"]}
        assert volumes == {one["name"] for one in container(group)["volumeMounts"]}


@each_service
def test_a_pod_reads_the_config_that_was_written(of: Service) -> None:
    (text,) = rendered(of, "ConfigMap")["data"].values()
    read = parse_config(text, source="service.yaml", environ={})
    keys = read.serving.api_keys_file
    same = {"scaling": of.config.scaling, "serving": of.config.serving.model_copy(update={"api_keys_file": keys})}
    assert read.model_copy(update={"scaling": of.config.scaling}) == of.config.model_copy(update=same)


# What makes a new release, and new pods


def templates(of: Service) -> list[str]:
    return [json.dumps(group["template"], sort_keys=True) for group in groups(of)]


def muted_cluster(of: Service) -> Any:
    return muted(rendered(of, "RayService")["spec"]["rayClusterConfig"])


def serve_config(of: Service) -> str:
    return rendered(of, "RayService")["spec"]["serveConfigV2"]


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {"max_replicas": 7}},
        {"scaling": {"min_replicas": 2}},
        {"scaling": {"min_replicas": 0}},
        {"scaling": {"target_ongoing_requests": 3, "upscale_delay_s": 1, "downscale_delay_s": 9}},
        {"serving": {"port": 9000}},
        {"kubernetes": {"upgrade": {"keep_old_s": 3600}}},
        {"kubernetes": {"worker_groups": [{"max_replicas": 3}]}},
        {"kubernetes": {"network_policy": {"enabled": False}}},
        {"kubernetes": {"head": {"tolerations": [{"key": "a", "operator": "Exists"}]}}},
    ],
    ids=str,
)
def test_what_changes_in_place(change: dict[str, Any]) -> None:
    before, after = service(), service(change)
    assert release_of(after) == release_of(before)
    assert muted_cluster(after) == muted_cluster(before)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"id": "owner/other"}},
        {"model": {"revision": "0" * 40}},
        {"model": {"quantization": "fp8"}},
        {"engine": {"max_num_seqs": 7}},
        {"engine": {"options": {"enforce_eager": True}}},
        {"serving": {"defaults": {"temperature": 0.1}}},
        {"serving": {"max_request_s": 60}},
        {"kubernetes": {"image": "registry.test/switchyard:2.0"}},
        {"kubernetes": {"env": {"A": "b"}}},
        {"kubernetes": {"api_keys": {"name": "k", "key": "v"}}},
        # Nothing of the model; but KubeRay makes a new cluster, and two clusters must not go by one name.
        {"kubernetes": {"head": {"memory": "9Gi"}}},
        {"kubernetes": {"head": {"node_selector": {"disk": "nvme"}}}},
        {"kubernetes": {"service_account": "other"}},
        {"kubernetes": {"idle_timeout_s": 7}},
        {"kubernetes": {"ray_token_auth": False}},
        {"kubernetes": {"model_cache_claim": "weights"}},
        {"kubernetes": {"image_pull_secrets": ["registry"]}},
        {"kubernetes": {"gcs_fault_tolerance": {"backend": "redis", "redis_address": "redis:6379"}}},
    ],
    ids=str,
)
def test_what_is_a_new_release(change: dict[str, Any]) -> None:
    before, after = service(), service(change)
    assert release_of(after).id != release_of(before).id
    assert all(new != old for new, old in zip(templates(after), templates(before), strict=True))
    assert serve_config(after) == serve_config(before)


def test_the_same_amount_written_otherwise_is_the_same_release() -> None:
    one, other = (service({"kubernetes": {"head": {"cpu": cpu}}}) for cpu in ("500m", "0.5"))
    assert release_of(one).id == release_of(other).id


def test_an_added_worker_group_is_a_new_release() -> None:
    """KubeRay would let it join; see manifest.release_of."""
    groups = [{"name": "one"}, {"name": "two"}]
    before, after = (service({"kubernetes": {"worker_groups": some}}) for some in (groups[:1], groups))
    assert release_of(after).id != release_of(before).id


def test_going_back_gives_the_very_same_objects() -> None:
    there = {"model": {"id": "owner/other"}, "kubernetes": {"env": {"A": "b"}}}
    back = merged(there, {"model": {"id": "owner/model"}, "kubernetes": {"env": None}})
    del back["kubernetes"]["env"]
    assert objects(service(there)) != objects(service())
    assert objects(service(back)) == objects(service())


@each_service
def test_serve_accepts_its_config(of: Service) -> None:
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(yaml.safe_load(serve_config(of)))
    application, gate = schema.applications
    assert (gate.name, gate.route_prefix, gate.import_path) == ("gate", None, "serve_app.gate:build")
    (deployment,) = application.deployments
    assert (application.import_path, deployment.name) == ("serve_app:app", "LLM")
    assert isinstance(deployment.autoscaling_config, dict)
    autoscaling = AutoscalingConfig(**deployment.autoscaling_config)
    assert (autoscaling.min_replicas, autoscaling.max_replicas) == (
        of.config.scaling.min_replicas,
        of.config.scaling.max_replicas,
    )


def test_a_service_that_may_sleep_is_woken_through_its_head() -> None:
    asleep, awake = service({"scaling": {"min_replicas": 0}}), service()
    assert rendered(asleep, "RayService")["spec"]["excludeHeadPodFromServeSvc"] is False
    assert rendered(awake, "RayService")["spec"]["excludeHeadPodFromServeSvc"] is True


# What stands beside the pods


def ingress(clients: Any, monitoring: Any = ("monitoring",)) -> list[Json]:
    policy = {"client_namespaces": clients, "monitoring_namespaces": list(monitoring)}
    return rendered(service({"kubernetes": {"network_policy": policy}}), "NetworkPolicy")["spec"]["ingress"]


def test_who_may_call() -> None:
    open_to_all = [rule for rule in ingress(None) if "from" not in rule]
    assert open_to_all == [{"ports": [{"port": 8000, "protocol": "TCP"}]}]
    named = [rule for rule in ingress(["app"]) if '"app"' in json.dumps(rule)]
    assert [port["port"] for rule in named for port in rule["ports"]] == [8000]
    assert all("from" in rule for rule in ingress(["app"]))


def test_an_empty_list_of_namespaces_lets_nobody_in() -> None:
    """An empty ``from`` would let everybody in, and the API server refuses an empty list of values."""
    rules = ingress([], monitoring=())
    assert len(rules) == len(ingress(["app"])) - 2
    assert all(rule["from"] for rule in rules)
    assert '"values": []' not in json.dumps(rules)


@each_service
def test_selectors_find_the_pods_of_every_release(of: Service) -> None:
    labels = [group["template"]["metadata"]["labels"] for group in groups(of)]
    for item in objects(of):
        if item["kind"] == "PodDisruptionBudget":
            selector = item["spec"]["selector"]["matchLabels"]
            assert "switchyard.dev/release" not in selector
            assert [one for one in labels if selector.items() <= one.items()]
            assert isinstance(item["spec"]["minAvailable"], int)
        if item["kind"] == "NetworkPolicy":
            assert all(item["spec"]["podSelector"]["matchLabels"].items() <= one.items() for one in labels)
        if item["kind"] == "PodMonitoring":
            assert all(item["spec"]["selector"]["matchLabels"].items() <= one.items() for one in labels)
            wanted = {endpoint["port"] for endpoint in item["spec"]["endpoints"]}
            assert all(wanted <= {port["name"] for port in container(group)["ports"]} for group in groups(of))


@each_service
def test_every_object_is_the_services_own(of: Service) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects(of)]
    assert len(set(names)) == len(names)
    assert names[-1] == ("RayService", of.name)
    for item in objects(of):
        assert item["metadata"]["namespace"] == of.kubernetes.namespace
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == of.name
    account = groups(of)[0]["template"]["spec"]["serviceAccountName"]
    assert (("ServiceAccount", account) in names) is (of.kubernetes.service_account is None)
