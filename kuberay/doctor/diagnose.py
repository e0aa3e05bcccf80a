"""Says what is wrong with a service, why, and what to do: causes joined over everything a snapshot holds. Pure.

The rules are in ``causes/``; here is how their hits become findings:

1. hits of one cause in one cluster are one finding, with the evidence of all of them;
2. a symptom is no finding where a cause explains it (one of the same cluster or of the whole service, earlier in the
   chain); it becomes evidence of that cause;
3. findings are ranked: what stops requests first, then what stops a release, and among these the earliest link of the
   chain from cluster to engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from kuberay.doctor.causes import OF_CLUSTER, OF_SERVICE
from kuberay.doctor.causes.service import operator
from kuberay.doctor.causes.texts import CAUSES
from kuberay.doctor.findings import Cause, Evidence, Finding, Hit, Severity, Step
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts
from kuberay.look.objects import name_of, text
from kuberay.look.redact import shown
from kuberay.snapshot import Snapshot, dig

EVIDENCE_LIMIT = 8


def diagnose(snapshot: Snapshot, now: datetime) -> list[Finding]:
    """What is wrong, the likeliest and worst first; empty where nothing is.

    Args:
        snapshot: what was seen of the service.
        now: when it was seen, with its time zone; for a bundle the time it was taken.
    """
    facts = Facts(snapshot, now)
    hits: list[Hit] = [hit for rule in OF_SERVICE for hit in rule(facts)]
    for cluster in facts.live:
        if not cluster.healthy and not cluster.held:
            hits += [hit for rule in OF_CLUSTER for hit in rule(facts, cluster)]
    findings = [_finding(facts, group) for group in _joined(hits)]
    return sorted(findings, key=lambda one: (*_order(one), one.cluster, one.title))


def checks(snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    """What was looked at, for a service where nothing was found, and what could not be seen."""
    facts = Facts(snapshot, now)
    pods = [pod for one in facts.live for pod in one.pods]
    apps = [app for one in facts.live for app in one.apps]
    ready, total = facts.endpoints
    looked = [
        f"RayService {facts.name}: Ready {facts.ready.get('status', 'unknown')}",
        f"{_count(len(facts.live), 'cluster')}, {_count(len(pods), 'pod')} ({sum(pod.ready for pod in pods)} ready)",
        f"{_count(len(apps), 'Serve application')} ({sum(app.healthy for app in apps)} running)",
        f"{_count(total, 'endpoint')} ({ready} ready)",
        f"{_count(facts.event_count, 'event')}, {_count(len(facts.logs), 'log')}",
    ]
    green = facts.cluster("pending")
    if green:
        beside = " beside what serves" if facts.cluster("active") else ""
        state = "is held: its gate waits for a decision" if green.held else f"is starting{beside}"
        looked.append(f"the new cluster {green.name} {state}")
    return (*looked, *(f"not seen: {shown(one)}" for one in snapshot.unreadable))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _joined(hits: Iterable[Hit]) -> list[list[Hit]]:
    """Hits grouped into findings, each group's first the one that names it."""
    groups: dict[tuple[str, str], list[Hit]] = defaultdict(list)
    for hit in hits:
        # Warnings about two fields are two things to do, not one thing seen twice.
        key = hit.cluster if hit.cause != "scaling-edit-not-propagated" else f"{hit.cluster} {hit.subject}"
        groups[hit.cause, key].append(hit)
    ordered = sorted(groups.values(), key=lambda group: (CAUSES[group[0].cause].rank, group[0].cause, group[0].cluster))
    kept: list[list[Hit]] = []
    for group in ordered:
        explained = next((one for one in kept if _explains(one[0], group[0])), None)
        if explained is not None:
            explained += group
        elif not all(hit.supporting for hit in group):
            kept.append(group)
    return kept


def _explains(cause: Hit, symptom: Hit) -> bool:
    one, other = CAUSES[cause.cause], CAUSES[symptom.cause]
    if not other.symptom or one.rank > other.rank or one.severity is not None:
        return False
    return cause.cluster in ("", symptom.cluster) or not symptom.cluster


def _finding(facts: Facts, group: list[Hit]) -> Finding:
    first = group[0]
    cause = CAUSES[first.cause]
    own = [hit for hit in group if hit.cause == first.cause]
    # Of several sayings of the same thing the one that tells most gives the words.
    best = max(own, key=lambda hit: (len(hit.values), hit.subject == first.subject))
    cluster = next((one for one in facts.clusters if one.name == first.cluster), None)
    words = _words(facts, cluster, best)
    subjects = sorted({hit.subject for hit in own if hit.subject})
    more = f" (and {len(subjects) - 1} more)" if len(subjects) > 1 and "{pod}" in cause.title else ""
    return Finding(
        id=cause.id,
        severity=_severity(facts, cluster, cause, first),
        title=shown(cause.title.format_map(words) + more, 200),
        because=cause.because.format_map(words),
        evidence=_evidence(group),
        next_steps=tuple(
            Step(told.format_map(words), command.format_map(words))
            for told, command in cause.steps
            if facts.on_gke or not command.startswith("gcloud ")
        ),
        cluster=first.cluster,
        subjects=tuple(subjects),
        unseen=tuple(
            dict.fromkeys([*(shown(one) for one in facts.snapshot.unreadable), *(u for hit in own for u in hit.unseen)])
        ),
    )


def _evidence(group: list[Hit]) -> tuple[Evidence, ...]:
    """The cause's own first, then the symptoms'; each once."""
    found = dict.fromkeys(one for hit in group for one in hit.evidence)
    texts: set[str] = set()
    kept: list[Evidence] = []
    for one in found:
        if one.text and one.text not in texts:
            texts.add(one.text)
            kept.append(one)
    return tuple(kept[:EVIDENCE_LIMIT])


def _severity(facts: Facts, cluster: Cluster | None, cause: Cause, hit: Hit) -> Severity:
    fixed = cause.severity or hit.severity
    if fixed:
        return fixed
    beside = cluster is not None and cluster.role == "pending" and facts.cluster("active") is not None
    if not facts.serving and not beside:
        return Severity.DOWN
    if cluster is None or beside:
        return Severity.BLOCKED
    return Severity.DEGRADED


def _order(finding: Finding) -> tuple[int, bool, int]:
    cause = CAUSES[finding.id]
    return finding.severity.order, cause.symptom, cause.rank


class _Words(dict[str, str]):
    """Names for texts; one that is not known stays a word in capitals that the reader replaces."""

    def __missing__(self, key: str) -> str:
        return key.upper()


def _words(facts: Facts, cluster: Cluster | None, hit: Hit) -> _Words:
    project, location, gke_cluster = facts.gke
    deployment = operator(facts)
    pods = cluster.pods if cluster else ()
    pod = next((one for one in pods if one.name == hit.values.get("pod")), None)
    pod = pod or next((one for one in pods if not one.head), None) or (cluster.head if cluster else None)
    words = _Words(
        name=facts.name,
        namespace=facts.namespace,
        kubectl=facts.kubectl,
        file="FILE",
        cluster=hit.cluster or "CLUSTER",
        serve_service=facts.serve_service,
        selected=facts.selected or "CLUSTER",
        project=project,
        location=location,
        region=location if location.count("-") < 2 else location.rsplit("-", 1)[0],
        gke_cluster=gke_cluster,
        operator=name_of(deployment) or "kuberay-operator",
        operator_namespace=text(deployment, "metadata", "namespace") or "kuberay-system",
        more="MORE",
        previous="",
    )
    model = dig(facts.config, "model", "id")
    if isinstance(model, str):
        words["model"] = shown(model, 100)
        words["bucket"] = "/".join(model.split("/")[:3]) if model.startswith("gs://") else model
        words["folder"] = model
    if cluster and cluster.head:
        words["head"] = cluster.head.name
    if pod:
        words["pod"] = pod.name
        words["container"] = next((one.name for one in pod.containers if not one.init), "ray-worker")
        words["service_account"] = text(pod.object, "spec", "serviceAccountName") or "default"
    words.setdefault("model", "the model")
    words.setdefault("container", "ray-worker")
    words.update({key: value for key, value in hit.values.items() if value})
    return words
