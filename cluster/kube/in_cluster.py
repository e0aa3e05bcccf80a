"""Carries out what is done inside the cluster: KubeRay, the service's objects, the schedule, suspend and resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cluster.config import ClusterConfig
from cluster.doctor import Inside
from cluster.errors import ClusterError, KubernetesFailed, Refused
from cluster.hours import Hours, job_name
from cluster.hours import objects as hours_objects
from cluster.inside import kuberay_release as release
from cluster.inside.kuberay_release import Verdict
from cluster.inside.objects import objects, path_of


class Kube(Protocol):
    """What is needed of an API server."""

    def apply(self, item: Mapping[str, Any]) -> None: ...

    def apply_raw(self, path: str, manifest: bytes) -> None: ...

    def merge(self, path: str, patch: Mapping[str, Any]) -> None: ...

    def get(self, path: str) -> dict[str, Any] | None: ...

    def items(self, path: str, labels: str = "") -> list[dict[str, Any]]: ...

    def delete(self, path: str) -> bool: ...

    def can_suspend(self) -> bool: ...


Say = Callable[[str], None]
PARKED_MARK = "switchyard/scaled-to-zero"
"""Annotation of a RayService that was suspended because its cluster was scaled to zero."""


def operator_of(kube: Kube) -> release.Installed:
    """The KubeRay operator that the cluster has."""
    return release.installed(
        kube.items(path_of("Deployment"), "app.kubernetes.io/name=kuberay")
        or kube.items(
            path_of("Deployment"), "app.kubernetes.io/name=kuberay-operator"
        )  # as KubeRay's Helm chart names it
    )


def install_operator(
    kube: Kube,
    version: str,
    contents: Callable[[], Mapping[str, bytes]],
    say: Say,
    *,
    image: str = "",
    downgrade: bool = False,
    again: bool = False,
    pins: release.Pins = release.RELEASES,
) -> Verdict:
    """Install or upgrade KubeRay, CRDs first.

    Args:
        contents: gives the release's files; called only when they are needed.
        pins: the digests they must have.

    Raises:
        Refused: by the freeze rule, or because the operator there is not ours.
        ConfigError: a file is not the released one.
    """
    files = release.files(version, pins)
    busy = release.upgrading(kube.items(path_of("RayService")))
    verdict = release.decide(operator_of(kube), version, busy, downgrade=downgrade, again=again)
    if verdict.refused:
        raise Refused(verdict.text)
    if not verdict.apply:
        return verdict
    found = contents()
    checked = {path: release.verify(version, path, found[path], pins) for path in files}
    for name, manifest in release.crds(checked):
        say(f"CustomResourceDefinition {name}")
        kube.apply_raw(path_of("CustomResourceDefinition", name=name), manifest)
    for item in release.operator(version, checked, image=image):
        say(f"{item['kind']} {item['metadata']['name']}")
        kube.apply(item)
    return verdict


def apply_objects(kube: Kube, config: ClusterConfig, token: str, say: Say) -> list[str]:
    """The service account, the token's secret, monitoring; returns what was left out, and why."""
    left_out: list[str] = []
    for item in objects(config, token):
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            kube.apply(item)
            say(name)
        except KubernetesFailed:
            # Only clusters with Google's managed Prometheus have this kind; nothing else depends on it.
            if item["kind"] != "PodMonitoring":
                raise
            left_out.append(f"{name}: the cluster has no managed Prometheus, or not its namespace")
    if not token and kube.get(path_of("Secret", config.namespace, config.hf_secret)) is None:
        left_out.append(
            f"Secret {config.hf_secret}: no Hugging Face token (set HF_TOKEN and run it again; gated models need it)"
        )
    return left_out


def set_schedule(kube: Kube, config: ClusterConfig, hours: Hours | None, service: str, say: Say) -> None:
    """Put the schedule's objects in, or take them away.

    Raises:
        Refused: the cluster's KubeRay cannot suspend a RayService.
    """
    if hours is not None:
        _need_suspend(kube)
    for item in hours_objects(config, hours, service):
        say(f"{item['kind']} {item['metadata']['name']}")
        kube.apply(item)
    if hours is None:
        name, namespace = job_name(service), config.namespace
        for kind, suffixes in (
            ("CronJob", ("-wake", "-sleep")),
            ("RoleBinding", ("",)),
            ("Role", ("",)),
            ("ServiceAccount", ("",)),
        ):
            for suffix in suffixes:
                if kube.delete(path_of(kind, namespace, name + suffix)):
                    say(f"{kind} {name}{suffix} deleted")


def schedule_of(kube: Kube, config: ClusterConfig, service: str) -> str:
    """The schedule in words; empty where there is none."""
    job = kube.get(path_of("CronJob", config.namespace, f"{job_name(service)}-wake"))
    return ((job or {}).get("metadata", {}).get("annotations") or {}).get("switchyard/hours", "")


def suspend(kube: Kube, namespace: str, service: str, say: Say, *, value: bool) -> bool:
    """Suspend or resume one RayService; returns whether it had to be.

    Raises:
        Refused: there is none, or the cluster's KubeRay cannot do it.
    """
    path = path_of("RayService", namespace, service)
    there = kube.get(path)
    if there is None:
        raise Refused(f"There is no RayService {service} in the namespace {namespace}; make it with: switchyard deploy")
    if _suspended(there) == value:
        return False
    _need_suspend(kube)
    kube.merge(path, {"spec": {"suspend": value}})
    say(f"RayService {service} {'suspended' if value else 'resumed'}")
    return True


def park(kube: Kube, namespace: str, say: Say) -> None:
    """Suspend every RayService of a namespace that is not, and mark it, so that :func:`unpark` knows it again.

    Raises:
        Refused: the cluster's KubeRay cannot do it.
    """
    for item in kube.items(path_of("RayService", namespace)):
        if not _suspended(item):
            _need_suspend(kube)
            name = item["metadata"]["name"]
            patch = {"metadata": {"annotations": {PARKED_MARK: "true"}}, "spec": {"suspend": True}}
            kube.merge(path_of("RayService", namespace, name), patch)
            say(f"RayService {name} suspended")


def unpark(kube: Kube, namespace: str, say: Say) -> None:
    """Resume what :func:`park` suspended, and nothing else.

    Raises:
        Refused: the cluster's KubeRay cannot do it.
    """
    for item in kube.items(path_of("RayService", namespace)):
        name = item["metadata"]["name"]
        if PARKED_MARK in (item["metadata"].get("annotations") or {}):
            _need_suspend(kube)
            patch = {"metadata": {"annotations": {PARKED_MARK: None}}, "spec": {"suspend": False}}
            kube.merge(path_of("RayService", namespace, name), patch)
            say(f"RayService {name} resumed")
        elif _suspended(item):
            wake = f"switchyard resume {name} -n {namespace}"
            say(f"RayService {name} stays suspended, as it was before; wake it with: {wake}")


def _suspended(service: Mapping[str, Any]) -> bool:
    return bool(service.get("spec", {}).get("suspend"))


def _need_suspend(kube: Kube) -> None:
    if not kube.can_suspend():
        raise Refused(
            "KubeRay in the cluster cannot suspend a RayService (it came with 1.7, and an older API drops the field "
            f"without a word). Upgrade it: switchyard cluster install-operator --version {release.DEFAULT_VERSION}"
        )


def look_inside(kube: Callable[[], Kube], config: ClusterConfig) -> Inside:
    """What ``doctor`` wants to know of the cluster's inside."""
    try:
        api = kube()
        deployments = api.items(path_of("Deployment"), "app.kubernetes.io/name=kuberay")
        account = api.get(path_of("ServiceAccount", config.namespace, config.service_account)) or {}
        annotations = account.get("metadata", {}).get("annotations") or {}
        return Inside(
            operator=operator_of(api),
            operator_ready=any((item.get("status") or {}).get("availableReplicas") for item in deployments),
            secret=api.get(path_of("Secret", config.namespace, config.hf_secret)) is not None,
            account=annotations.get("iam.gke.io/gcp-service-account") == config.workload_email,
            suspend=api.can_suspend(),
        )
    except ClusterError as error:
        return Inside(error=str(error))
