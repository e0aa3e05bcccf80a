"""Runs the pod of :mod:`kuberay.actions.probe`, and deletes it however that ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from kuberay.actions.probe import Outcome, outcome, probe_name, probe_pod, undecided
from kuberay.api.client import Api
from kuberay.api.kinds import POD, SERVICEACCOUNT
from kuberay.config import Service
from kuberay.errors import ApiError, Conflict, Incomplete, NotFound
from kuberay.manifests.rayservice import Json
from kuberay.observing.wait import WARNINGS, Target, Verdict, wait_for
from kuberay.plan.outlook import Outlook
from kuberay.snapshot import Object, Snapshot

GONE_S = 30.0


def probe(api: Api, service: Service, outlook: Outlook, within: float, report: Callable[[str], None]) -> Outcome:
    """Start the pod, wait for what it finds out, delete it.

    Before a first deployment the service has no account yet: it is made for the probe, and taken away again.

    Raises:
        ApiError: the pod cannot be made, for lack of rights or because admission refuses it.
    """
    rayservice = outlook.wanted[-1]
    pod = probe_pod(service, rayservice, within)
    namespace, name = service.kubernetes.namespace, probe_name(service)
    account = next((one for one in outlook.wanted if one["kind"] == "ServiceAccount"), None)
    made = account if account is not None and _make(api, account) else None
    begun = time.monotonic()
    try:
        _create(api, pod)
        found = _outcome(api, namespace, name, within)
    finally:
        # Without a right to delete, activeDeadlineSeconds ends it.
        with contextlib.suppress(ApiError):
            api.delete(POD, name, namespace, grace_s=0)
        if made is not None:
            with contextlib.suppress(ApiError):
                api.delete(SERVICEACCOUNT, made["metadata"]["name"], namespace)
    report(f"probe, {time.monotonic() - begun:.0f} s: {found.said}")
    return found


def _make(api: Api, account: Json) -> bool:
    try:
        api.create(account)
    except Conflict:
        return False
    return True


def _create(api: Api, pod: Json) -> None:
    """Also where an earlier probe was killed before it could delete its pod."""
    try:
        api.create(pod)
        return
    except Conflict as error:
        if error.reason != "AlreadyExists":
            raise
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    with contextlib.suppress(NotFound):
        api.delete(POD, name, namespace, grace_s=0)
    for _ in wait_for(
        api,
        namespace,
        name,
        [Target(POD, name=name)],
        lambda seen: Verdict(seen.named("Pod", name) is None, "an earlier probe's pod goes"),
        within=GONE_S,
    ):
        pass
    api.create(pod)


def _outcome(api: Api, namespace: str, name: str, within: float) -> Outcome:
    last: Object = {}

    def judge(snapshot: Snapshot) -> Verdict:
        nonlocal last
        last = snapshot.named("Pod", name) or last
        found = outcome(last) if last else None
        return Verdict(found is not None, "probing")

    try:
        for _ in wait_for(api, namespace, name, [Target(POD, name=name), WARNINGS], judge, within=within):
            pass
    except Incomplete:
        return undecided(last, within)
    return outcome(last) or undecided(last, within)
