"""What of an object is kept, and which other objects it points at. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kuberay.names import CLUSTER_LABEL, INSTANCE_LABEL, NODE_TYPE_LABEL, SERVICE_LABEL
from kuberay.snapshot import Object, dig, labels

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
POD_SPEC = ("nodeName", "priorityClassName", "schedulingGates")
CONTAINER = ("name", "image", "resources")
_ACTOR = re.compile(r"\bactor_id=([0-9a-f]{32})\b")
"""How Ray names an actor in the traceback of a call to it."""


def tidy(item: dict[str, Any]) -> dict[str, Any]:
    """Without what only field managers read, which is up to half of an object."""
    about = item["metadata"]
    about.pop("managedFields", None)
    if about.get("annotations"):
        about["annotations"].pop(LAST_APPLIED, None)
    return item


def emptied(secret: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret's name and keys. Annotations go as well: kubectl's keep a copy of the contents."""
    about = secret["metadata"]
    kept = {key: about[key] for key in ("name", "namespace", "uid", "labels", "creationTimestamp") if key in about}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": kept,
        "type": secret.get("type", "Opaque"),
        "data": dict.fromkeys(secret.get("data") or {}, ""),
    }


def small_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """What a table of many services needs of a pod: where it runs, what it asks for, how it is."""
    about, spec = pod["metadata"], pod["spec"]
    kept = ("name", "namespace", "uid", "labels", "creationTimestamp", "deletionTimestamp", "ownerReferences")
    containers = [{key: one[key] for key in CONTAINER if key in one} for one in spec.get("containers") or ()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: about[key] for key in kept if key in about},
        "spec": {**{key: spec[key] for key in POD_SPEC if key in spec}, "containers": containers},
        "status": pod.get("status") or {},
    }


def small_event(event: dict[str, Any]) -> dict[str, Any]:
    """An event without its bookkeeping: a namespace can hold tens of thousands."""
    kept = ("apiVersion", "kind", "type", "reason", "message", "count", "involvedObject", "source", "series")
    times = ("firstTimestamp", "lastTimestamp", "eventTime", "reportingComponent")
    about = {key: event["metadata"].get(key) for key in ("name", "namespace", "uid", "creationTimestamp")}
    return {**{key: event[key] for key in (*kept, *times) if event.get(key) is not None}, "metadata": about}


def small_cluster(item: dict[str, Any]) -> dict[str, Any]:
    """A RayService or RayCluster without the pod templates, which are its bulk; their groups' sizes stay."""
    tidy(item)
    spec = item.get("spec") or {}
    inner = spec.get("rayClusterConfig") or spec
    for group in [inner.get("headGroupSpec") or {}, *(inner.get("workerGroupSpecs") or ())]:
        pod = dig(group, "template", "spec", default={})
        group["template"] = {
            "spec": {
                "containers": [
                    {key: one[key] for key in CONTAINER if key in one} for one in pod.get("containers") or ()
                ]
            }
        }
    return item


def referenced(item: Any, kind: str) -> Iterator[str]:
    """Names of the Secrets or ConfigMaps (``kind``) that an object mentions, wherever in it."""
    lower = "secret" if kind == "Secret" else "configMap"
    if isinstance(item, Mapping):
        for key, value in item.items():
            if key in (f"{lower}KeyRef", f"{lower}Ref", lower) and isinstance(value, Mapping):
                if name := value.get("name") or value.get("secretName"):
                    yield str(name)
            elif kind == "Secret" and key == "secretName" and isinstance(value, str) and value:
                yield value
            elif kind == "Secret" and key == "imagePullSecrets" and isinstance(value, list):
                yield from (str(one["name"]) for one in value if one.get("name"))
            else:
                yield from referenced(value, kind)
    elif isinstance(item, list):
        for one in item:
            yield from referenced(one, kind)


def worrying(pod: Object) -> Iterator[tuple[str, bool]]:
    """Containers whose logs may explain something: (name, whether of the run before the last restart)."""
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state, name = one.get("state") or {}, str(one["name"])
        runs, ended = "running" in state, state.get("terminated")
        before = bool(dig(one, "lastState", "terminated"))
        if before:
            yield name, True
        failed = ended is not None and ended.get("exitCode", 0) != 0
        # The autoscaler is in the head's pod; what it cannot do is only in its log.
        if failed or (runs and (before or not one.get("ready") or name == "autoscaler")):
            yield name, False


def about_any(event: Object, uids: set[str], names: set[tuple[str, str]]) -> bool:
    """Whether an event is about one of these objects; by name too, for those that are gone."""
    involved = event.get("involvedObject") or {}
    return involved.get("uid") in uids or (involved.get("kind"), involved.get("name")) in names


def belongs(item: Object, service: str, clusters: list[str], own: Iterable[Object]) -> bool:
    """Whether something that was listed for a whole namespace has to do with a service and its RayClusters.

    ``own`` is what certainly does; of it, pods name the volume claims they use.
    """
    marks, kind, name = labels(item), item["kind"], item["metadata"]["name"]
    if kind in ("Node", "ResourceQuota"):
        return True
    if service in (marks.get(INSTANCE_LABEL), marks.get(SERVICE_LABEL)) or marks.get(CLUSTER_LABEL) in clusters:
        return True
    if kind == "PersistentVolumeClaim":
        return any(_claims(pod, name) for pod in own if pod["kind"] == "Pod")
    # EndpointSlices carry their Service's name; the operator's Services begin with ours.
    owner = str(marks.get("kubernetes.io/service-name") or name)
    return kind in ("Service", "EndpointSlice") and any(
        owner.startswith(f"{one}-") and owner.endswith("-svc") for one in (service, *clusters)
    )


def head_runs(cluster: str, objects: Iterable[Object]) -> bool:
    """Whether the head pod of a RayCluster runs."""
    return any(
        dig(pod, "status", "phase") == "Running"
        for pod in objects
        if pod["kind"] == "Pod"
        and labels(pod).get(CLUSTER_LABEL) == cluster
        and labels(pod).get(NODE_TYPE_LABEL) == "head"
    )


def failing_replicas(report: Mapping[str, Any]) -> dict[str, str]:
    """Of Serve's report, the replicas that do not run, by actor: their names.

    Those that failed before come first. They are no longer in the list, only in the deployment's message, which ends
    with their traceback; the process that says why it gave up, vLLM's engine, says so in the replica's log alone.
    """
    found: dict[str, str] = {}
    deployments = [
        deployment
        for app in (report.get("applications") or {}).values()
        for deployment in (app.get("deployments") or {}).values()
    ]
    for deployment in deployments:
        if deployment.get("status") != "HEALTHY":
            found |= {actor: actor for actor in _ACTOR.findall(str(deployment.get("message") or ""))[-1:]}
    for deployment in deployments:
        for replica in deployment.get("replicas") or ():
            if replica.get("actor_id") and replica.get("state") != "RUNNING":
                actor = str(replica["actor_id"])
                found[actor] = str(replica.get("replica_id", actor))
    return found


def is_operator(deployment: Object) -> bool:
    """Whether a Deployment runs the KubeRay operator, by its image."""
    containers = dig(deployment, "spec", "template", "spec", "containers", default=[])
    images = [str(one.get("image", "")) for one in containers]
    return any("kuberay" in image and "operator" in image for image in images)


def _claims(pod: Object, name: str) -> bool:
    volumes = dig(pod, "spec", "volumes", default=[])
    return any(dig(volume, "persistentVolumeClaim", "claimName") == name for volume in volumes)
