"""Makes a cluster match a service file: looks, plans, refuses or applies, and waits until it serves.

Each step may be run again: what is already there is left alone, and a run that was ended half-way is gone on with by
the next one, from any machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from kuberay.api import Api
from kuberay.config import Service
from kuberay.diff import Plan, plan
from kuberay.errors import Conflict, NotFound, Refused
from kuberay.kinds import NAMESPACE, RAYCLUSTER
from kuberay.manifest import labels, objects, token_secret
from kuberay.observe import observe
from kuberay.rayservice import Json
from kuberay.snapshot import Snapshot

TOKEN_KEY = "auth_token"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """What was found before anything is done.

    Attributes:
        snapshot: what is there.
        wanted: the service's objects.
        after: the same as the API server would store them.
        plan: what applying would do.
    """

    snapshot: Snapshot
    wanted: list[Json]
    after: list[Json]
    plan: Plan


def look(api: Api, service: Service) -> Look:
    """Observe and plan. Changes nothing: the objects go to the API server as a dry run.

    Raises:
        ApiError: the API server would not take them, with its reason.
        Refused: the namespace, or KubeRay, is not there.
    """
    namespace = service.kubernetes.namespace
    try:
        api.get(NAMESPACE, namespace)
    except NotFound:
        raise Refused(
            f"There is no namespace '{namespace}' in {api.context}. Make it (kubectl create namespace {namespace}) or "
            "name another in kubernetes.namespace."
        ) from None
    wanted = objects(service)
    snapshot = observe(api, namespace, service.name)
    after = [api.apply(item, dry_run=True) for item in wanted]
    return Look(snapshot, wanted, after, plan(snapshot, after))


def apply(api: Api, service: Service, found: Look, report: Report) -> None:
    """Write what :func:`look` planned, in an order that makes every state on the way a working one."""
    if service.kubernetes.ray_token_auth:
        _ensure_token(api, service)
    for item in found.wanted:
        report(f"applying {item['kind']}/{item['metadata']['name']}")
        api.apply(item)
    for patch in found.plan.patches:
        report(f"patching RayCluster/{patch.cluster}")
        api.patch(RAYCLUSTER, patch.cluster, service.kubernetes.namespace, list(patch.operations), how="json")


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
