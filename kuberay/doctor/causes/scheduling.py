"""Why pods are not made, or get no node. Texts of the scheduler, admission, and GKE's cluster autoscaler.

Kubernetes' paths are those of k8s.io/kubernetes 1.36; GKE's autoscaler texts are those its users report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from kuberay.doctor.findings import Evidence, Hit
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts
from kuberay.look.objects import Event, Pod, items, label, mapping, text
from kuberay.look.redact import shown
from kuberay.snapshot import Object, condition_of

PATIENCE = timedelta(seconds=60)
"""A pod may wait so long for a scheduler that has not looked yet, or for an autoscaler that has."""

SCALE_UP = timedelta(minutes=15)
"""A GPU node that was asked for can take this long: machine, driver, device plugin."""


_CREATION = ("FailedToCreateHeadPod", "FailedToCreateWorkerPod", "AutoscalerServiceAccountNotFound", "FailedCreate")

# In the order in which they are tried; the text is an event's on the RayCluster.
_REFUSALS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # k8s.io/apiserver pkg/admission/plugin/resourcequota/controller.go
    (
        "namespace-quota",
        re.compile(
            r"exceeded quota: (?P<quota>\S+), requested: (?P<requested>\S+), used: (?P<used>\S+), "
            r"limited: (?P<limited>[^\s,]+)"
        ),
    ),
    # plugin/pkg/admission/serviceaccount/admission.go; KubeRay raycluster_controller.go
    ("service-account-missing", re.compile(r'serviceaccount "(?P<account>[^"]+)" not found')),
    ("service-account-missing", re.compile(r"ServiceAccount (?P<account>\S+) is not found")),
    # k8s.io/pod-security-admission admission/admission.go
    ("pod-security", re.compile(r'violates PodSecurity "(?P<level>[^":]+)')),
    # k8s.io/apiserver pkg/admission/plugin/namespace/lifecycle/admission.go
    ("namespace-terminating", re.compile(r"because it is being terminated")),
)


def refused(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Pods that were never made."""
    if not any(len(group.pods) < group.wanted for group in cluster.groups):
        return
    for one in facts.events("RayCluster", cluster.name, *_CREATION):
        known = next(((cause, found) for cause, regex in _REFUSALS if (found := regex.search(one.note))), None)
        if known is None and not re.search(r"forbidden|denied|invalid|Invalid value|no PriorityClass", one.note):
            continue
        cause, values = (known[0], known[1].groupdict()) if known else ("pod-refused", {})
        whose = "" if cause == "namespace-terminating" else cluster.name
        yield Hit(cause, whose, values={"cluster": cluster.name, **values}, evidence=(_told(one),))


def waiting(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Pods without a node."""
    for pod in cluster.pods:
        if pod.pending and not pod.deleting and facts.age(pod.created) >= PATIENCE:
            hit = _why_unplaced(facts, cluster, pod)
            if hit:
                yield hit


def _why_unplaced(facts: Facts, cluster: Cluster, pod: Pod) -> Hit | None:
    events = facts.events("Pod", pod.name, "FailedScheduling", "NotTriggerScaleUp", "FailedScaleUp", "TriggeredScaleUp")
    newest = {one.reason: one for one in events}
    condition = condition_of(pod.object, "PodScheduled")
    scheduler = newest["FailedScheduling"].note if "FailedScheduling" in newest else text(condition, "message")
    refusal, triggered = newest.get("FailedScaleUp"), newest.get("TriggeredScaleUp")
    not_triggered = newest.get("NotTriggerScaleUp")
    evidence = [_told(one) for one in (refusal, not_triggered, newest.get("FailedScheduling")) if one]
    if not evidence and scheduler:
        evidence = [Evidence(f"Pod {pod.name}, condition PodScheduled", shown(scheduler))]
    gpu = pod.accelerator or ("GPU" if pod.gpus else "machine")
    values = {"pod": pod.name, "gpu": gpu, "gpus": str(pod.gpus), **_place(facts, refusal)}

    def hit(cause: str, **more: str) -> Hit:
        return Hit(cause, cluster.name, pod.name, {**values, **more}, tuple(evidence))

    if refusal and (triggered is None or refusal.last >= triggered.last):
        # GKE's cluster autoscaler names Compute Engine's answer; the error codes come through on some versions.
        if re.search(r"quota exceeded|QUOTA_EXCEEDED", refusal.note, re.IGNORECASE):
            return hit("gpu-quota")
        if re.search(r"out of resources|RESOURCE_POOL_EXHAUSTED|STOCKOUT", refusal.note, re.IGNORECASE):
            return hit("gpu-stockout")
    elif triggered and facts.age(triggered.last) < SCALE_UP:
        return None  # a node is on its way
    # pkg/scheduler/framework/plugins/volumebinding
    if claim := re.search(r'persistentvolumeclaim "([^"]+)" not found', scheduler):
        return hit("claim-missing", claim=claim[1])
    if re.search(r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim \"[^\"]+\" .*bound", scheduler):
        return hit("claim-pending", claim=_claim(facts, pod))
    # cluster-autoscaler/core/scaleup: reasons why node groups were left out
    if not_triggered and re.search(r"max node group size reached|max cluster \S+ limit", not_triggered.note):
        return hit("node-pool-at-maximum", pool=_pool(facts, pod))
    if (driverless := _driverless(facts, pod)) is not None:
        pool = label(driverless, "cloud.google.com/gke-nodepool") or "POOL"
        return hit("gpu-driver-missing", node=text(driverless, "metadata", "name"), pool=pool)
    # pkg/scheduler/framework/plugins/{noderesources/fit,nodeaffinity,tainttoleration}
    if "Insufficient nvidia.com/gpu" in scheduler and _has_gpu_nodes(facts, pod):
        return hit("no-free-gpu", room=_room(facts, pod))
    if short := re.search(r"Insufficient (cpu|memory|ephemeral-storage)", scheduler):
        return hit("node-too-small", resource=short[1], asked=_asked(pod, short[1]))
    if "Insufficient nvidia.com/gpu" in scheduler:
        return hit("no-free-gpu", room=_room(facts, pod))
    if taint := re.search(r"untolerated taint\(?s?\)? ?(\{[^}]*\})?", scheduler):
        return hit("untolerated-taint", taint=taint[1] or _taints(facts))
    if re.search(r"didn't match Pod's node affinity/selector", scheduler):
        return hit("no-matching-node", selector=_selector(pod))
    return hit("unschedulable")


def _told(one: Event) -> Evidence:
    return Evidence(one.source, shown(one.note))


def _place(facts: Facts, refusal: Event | None) -> dict[str, str]:
    zone = re.search(r"in zones? ([a-z]+-[a-z]+\d+-[a-z])", refusal.note) if refusal else None
    location = facts.gke[1]
    if zone is None:
        return {"zone": location}
    return {"zone": zone[1], "region": zone[1].rsplit("-", 1)[0]}


def _claim(facts: Facts, pod: Pod) -> str:
    names = [text(one, "persistentVolumeClaim", "claimName") for one in items(pod.object, "spec", "volumes")]
    named = [one for one in names if one]
    unbound = [one for one in named if text(facts.named("PersistentVolumeClaim", one), "status", "phase") != "Bound"]
    return (unbound or named or ["CLAIM"])[0]


def _nodes_for(facts: Facts, pod: Pod) -> list[Object]:
    wanted = mapping(pod.object, "spec", "nodeSelector")
    return [
        one
        for one in facts.of("Node")
        if wanted and all(mapping(one, "metadata", "labels").get(key) == value for key, value in wanted.items())
    ]


def _pool(facts: Facts, pod: Pod) -> str:
    return next(
        (found for one in _nodes_for(facts, pod) if (found := label(one, "cloud.google.com/gke-nodepool"))), "POOL"
    )


def _driverless(facts: Facts, pod: Pod) -> Object | None:
    nodes = _nodes_for(facts, pod) if pod.gpus and pod.accelerator else []
    without = [one for one in nodes if not _gpu_count(one)]
    return without[0] if nodes and len(without) == len(nodes) else None


def _has_gpu_nodes(facts: Facts, pod: Pod) -> bool:
    return any(_gpu_count(one) for one in (_nodes_for(facts, pod) or facts.of("Node")))


def _gpu_count(node: Object) -> int:
    found = text(node, "status", "allocatable", "nvidia.com/gpu")
    return int(found) if found.isascii() and found.isdigit() else 0


def _room(facts: Facts, pod: Pod) -> str:
    most = max((_gpu_count(one) for one in _nodes_for(facts, pod) or facts.of("Node")), default=0)
    return f"no node has more than {most}" if 0 < most < pod.gpus else "the nodes that have them are full"


def _selector(pod: Pod) -> str:
    selector = mapping(pod.object, "spec", "nodeSelector")
    return ", ".join(f"{key}={selector[key]}" for key in sorted(selector)) or "its node affinity"


def _taints(facts: Facts) -> str:
    found = {text(taint, "key") for node in facts.of("Node") for taint in items(node, "spec", "taints")}
    return ", ".join(sorted(found - {""})) or "see the nodes"


def _asked(pod: Pod, resource: str) -> str:
    found = [text(one, "resources", "requests", resource) for one in items(pod.object, "spec", "containers")]
    return f"{' + '.join(one for one in found if one) or 'more'} of {resource}"
