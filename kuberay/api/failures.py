"""What a failed request means, in words. Pure: a prepared request and an answer go in, an error of our tree comes out.

The Status objects that are read here: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kuberay.api.calls import Call
from kuberay.api.kinds import SECRET
from kuberay.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unreachable

MOST_CAUSES = 12
MOST_CHARACTERS = 600
BAD_APPLIES = ("failed to create typed patch object", "failed to convert new object")
"""How server-side apply begins to say, with an HTTP status of 500, that the object does not fit its schema (1.36)."""
STRICT = "strict decoding error: "


def from_answer(call: Call, status: int, body: bytes, context: str) -> ApiError:
    """The error that an answer with an HTTP status of 400 or more means."""
    said = _status(body)
    message = _short(said.get("message") or body.decode("utf-8", "replace").strip() or f"HTTP {status}")
    reason = str(said.get("reason") or "")
    details: Mapping[str, Any] = said.get("details") or {}
    if call.subresource == "proxy" and (not said or status >= 500):
        return _behind(call, status, message, reason, context, passed_on=not said)
    if status == 401:
        return Unauthorized(
            f"The API server of {context} does not accept these credentials ({message}). "
            "Log in again (GKE: gcloud auth login, then gcloud container clusters get-credentials) or choose "
            "another context with --context.",
            status=401,
            reason=reason or "Unauthorized",
        )
    if status == 403:
        return Forbidden(_forbidden(call, message, context), status=403, reason=reason or "Forbidden")
    if status == 404:
        return _not_found(call, message, said, details, context)
    if status == 409:
        return Conflict(_conflict(call, message, reason, details), status=409, reason=reason or "Conflict")
    if status in (400, 413, 415, 422) or message.startswith(BAD_APPLIES):
        return Invalid(_invalid(call, message, details), status=status, reason=reason or "Invalid")
    more = {
        410: " The list or watch has expired; read again.",
        429: " It has too much to do: wait a minute and repeat the command.",
        500: " This is a fault in the cluster, not in what was asked.",
        503: " It is starting, upgrading or overloaded; repeat the command in a minute.",
        504: " It took too long; repeat the command.",
    }.get(status, "")
    text = f"The API server of {context} could not {call.verb} {call.thing}: HTTP {status}, {_stop(message)}{more}"
    return ApiError(text, status=status, reason=reason)


def unreachable(call: Call | None, context: str, address: str, why: str) -> Unreachable:
    """There was no answer. ``why`` is a sentence without its full stop."""
    doing = f" while it was asked to {call.verb} {call.thing}" if call else ""
    return Unreachable(
        f"No answer from the API server of {context} at {address}{doing}: {_short(why)}. "
        "Check that this is the right context (kubectl config current-context), that the cluster runs, and that this "
        "machine may reach it (VPN, authorized networks, proxy)."
    )


def said_by_api_server(body: bytes) -> bool:
    """Whether an answer is the API server's own, and not of a service it passed the request on to."""
    return bool(_status(body))


def _behind(call: Call, status: int, message: str, reason: str, context: str, *, passed_on: bool) -> ApiError:
    """A Service, or the way from the API server to it, failed."""
    if passed_on:
        text = f"{call.thing} on {context} answered {call.method} {call.path.partition('/proxy')[2]} with HTTP {status}"
        hint = "Its Ray token is not the one that was sent." if status in (401, 403) else "Look into its pod's logs."
    else:
        text = f"{call.thing} on {context} cannot be reached through the API server (HTTP {status})"
        hint = "Its pod is starting or has failed, or a NetworkPolicy or firewall keeps the API server from it."
    return ApiError(f"{text}: {_stop(message)} {hint}", status=status, reason=reason)


def _forbidden(call: Call, message: str, context: str) -> str:
    if "cannot " not in message:
        # Quota, Pod Security and admission webhooks answer 403 as well: their own words are the explanation.
        return f"{context} does not allow to {call.verb} {call.thing}: {_stop(message)} Change what it objects to."
    where = f'in namespace "{call.namespace}"' if call.namespace else "in the whole cluster"
    resource = call.resource
    role = "role" if call.namespace else "clusterrole"
    return (
        f'You may not {call.verb} "{resource}" {where} on {context}: {_stop(message)} Ask for a {role} with the verb '
        f'"{call.verb}" on "{resource}", for example: kubectl create {role} switchyard --verb={call.verb} '
        f"--resource={resource}{f' -n {call.namespace}' if call.namespace else ''}"
    )


def _not_found(call: Call, message: str, said: Mapping[str, Any], details: Mapping[str, Any], context: str) -> NotFound:
    # An unknown group is answered in plain text, an unknown kind in a known group by a Status without a name.
    if call.kind is not None and (not said or (not details.get("name") and "could not find the requested" in message)):
        kind = call.kind
        todo = (
            "Install the KubeRay operator with its CRDs (GKE: enable the Ray operator add-on; else its Helm chart)."
            if kind.group == "ray.io"
            else f"Install what brings {kind.resource}, or choose another cluster with --context."
        )
        return NotFound(f"{context} does not know the kind {kind.name} ({kind.version}). {todo}", kind_missing=True)
    if details.get("kind") == "namespaces":
        name = details.get("name") or call.namespace
        return NotFound(f"There is no namespace {name} on {context}. Create it: kubectl create namespace {name}")
    if call.kind is None or call.subresource == "proxy":
        return NotFound(f"{context} has nothing at {call.path}: {_stop(message)}")
    return NotFound(
        f"There is no {call.thing} on {context}. Look for it with: kubectl get {call.kind.resource}"
        f"{' --all-namespaces' if call.kind.namespaced else ''}"
    )


def _conflict(call: Call, message: str, reason: str, details: Mapping[str, Any]) -> str:
    fields: dict[str, list[str]] = {}
    for cause in details.get("causes") or ():
        if cause.get("reason") == "FieldManagerConflict":
            fields.setdefault(_manager(str(cause.get("message", ""))), []).append(str(cause.get("field", "?")))
    if fields:
        owners = "; ".join(f"{owner} owns {_listed(sorted(set(names)))}" for owner, names in fields.items())
        return (
            f"{call.thing} was not changed, because others own fields of it: {owners}. Leave these fields to them, "
            "or take them over with --force."
        )
    if reason == "AlreadyExists":
        return f"{call.thing} exists already; it was left as it is."
    return f"{call.thing} was changed by somebody else meanwhile ({message}). Read it again and repeat the command."


def _manager(message: str) -> str:
    """``conflict with "kubectl-edit" with subresource "status" using ray.io/v1 at ...`` -> ``kubectl-edit``."""
    parts = message.split('"')
    return parts[1] if len(parts) > 2 else "another field manager"


def _invalid(call: Call, message: str, details: Mapping[str, Any]) -> str:
    if call.kind == SECRET:  # the API server quotes what it refuses
        causes = [cause["field"] for cause in details.get("causes") or () if cause.get("field")]
        message = "it is not valid (why is left out here, as it may quote its contents)"
    else:
        # For a merge patch, the whole object is quoted before the reason.
        causes = [
            STRICT + text.partition(STRICT)[2] if STRICT in text else f"{cause.get('field', '')}: {text}".lstrip(": ")
            for cause in details.get("causes") or ()
            if (text := str(cause.get("message", ""))) and cause.get("field") != "<nil>"
        ]
        message = message.partition("): ")[2] if message.startswith(BAD_APPLIES) and "): " in message else message
    found = "; ".join(_short(cause) for cause in causes[:MOST_CAUSES]) or message
    more = f" ... and {len(causes) - MOST_CAUSES} more" if len(causes) > MOST_CAUSES else ""
    return (
        f"The API server refuses {call.thing}: {_stop(found + more)} Nothing was changed. Correct these fields, or, "
        "if they are right, bring the cluster's CRDs up to date."
    )


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("kind") == "Status" else {}


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_CAUSES])
    return f"{shown} and {len(names) - MOST_CAUSES} more" if len(names) > MOST_CAUSES else shown


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " ..."


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
