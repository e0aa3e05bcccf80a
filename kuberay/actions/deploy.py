"""Makes a cluster match a service file: looks, plans, refuses or applies, and waits until it serves.

Each step may be run again: what is already there is left alone, and a run that was ended half-way is gone on with by
the next one, from any machine.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

from kuberay.actions.decisions import decide, decision
from kuberay.api.client import Api
from kuberay.api.kinds import (
    CONFIGMAP,
    ENDPOINTSLICE,
    GATEWAYCLASS,
    KINDS,
    NAMESPACE,
    POD,
    RAYCLUSTER,
    RAYSERVICE,
    SERVICE,
    Kind,
    kind_of,
)
from kuberay.api.proxy import TOKEN_KEY
from kuberay.config import Service
from kuberay.errors import Conflict, Forbidden, NotFound, Refused
from kuberay.look.stages import Stage, State, is_serving, stages
from kuberay.manifests.gateway import GKE_CLASSES, policies
from kuberay.manifests.later import CRD_NAME, fitted, uses_later_fields
from kuberay.manifests.manifest import objects, release_of, token_secret
from kuberay.manifests.pods import labels
from kuberay.manifests.rayservice import Json
from kuberay.names import INCREMENTAL, INSTANCE_LABEL, SERVICE_LABEL, release_name, suspended_name
from kuberay.observing.observe import observe
from kuberay.observing.wait import WARNINGS, Target, Verdict, wait_for
from kuberay.plan.capacity import UNPRICED, Prices, switch
from kuberay.plan.diff import Effect, Patch, plan
from kuberay.plan.outlook import Outlook
from kuberay.plan.preflight import Seen, preflight, references
from kuberay.plan.room import requests
from kuberay.release import CONFIG_KEY, parse
from kuberay.snapshot import Object, Snapshot, by_steps, dig
from kuberay.snapshot import release_of as id_of
from serve_app.decision import Verb

AUTOSCALER_STATUS = "cluster-autoscaler-status"
"""A ConfigMap in kube-system that a cluster autoscaler keeps, GKE's too."""

LONGEST_S = 600
"""The longest answer of a release whose configuration is gone: the default of serving.max_request_s."""
API_SERVER = "API server"
"""A stage of a wait that is only told of while it is away."""

Report = Callable[[str], None]


def look(api: Api, service: Service, prices: Prices = UNPRICED, *, force: bool = False) -> Outlook:
    """Observe and plan. Changes nothing: the objects go to the API server as a dry run.

    Args:
        force: try to take over fields that another manager owns.

    Raises:
        ApiError: the API server would not take them, with its reason.
        Refused: the namespace, or KubeRay, is not there.
    """
    namespace = service.kubernetes.namespace
    try:
        with contextlib.suppress(Forbidden):  # whoever may only work in a namespace may well not read what it is
            api.get(NAMESPACE, namespace)
    except NotFound:
        raise Refused(
            f"There is no namespace '{namespace}' in {api.context}. Make it (kubectl create namespace {namespace}) or "
            "name another in kubernetes.namespace."
        ) from None
    wanted, notes = _fitted(api, objects(service))
    snapshot = _with_all(api, observe(api, namespace, service.name, logs=False), wanted)
    if snapshot.put_away is not None:
        notes.append("it is suspended: this starts it anew; switchyard resume brings back what served")
    serves, waits = (id_of(snapshot.cluster(which)) for which in ("active", "pending"))
    if serves and waits and serves != waits:
        notes.append(f"compared with release {waits}, which is asked for and does not serve yet: {serves} does")
    after = [_tried(api, item, force=force) for item in wanted]
    planned = plan(snapshot, after)
    new_pods = planned.effect in (Effect.CREATE, Effect.NEW_CLUSTER)
    stored = next(item for item in after if item["kind"] == "RayService")
    problems = preflight(service, snapshot, stored, _around(api, service), new_pods=new_pods)
    return Outlook(snapshot, tuple(wanted), planned, switch(snapshot, stored, prices), tuple(problems), tuple(notes))


def apply(api: Api, service: Service, outlook: Outlook, report: Report, *, force: bool = False) -> None:
    """Write what :func:`look` planned, in an order that makes every state on the way a working one.

    Args:
        force: take over fields that another manager owns.
    """
    prepare(api, service, outlook)
    # Whoever deploys has decided: the gate does not hold this release.
    approval = decision(Verb.APPROVE, "switchyard deploy")
    decide(api, service.kubernetes.namespace, service.name, release_of(service).id, approval)
    for item in outlook.wanted:
        report(f"applying {item['kind']}/{item['metadata']['name']}")
        api.apply(item, force=force)
    for patch in outlook.plan.patches:
        report(f"patching RayCluster/{patch.cluster}")
        carry(api, service, patch)


def prepare(api: Api, service: Service, outlook: Outlook) -> None:
    """What has to be there before the objects are applied, and is not one of them."""
    if service.kubernetes.ray_token_auth:
        _ensure_token(api, service)
    if outlook.snapshot.put_away is not None:  # it was suspended, and comes back
        api.delete(CONFIGMAP, suspended_name(service.name), service.kubernetes.namespace)


def attach(api: Api, namespace: str, service: str, cluster: str) -> list[str]:
    """Tell the Gateway how to treat a cluster's Service, before that gets traffic; what was applied."""
    found = api.get(RAYSERVICE, service, namespace)
    options = ("spec", "upgradeStrategy", "clusterUpgradeOptions")
    if not by_steps(found) or not dig(found, *options, "gatewayClassName", default="").startswith(GKE_CLASSES):
        return []
    owner = api.get(RAYCLUSTER, cluster, namespace)
    config = parse(dig(_found(api, CONFIGMAP, release_name(service, id_of(owner)), namespace), "data", CONFIG_KEY))
    longest_s = dig(config, "serving", "max_request_s", default=LONGEST_S)
    wanted = policies(service, namespace, cluster, owner["metadata"]["uid"], longest_s)
    for item in wanted:
        api.apply(item, force=True)
    return [f"{item['kind']}/{item['metadata']['name']}" for item in wanted]


def carry(api: Api, service: Service, patch: Patch) -> None:
    """Change on a RayCluster what KubeRay does not carry over to it."""
    api.patch(RAYCLUSTER, patch.cluster, service.kubernetes.namespace, list(patch.operations), how="json")


def _with_all(api: Api, snapshot: Snapshot, wanted: list[Json]) -> Snapshot:
    """The snapshot with those objects too that are nobody's business but the plan's."""
    found = list(snapshot.objects)
    for item in wanted:
        kind, name = item["kind"], item["metadata"]["name"]
        if kind != "RayService" and snapshot.named(kind, name) is None:
            there = _found(api, kind_of(item), name, snapshot.namespace)
            found += [there] if there else []
    return replace(snapshot, objects=tuple(found))


def _fitted(api: Api, items: list[Json]) -> tuple[list[Json], list[str]]:
    """The objects as the KubeRay that is installed knows them."""
    last = items[-1]
    if not uses_later_fields(last):
        return items, []
    service, notes = fitted(last, api.crd(CRD_NAME))
    return [*items[:-1], service], notes


def _tried(api: Api, item: Json, *, force: bool) -> Json:
    """What an object would become."""
    try:
        return api.apply(item, force=force, dry_run=True)
    except NotFound:
        # Who may not bind just any Role must have the rights of this one, which a dry run has not made.
        if item["kind"] != "RoleBinding":
            raise
        return item


def _around(api: Api, service: Service) -> Seen:
    """What the service refers to, and the room there is. What we may not read is left open: it may be there."""
    namespace, there = service.kubernetes.namespace, dict[tuple[str, str], Object | None]()
    for kind, name in references(service):
        with contextlib.suppress(Forbidden):
            there[kind, name] = _found(api, KINDS["v1", kind], name, namespace)
    if service.kubernetes.upgrade.strategy == INCREMENTAL:
        name = service.kubernetes.upgrade.gateway_class or ""
        with contextlib.suppress(Forbidden):
            there["GatewayClass", name] = _found(api, GATEWAYCLASS, name, "")
    pods: dict[str, list[Json]] = {}
    with contextlib.suppress(Forbidden):
        for pod in api.list(POD, fields="status.phase!=Succeeded,status.phase!=Failed", trim=_placed):
            pods.setdefault(pod["node"], []).append(pod["spec"])
    used = {node: requests(there) for node, there in pods.items()}
    grows = False
    with contextlib.suppress(Forbidden):
        grows = _found(api, CONFIGMAP, AUTOSCALER_STATUS, "kube-system") is not None
    return Seen(there, used, grows)


def _found(api: Api, kind: Kind, name: str, namespace: str) -> Object | None:
    try:
        return api.get(kind, name, namespace)
    except NotFound:
        return None


def _placed(pod: Json) -> Json | None:
    """What a pod on a node asks for. One that leaves is as good as gone."""
    node = dig(pod, "spec", "nodeName", default="")
    if not node or "deletionTimestamp" in pod["metadata"]:
        return None
    containers = [{"resources": one.get("resources") or {}} for one in dig(pod, "spec", "containers", default=[])]
    return {"node": node, "spec": {"containers": containers}}


def _ensure_token(api: Api, service: Service) -> None:
    """Ray's token is made once and kept: KubeRay's own would be another for every cluster."""
    try:
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": token_secret(service),
                    "namespace": service.kubernetes.namespace,
                    "labels": labels(service),
                },
                "stringData": {TOKEN_KEY: secrets.token_urlsafe(32)},
            }
        )
    except Conflict as error:
        if error.reason != "AlreadyExists":
            raise


def wait(api: Api, service: Service, release: str, within: float) -> Iterator[tuple[float, list[Stage]]]:
    """Yields (seconds, stages) at each change until the release serves and nothing else does.

    Raises:
        Incomplete: it does not within ``within`` seconds; says how far it came and the last warnings.
    """

    def judge(snapshot: Snapshot) -> Verdict:
        found = stages(snapshot, release)
        unfinished = next((stage for stage in found if stage.state is not State.DONE), None)
        text = f"{unfinished.name}: {unfinished.detail or unfinished.state.value}" if unfinished else "serving"
        return Verdict(is_serving(found), text)

    lost, attached = "", ""
    for progress in wait_for(
        api, service.kubernetes.namespace, service.name, targets(service.name), judge, within=within
    ):
        green = progress.snapshot.cluster("pending")
        if green and (name := green["metadata"]["name"]) != attached:
            attach(api, service.kubernetes.namespace, service.name, name)
            attached = name
        away = [Stage(API_SERVER, State.WAITING, f"does not answer; {progress.lost}")] if progress.lost else []
        back = [Stage(API_SERVER, State.DONE, "answers again")] if lost and not progress.lost else []
        lost = progress.lost
        yield progress.seconds, [*stages(progress.snapshot, release), *away, *back]


def targets(name: str, *, traffic: bool = False) -> list[Target]:
    """What to watch of a service; with ``traffic`` also where its requests go."""
    serve = f"{name}-serve-svc"
    endpoints = [
        Target(SERVICE, name=serve, optional=True),
        Target(ENDPOINTSLICE, selector=f"kubernetes.io/service-name={serve}", optional=True),
    ]
    return [
        Target(RAYSERVICE, name=name),
        Target(RAYCLUSTER, selector=f"{SERVICE_LABEL}={name}"),
        Target(POD, selector=f"{INSTANCE_LABEL}={name}"),
        WARNINGS,
        *(endpoints if traffic else ()),
    ]
