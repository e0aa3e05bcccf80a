"""Suspends, resumes and deletes a service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from kuberay.actions.deploy import targets
from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.api.kinds import Kind
from kuberay.errors import Conflict, Invalid, NotFound, Refused
from kuberay.manifests.rayservice import Json
from kuberay.names import selector, suspended_name
from kuberay.observing.wait import Verdict, wait_for
from kuberay.snapshot import Snapshot, dig

Report = Callable[[str], None]

OURS: tuple[Kind, ...] = (
    kinds.CONFIGMAP,
    kinds.SECRET,
    kinds.PDB,
    kinds.NETWORKPOLICY,
    kinds.PODMONITORING,
    kinds.LEASE,
    kinds.ROLEBINDING,
    kinds.ROLE,
    kinds.SERVICEACCOUNT,
)
"""What a service has beside its RayService, found again by its labels."""

SUSPENDED_KEY = "rayservice.json"
KEPT_METADATA = ("name", "namespace", "labels", "annotations")


def suspend(api: Api, namespace: str, name: str, report: Report) -> None:
    """End all pods, and keep what is needed to come back.

    KubeRay 1.7 does it itself (``spec.suspend``). Before that the RayService is deleted, and kept as a ConfigMap.

    Raises:
        NotFound: there is no such service.
    """
    try:
        service = api.get(kinds.RAYSERVICE, name, namespace)
    except NotFound as error:
        if error.kind_missing or not _put_away(api, namespace, name):
            raise
        report("it is suspended already")
        return
    try:
        api.patch(kinds.RAYSERVICE, name, namespace, {"spec": {"suspend": True}})
        report("KubeRay suspends it")
    except Invalid:
        report("this KubeRay cannot suspend: keeping the RayService in a ConfigMap, and deleting it")
        api.apply(_kept(service), force=True)
        api.delete(kinds.RAYSERVICE, name, namespace, uid=service["metadata"]["uid"])


def resume(api: Api, namespace: str, name: str, report: Report) -> None:
    """Bring a suspended service back. A cold start.

    Raises:
        Refused: it is not suspended.
    """
    kept = _put_away(api, namespace, name)
    if kept is not None:
        report("making the RayService again")
        api.apply(json.loads(kept["data"][SUSPENDED_KEY]), force=True)
        api.delete(kinds.CONFIGMAP, suspended_name(name), namespace)
        return
    service = api.get(kinds.RAYSERVICE, name, namespace)
    if not dig(service, "spec", "suspend", default=False):
        raise Refused(f"{name} is not suspended. switchyard status shows where it stands.")
    api.patch(kinds.RAYSERVICE, name, namespace, {"spec": {"suspend": False}})
    report("KubeRay resumes it")


def delete(api: Api, namespace: str, name: str, report: Report) -> None:
    """Delete the RayService. What it owns follows; see :func:`gone`, then :func:`delete_rest`."""
    try:
        api.delete(kinds.RAYSERVICE, name, namespace)
        report(f"deleting RayService/{name}")
    except NotFound as error:
        if error.kind_missing:
            raise
        report(f"there is no RayService/{name}")


def gone(api: Api, namespace: str, name: str, within: float) -> Iterator[str]:
    """Yields what is left, at each change, until no RayCluster and no pod is.

    Raises:
        Incomplete: not within ``within`` seconds.
    """

    yield from _without(api, namespace, name, ("RayService", "RayCluster", "Pod"), within)


def pods_gone(api: Api, namespace: str, name: str, within: float) -> Iterator[str]:
    """As :func:`gone`, for the pods alone: a suspended RayService stays."""
    yield from _without(api, namespace, name, ("Pod",), within)


def _without(api: Api, namespace: str, name: str, kinds_: tuple[str, ...], within: float) -> Iterator[str]:
    def judge(snapshot: Snapshot) -> Verdict:
        counts = {kind: len(list(snapshot.of(kind))) for kind in kinds_}
        left = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
        return Verdict(not left, f"still there: {', '.join(left)}" if left else "all pods are gone")

    for progress in wait_for(api, namespace, name, targets(name), judge, within=within):
        yield progress.text


def delete_rest(api: Api, namespace: str, name: str, report: Report) -> None:
    """Delete everything else that was made for the service: releases, token, budgets, policies, account."""
    for kind in OURS:
        try:
            found = api.list(kind, namespace, selector=selector(name))
        except NotFound:  # a kind of an add-on that this cluster does not have
            continue
        for item in found:
            report(f"deleting {kind.name}/{item['metadata']['name']}")
            try:
                api.delete(kind, item["metadata"]["name"], namespace, uid=item["metadata"]["uid"])
            except (NotFound, Conflict):  # gone, or made anew by somebody else meanwhile
                continue


def _put_away(api: Api, namespace: str, name: str) -> Json | None:
    """The ConfigMap that keeps a suspended service."""
    try:
        return api.get(kinds.CONFIGMAP, suspended_name(name), namespace)
    except NotFound:
        return None


def _kept(service: Json) -> Json:
    metadata = {key: service["metadata"][key] for key in KEPT_METADATA if key in service["metadata"]}
    data = {"apiVersion": service["apiVersion"], "kind": service["kind"], "metadata": metadata, "spec": service["spec"]}
    about = {
        "name": suspended_name(metadata["name"]),
        "namespace": metadata["namespace"],
        "labels": metadata.get("labels", {}),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {SUSPENDED_KEY: json.dumps(data)}}
