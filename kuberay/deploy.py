"""Makes a cluster match a service file: looks, plans, refuses or applies, and waits until it serves.

Each step may be run again: what is already there is left alone, and a run that was ended half-way is gone on with by
the next one, from any machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kuberay.api import Api
from kuberay.config import Service
from kuberay.diff import Plan, plan
from kuberay.errors import Conflict, NotFound, Refused
from kuberay.kinds import NAMESPACE, POD, RAYCLUSTER, RAYSERVICE
from kuberay.manifest import labels, objects, token_secret
from kuberay.observe import observe
from kuberay.proxy import TOKEN_KEY
from kuberay.rayservice import Json
from kuberay.snapshot import SERVICE_LABEL, Snapshot
from kuberay.stages import Stage, State, is_serving, stages
from kuberay.wait import WARNINGS, Target, Verdict, wait_for

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

    @property
    def service(self) -> Json:
        """The RayService, as it would be stored."""
        return next(item for item in self.after if item["kind"] == "RayService")


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


def apply(api: Api, service: Service, found: Look, report: Report, *, force: bool = False) -> None:
    """Write what :func:`look` planned, in an order that makes every state on the way a working one.

    Args:
        force: take over fields that another manager owns.
    """
    if service.kubernetes.ray_token_auth:
        _ensure_token(api, service)
    for item in found.wanted:
        report(f"applying {item['kind']}/{item['metadata']['name']}")
        api.apply(item, force=force)
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

    for progress in wait_for(
        api, service.kubernetes.namespace, service.name, targets(service.name), judge, within=within
    ):
        yield progress.seconds, stages(progress.snapshot, release)


def targets(name: str) -> list[Target]:
    """What to watch of a service."""
    return [
        Target(RAYSERVICE, name=name),
        Target(RAYCLUSTER, selector=f"{SERVICE_LABEL}={name}"),
        Target(POD, selector=f"app.kubernetes.io/instance={name}"),
        WARNINGS,
    ]
