"""What is wrong with the RayService itself, its operator, its Services, or an upgrade. KubeRay 1.6 and 1.7.

Paths are those of ray-operator; numbers with # are issues of ray-project/kuberay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

from kuberay.doctor.findings import Evidence, Hit, Severity
from kuberay.look.facts import OPERATOR, Facts, since
from kuberay.look.gates import FEATURE, incremental_upgrade
from kuberay.look.objects import Pod, created, items, label, mapping, moment, name_of, number, text
from kuberay.look.redact import shown
from kuberay.manifests.gateway import gateway_name
from kuberay.names import INCREMENTAL
from kuberay.snapshot import Object, condition_of, dig

OPERATOR_PATIENCE = timedelta(minutes=1)
"""The operator looks at each RayService every two seconds; a minute without a sign is long."""

DELETION_PATIENCE = timedelta(minutes=2)
HEAD_PATIENCE = timedelta(minutes=1)
GATEWAY_PATIENCE = timedelta(minutes=5)
"""A cloud's load balancer takes minutes."""
GREEN_PATIENCE = timedelta(minutes=30)
"""A new cluster with a large model takes this long at most: node, image, weights, warm-up."""

CRD = "rayservices.ray.io"


def operator(facts: Facts) -> Object | None:
    """The operator's Deployment. Helm charts and GKE's add-on name and label it differently; its image tells too."""

    def marks(one: Object) -> str:
        images = [text(each, "image") for each in items(one, "spec", "template", "spec", "containers")]
        return " ".join([name_of(one), label(one, "app.kubernetes.io/name"), *images])

    return next(
        (one for one in facts.of("Deployment") if OPERATOR in marks(one) or "kuberay/operator" in marks(one)), None
    )


def platform(facts: Facts) -> Iterator[Hit]:
    """Is there a KubeRay that could act?"""
    if facts.service is None:
        crds = [name_of(one) for one in facts.of("CustomResourceDefinition")]
        if CRD not in crds and (crds or not facts.could_not_read("customresourcedefinition", "the versions of ray.io")):
            told = tuple(Evidence("what was read", one) for one in facts.snapshot.unreadable if "ray" in one.lower())
            yield Hit(
                "crd-missing", evidence=told or (Evidence("CustomResourceDefinitions", f"{CRD} is not among them"),)
            )
        elif kept := facts.snapshot.put_away:
            told = "holds the RayService, which KubeRay before 1.7 cannot suspend"
            yield Hit("suspended", evidence=(Evidence(f"ConfigMap {name_of(kept)}", told),))
        elif not facts.could_not_read("rayservice", "the rayservice"):
            yield Hit("service-absent", evidence=(Evidence("RayServices", f"none is called {facts.name}"),))
        return
    deployment = operator(facts)
    if deployment is not None and number(deployment, "status", "availableReplicas") == 0:
        replicas = number(deployment, "spec", "replicas", default=1)
        available = condition_of(deployment, "Available")
        # Scaled to none, it has all that was asked for, and says so.
        why = text(available, "message") if available.get("status") == "False" else ""
        why = why or f"{replicas} replicas are asked for, 0 are available"
        source = f"Deployment {text(deployment, 'metadata', 'namespace')}/{name_of(deployment)}"
        yield Hit("operator-not-running", subject=name_of(deployment), evidence=(Evidence(source, shown(why)),),
                  severity=Severity.BLOCKED if facts.serving else None)  # fmt: skip
    elif deployment is None and not facts.could_not_read("deployment", "the operator") and (idle := _unheeded(facts)):
        yield Hit("operator-missing", values={"what": idle}, evidence=(Evidence(f"RayService {facts.name}", idle),),
                  severity=Severity.BLOCKED if facts.serving else None)  # fmt: skip
    for namespace in facts.of("Namespace"):
        if name_of(namespace) == facts.namespace and text(namespace, "status", "phase") == "Terminating":
            yield Hit(
                "namespace-terminating", evidence=(Evidence(f"Namespace {facts.namespace}", "phase Terminating"),)
            )


def _unheeded(facts: Facts) -> str:
    """How one sees that nobody acts on the RayService; an operator outside the cluster has no Deployment."""
    service = facts.service
    generation, seen = number(service, "metadata", "generation"), number(service, "status", "observedGeneration")
    deleted = moment(text(service, "metadata", "deletionTimestamp"))
    if facts.deleting and facts.age(deleted) > OPERATOR_PATIENCE:
        return "it is to be deleted, and its finalizer is still on it"
    if facts.age(created(service)) < OPERATOR_PATIENCE:
        return ""
    if not mapping(service, "status"):
        return "it has no status"
    return f"it is at generation {generation}, the status at {seen}" if 0 < seen < generation else ""


def deletion(facts: Facts) -> Iterator[Hit]:
    """Objects that should be gone."""
    clusters = [one.object for one in facts.clusters]
    for item in [facts.service, *clusters]:
        deleted = text(item, "metadata", "deletionTimestamp")
        finalizers = dig(item, "metadata", "finalizers", default=[])
        if item is None or not deleted or not finalizers or facts.age(moment(deleted)) < DELETION_PATIENCE:
            continue
        down = operator(facts)
        idle = down is not None and number(down, "status", "availableReplicas") == 0
        kind = text(item, "kind")
        yield Hit("finalizer-stuck", subject=name_of(item),
                  values={"kind": kind, "kind_lower": kind.lower(), "object": name_of(item),
                          "what": ", for it is down" if idle else ""},
                  evidence=(Evidence(f"{kind} {name_of(item)}",
                                     shown(f"deletionTimestamp {deleted}, finalizers {finalizers}")),))  # fmt: skip


def spec(facts: Facts) -> Iterator[Hit]:
    """What KubeRay says of the object."""
    service = facts.service
    ready = facts.ready
    source = f"RayService {facts.name}, condition Ready"
    message = shown(f"{ready.get('reason', '')}: {ready.get('message', '')}")
    if ready.get("reason") == "ValidationFailed":
        values = {"kind": "RayService", "object": facts.name, "what": shown(text(ready, "message"), 200)}
        yield Hit("spec-invalid", values=values, evidence=(Evidence(source, message),))
    for cluster in facts.live:
        invalid = facts.events("RayCluster", cluster.name, "InvalidRayClusterSpec", "InvalidRayClusterMetadata")
        for one in invalid[-1:]:
            values = {"kind": "RayCluster", "object": cluster.name, "what": shown(one.note, 200)}
            yield Hit("spec-invalid", values=values, evidence=(Evidence(one.source, shown(one.note)),))
    if ready.get("reason") == "InitializingTimeout":
        yield Hit("initializing-timeout", evidence=(Evidence(source, message),))
    suspended = condition_of(service, "Suspended")
    if dig(service, "spec", "suspend") is True or suspended.get("status") == "True":
        yield Hit("suspended", evidence=(Evidence(f"RayService {facts.name}", "spec.suspend: true"),))
    manager = text(service, "spec", "managedBy")
    if manager not in ("", "ray.io/kuberay-operator"):
        told = (Evidence(f"RayService {facts.name}", f"spec.managedBy: {manager}"),)
        yield Hit("managed-elsewhere", values={"what": manager}, evidence=told)
    for one in facts.events("RayService", facts.name, "FailedToCreateGateway", "FailedToCreateHTTPRoute")[-1:]:
        yield Hit(
            "gateway-missing", values={"what": shown(one.note, 120)}, evidence=(Evidence(one.source, shown(one.note)),)
        )
    gateway = facts.named("Gateway", gateway_name(facts.name))
    programmed = condition_of(gateway, "Programmed")
    waits = gateway and programmed.get("status") != "True" and facts.age(created(gateway)) > GATEWAY_PATIENCE
    if gateway and waits and facts.incremental:
        said = shown(f"Programmed {programmed.get('status', 'Unknown')}: {programmed.get('message', '')}")
        values = {"gateway": name_of(gateway), "class": text(gateway, "spec", "gatewayClassName")}
        yield Hit("gateway-not-ready", values=values, evidence=(Evidence(f"Gateway {name_of(gateway)}", said),))


def clusters(facts: Facts) -> Iterator[Hit]:
    """What the clusters of the service lack as a whole."""
    for one in facts.live:
        if not one.object:
            if facts.of("RayCluster") or not facts.could_not_read("raycluster"):
                named = Evidence(
                    f"RayService {facts.name}, status", f"{one.role}ServiceStatus.rayClusterName: {one.name}"
                )
                yield Hit("cluster-missing", one.name, values={"role": one.role}, evidence=(named,))
            continue
        if one.head is None and facts.age(one.created) > HEAD_PATIENCE and not facts.could_not_read("pod"):
            told = [each for each in facts.events("RayCluster", one.name) if "head" in each.reason.lower()]
            evidence = [Evidence(f"RayCluster {one.name}", "no pod with ray.io/node-type=head")]
            evidence += [Evidence(each.source, shown(each.note)) for each in told[-1:]]
            yield Hit("head-pod-missing", one.name, evidence=tuple(evidence))
        yield from _serve_config(facts, one.name)
    green = facts.cluster("pending")
    if green and not green.held and facts.age(green.created) > GREEN_PATIENCE:
        upgrade = condition_of(facts.service, "UpgradeInProgress")
        head = condition_of(green.object, "HeadPodReady")
        evidence = (
            Evidence(f"RayService {facts.name}, condition UpgradeInProgress", shown(text(upgrade, "reason"))),
            Evidence(f"RayCluster {green.name}, condition HeadPodReady",
                     shown(f"{head.get('status', 'Unknown')}: {head.get('message', '')}")),
            *(Evidence(f"Serve application {app.name} on {green.name}", app.status) for app in green.apps),
        )  # fmt: skip
        minutes = int(facts.age(green.created).total_seconds() // 60)
        cause = "upgrade-stuck" if facts.cluster("active") else "start-stuck"
        yield Hit(cause, green.name, values={"minutes": str(minutes)}, evidence=evidence)


def _serve_config(facts: Facts, cluster: str) -> Iterator[Hit]:
    failed = facts.events("RayService", facts.name, "FailedToUpdateServeApplications")
    done = facts.events("RayService", facts.name, "UpdatedServeApplications")
    failed = [one for one in failed if f"/{cluster}:" in one.note and not any(each.last > one.last for each in done)]
    for one in failed[-1:]:
        told = (Evidence(one.source, shown(one.note)),)
        # controllers/ray/utils/dashboardclient/dashboard_httpclient.go UpdateDeployments
        if "UpdateDeployments fail: 4" in one.note:
            what = one.note.split("UpdateDeployments fail: ")[1]
            yield Hit("serve-config-refused", cluster, values={"what": shown(what, 160)}, evidence=told)
        # The first ones are ordinary: the dashboard starts later than the operator asks.
        elif one.count >= 10 and any(pod.head and pod.ready for pod in _pods(facts, cluster)):
            yield Hit("dashboard-unreachable", cluster, evidence=told)


def _pods(facts: Facts, cluster: str) -> tuple[Pod, ...]:
    return next((one.pods for one in facts.clusters if one.name == cluster), ())


def traffic(facts: Facts) -> Iterator[Hit]:
    """Where requests go."""
    active = facts.cluster("active")
    if facts.stale_service:
        selector = Evidence(f"Service {facts.serve_service}", f"selector ray.io/cluster: {facts.selected}")
        yield Hit("stale-serve-service", values={"active": active.name if active else "CLUSTER"}, evidence=(selector,))
        return
    ready, total = facts.endpoints
    reason = str(facts.ready.get("reason", ""))
    if active and ready == 0 and (reason == "ZeroServeEndpoints" or (facts.of("EndpointSlice") and active.apps)):
        said = Evidence(
            f"RayService {facts.name}, condition Ready", shown(f"{reason}: {facts.ready.get('message', '')}")
        )
        slices = Evidence(f"EndpointSlices of {facts.serve_service}", f"0 of {total} endpoints are ready")
        if facts.age(since(facts.ready)) > HEAD_PATIENCE:
            yield Hit("no-serve-endpoints", active.name, values={"selected": facts.selected or active.name},
                      evidence=(said, slices))  # fmt: skip


def warnings(facts: Facts) -> Iterator[Hit]:
    """Nothing is wrong yet, or nobody has noticed."""
    service = facts.service
    newest = facts.cluster("pending") or facts.cluster("active")
    if service is None or facts.deleting or newest is None or not newest.object:
        return
    actual = {
        text(one, "groupName"): (index, one)
        for index, one in enumerate(items(newest.object, "spec", "workerGroupSpecs"))
    }
    for group in items(service, "spec", "rayClusterConfig", "workerGroupSpecs"):
        name = text(group, "groupName")
        for field in ("minReplicas", "maxReplicas"):
            if name not in actual or field not in group:
                continue
            index, there = actual[name]
            wanted, has = number(group, field), number(there, field)
            if wanted != has and facts.age(created(newest.object)) > HEAD_PATIENCE:
                change = [{"op": "replace", "path": f"/spec/workerGroupSpecs/{index}/{field}", "value": wanted}]
                told = (Evidence(f"RayService {facts.name}", f"{name}.{field}: {wanted}"),
                        Evidence(f"RayCluster {newest.name}", f"{name}.{field}: {has}"))  # fmt: skip
                yield Hit("scaling-edit-not-propagated", newest.name, f"{name}.{field}",
                          {"group": name, "field": field, "wanted": str(wanted), "actual": str(has),
                           "patch": json.dumps(change)}, told)  # fmt: skip
    strategy = text(service, "spec", "upgradeStrategy", "type")
    if strategy == INCREMENTAL and incremental_upgrade(facts.snapshot) is False:
        told = (
            Evidence(f"RayService {facts.name}", f"upgradeStrategy: {strategy}"),
            Evidence(f"Deployment {name_of(operator(facts))}", f"the feature gate {FEATURE} is off"),
        )
        yield Hit("incremental-gate-off", evidence=told)
    delay = number(service, "spec", "rayClusterDeletionDelaySeconds", default=60)
    longest = facts.longest_request_s
    graces = [_grace(one) for one in items(newest.object, "spec", "workerGroupSpecs")]
    if graces and delay < longest and min(graces) < longest:
        told = (Evidence(f"RayService {facts.name}", f"rayClusterDeletionDelaySeconds: {delay}"),)
        values = {
            "delay": str(delay),
            "longest": f"{longest:g}",
            "grace": f"{min(graces)} s",
            "enough": f"{longest + 60:.0f}",
        }
        yield Hit("deletion-delay-short", values=values, evidence=told)


def _grace(group: Object) -> int:
    """How long the group's pods wait for their streams when they are deleted."""
    template = mapping(group, "template", "spec")
    waits = any(mapping(one, "lifecycle", "preStop") for one in items(template, "containers"))
    return number(template, "terminationGracePeriodSeconds", default=30) if waits else 0
