"""Writes what has been decided about a release to where its gate reads it (:mod:`serve_app.decision`)."""

from __future__ import annotations

from kuberay.api.client import Api
from kuberay.api.kinds import CONFIGMAP
from kuberay.clock import now_text
from kuberay.errors import Conflict, NotFound
from kuberay.manifests.rayservice import Json
from kuberay.names import ours
from serve_app.decision import Decision, Verb, config_map


def decide(api: Api, namespace: str, service: str, release: str, decision: Decision) -> None:
    """Record a decision about a release, in place of an earlier one."""
    data = {"data": {release: decision.to_text()}}
    name = config_map(service)
    try:
        api.patch(CONFIGMAP, name, namespace, data)
    except NotFound:
        about: Json = {"name": name, "namespace": namespace, "labels": ours(service)}
        try:
            api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, **data})
        except Conflict:  # somebody else made it meanwhile
            api.patch(CONFIGMAP, name, namespace, data)


def decision(verb: Verb, by: str, reason: str = "", cluster: str = "") -> Decision:
    """A decision that is made now."""
    return Decision(verb, by, now_text(), reason, cluster)
