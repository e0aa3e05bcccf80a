"""What would keep a service from starting, found before it is applied. Pure: what was seen in, problems out.

A problem that refuses is certain: what it names is missing, or can never be had. One that warns may turn out well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from kuberay.config import SecretKey, Service
from kuberay.fields import quantity
from kuberay.look.gates import FEATURE, incremental_upgrade
from kuberay.look.objects import name_of
from kuberay.look.redact import shown
from kuberay.manifests.rayservice import Json, group_pods
from kuberay.names import INCREMENTAL
from kuberay.plan.room import Problem, Used, requests, shortages
from kuberay.snapshot import Object, Snapshot, dig


@dataclass(frozen=True)
class Seen:
    """What preflight looks at beside the service's own snapshot.

    Attributes:
        there: what the service refers to, by (kind, name): the object, or None where there is none. What could not be
            read is left out.
        used: what pods of any namespace ask for, by node and resource.
        grows: whether a cluster autoscaler adds nodes.
    """

    there: Mapping[tuple[str, str], Object | None] = field(default_factory=dict[tuple[str, str], Object | None])
    used: Used = field(default_factory=dict[str, Mapping[str, Decimal]])
    grows: bool = False


def references(service: Service) -> list[tuple[str, str]]:
    """(kind, name) of everything a service needs that it does not bring."""
    kubernetes = service.kubernetes
    redis = kubernetes.gcs_fault_tolerance.redis_password
    secrets = [
        *kubernetes.image_pull_secrets,
        *(one.name for one in (kubernetes.hf_token, kubernetes.api_keys, redis) if one is not None),
    ]
    found = [("Secret", name) for name in dict.fromkeys(secrets)]
    if kubernetes.service_account:
        found.append(("ServiceAccount", kubernetes.service_account))
    if kubernetes.model_cache_claim:
        found.append(("PersistentVolumeClaim", kubernetes.model_cache_claim))
    return found


def preflight(service: Service, snapshot: Snapshot, wanted: Json, seen: Seen, *, new_pods: bool) -> list[Problem]:
    """Everything in the way.

    Args:
        service: the service file.
        snapshot: what is there of it.
        wanted: its RayService.
        seen: what it refers to, and the room there is.
        new_pods: whether a new cluster comes up, which needs room beside the old one.
    """
    found = [*_missing(service, seen), *_strategy(snapshot, wanted), *_gateway(service, seen)]
    if new_pods:
        nodes, cluster = list(snapshot.of("Node")), dig(wanted, "spec", "rayClusterConfig", default={})
        short = list(shortages(nodes, cluster, seen.used, grows=seen.grows))
        if short and (names := _retired(snapshot)):
            hint = f"{names} has retired, and makes room when it goes (switchyard status)."
            short = [replace(one, next=f"{one.next} {hint}") for one in short]
        found += [*short, *_quotas(snapshot, cluster)]
        found += _image(snapshot, service)
    return found


def _retired(snapshot: Snapshot) -> str:
    """RayClusters that are kept for a way back, or are leaving."""
    used = {name_of(one) for which in ("active", "pending") if (one := snapshot.cluster(which))}
    return ", ".join(f"RayCluster {name_of(one)}" for one in snapshot.of("RayCluster") if name_of(one) not in used)


def _strategy(snapshot: Snapshot, wanted: Json) -> Iterator[Problem]:
    strategy = dig(wanted, "spec", "upgradeStrategy", "type")
    if strategy == INCREMENTAL and incremental_upgrade(snapshot) is False:
        yield Problem(
            True,
            f"The KubeRay operator does not know the strategy {strategy}: its feature gate {FEATURE} is off "
            "(before 1.7 that is the default). It would then take no new release over at all.",
            f"Start the operator with --feature-gates={FEATURE}=true (Helm: featureGates), upgrade it to 1.7, or "
            "set kubernetes.upgrade.strategy to NewCluster.",
        )


def _gateway(service: Service, seen: Seen) -> Iterator[Problem]:
    name = service.kubernetes.upgrade.gateway_class or ""
    if ("GatewayClass", name) in seen.there and seen.there["GatewayClass", name] is None:
        yield Problem(
            True,
            f"There is no GatewayClass {name}: nothing would serve the Gateway that all the traffic goes through.",
            "kubectl get gatewayclass lists what there is. On GKE the Gateway API has to be on "
            "(gcloud container clusters update --gateway-api=standard).",
        )


def _image(snapshot: Snapshot, service: Service) -> Iterator[Problem]:
    """What is known of the image without asking its registry, which only the nodes can."""
    image = service.kubernetes.image or ""
    for pod in snapshot.of("Pod"):
        for status in dig(pod, "status", "containerStatuses", default=[]):
            reason = dig(status, "state", "waiting", "reason", default="")
            if status.get("image") == image and reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
                told = dig(status, "state", "waiting", "message", default=reason)
                yield Problem(
                    False,
                    f"Pod {name_of(pod)} waits for the image {image}, which could not be pulled: {shown(told)}",
                    "switchyard doctor says why; deploy --probe tries the image alone.",
                )
                return
    there = {
        _repository(name)
        for node in snapshot.of("Node")
        for one in dig(node, "status", "images", default=[])
        for name in dig(one, "names", default=[])
    }
    # A new tag of what the nodes have pulled before is the ordinary case, and not worth a word.
    known = _repository(image)
    if there and not any(one == known or one.endswith(f"/{known}") for one in there):
        yield Problem(
            False,
            f"No node has pulled an image of {known} before: whether {image} can be pulled is not known.",
            "deploy --probe finds out with one small pod, before GPUs are asked for.",
        )


def _repository(image: str) -> str:
    """An image's name without tag and digest."""
    name = image.partition("@")[0]
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def _missing(service: Service, seen: Seen) -> Iterator[Problem]:
    kubernetes, namespace = service.kubernetes, service.kubernetes.namespace
    there = seen.there
    for name in kubernetes.image_pull_secrets:
        if there.get(("Secret", name), {}) is None:
            yield Problem(
                True,
                f"The image pull secret {name} does not exist: no pod could pull its image.",
                f"kubectl -n {namespace} create secret docker-registry {name} ..., or drop it from "
                "kubernetes.image_pull_secrets.",
            )
    redis = kubernetes.gcs_fault_tolerance.redis_password
    for purpose, secret in (("kubernetes.api_keys", kubernetes.api_keys), ("the Redis password", redis)):
        if secret is not None and (why := _lacks(there, secret)):
            yield Problem(
                True, f"{why} It is needed for {purpose}: the pods would not start.", _make(namespace, secret)
            )
    token, model = kubernetes.hf_token, service.config.model.id
    if "/" in model and not model.startswith(("gs://", "/", ".", "~")) and (why := _lacks(there, token)):
        yield Problem(
            False,
            f"{why} {model} is fetched from Hugging Face without a token, which fails where it is gated.",
            _make(namespace, token),
        )
    account = kubernetes.service_account
    if account and there.get(("ServiceAccount", account), {}) is None:
        yield Problem(
            True,
            f"The service account {account} does not exist in namespace {namespace}: no pod could be made.",
            f"switchyard cluster apply makes it; or kubectl -n {namespace} create serviceaccount {account}.",
        )
    claim = kubernetes.model_cache_claim
    if claim and there.get(("PersistentVolumeClaim", claim), {}) is None:
        yield Problem(
            True,
            f"The PersistentVolumeClaim {claim} does not exist in namespace {namespace}: no worker could start.",
            "Make it, or drop kubernetes.model_cache_claim to use the pods' own disks.",
        )


def _lacks(there: Mapping[tuple[str, str], Object | None], secret: SecretKey) -> str:
    item = there.get(("Secret", secret.name), {})
    if item is None:
        return f"The Secret {secret.name} does not exist."
    if item and secret.key not in dig(item, "data", default={}):
        return f"The Secret {secret.name} has no key {secret.key}."
    return ""


def _make(namespace: str, secret: SecretKey) -> str:
    return f"kubectl -n {namespace} create secret generic {secret.name} --from-file={secret.key}=FILE"


def _quotas(snapshot: Snapshot, cluster: Json) -> Iterator[Problem]:
    pods: list[Json] = [dig(cluster, "headGroupSpec", "template", "spec", default={})]
    for group in cluster.get("workerGroupSpecs", []):
        count = group_pods(group)
        pods += [dig(group, "template", "spec", default={})] * count
    asked: dict[str, Decimal] = {f"requests.{name}": amount for name, amount in requests(pods).items()}
    asked |= {name: asked[f"requests.{name}"] for name in ("cpu", "memory") if f"requests.{name}" in asked}
    asked["pods"] = Decimal(len(pods))
    for quota in snapshot.of("ResourceQuota"):
        hard, used = dig(quota, "status", "hard", default={}), dig(quota, "status", "used", default={})
        for name, amount in asked.items():
            if name in hard and quantity(used.get(name, 0)) + amount > quantity(hard[name]):
                yield Problem(
                    True,
                    f"ResourceQuota {name_of(quota)} allows {hard[name]} {name}; {used.get(name, 0)} are used and a "
                    f"new cluster asks for {_plain(amount)} more.",
                    f"Raise it: kubectl -n {snapshot.namespace} edit resourcequota {name_of(quota)}",
                )


def _plain(amount: Any) -> str:
    return f"{amount.normalize():f}" if isinstance(amount, Decimal) else str(amount)
