"""Texts that name a cause: a table of regular expressions over what Serve says and what logs hold. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kuberay.doctor.findings import Evidence, Hit
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts
from kuberay.look.objects import text
from kuberay.look.redact import redact, shown


@dataclass(frozen=True)
class Pattern:
    """A text that names a cause; named groups fill the cause's texts."""

    cause: str
    regex: re.Pattern[str]


@dataclass(frozen=True)
class Saying:
    """A text of a cluster and who said it."""

    source: str
    text: str
    pod: str = ""


def pattern(cause: str, regex: str) -> Pattern:
    """An entry of a table. Spaces match line breaks too: tracebacks and logs wrap."""
    return Pattern(cause, re.compile(regex.replace(" ", r"\s+")))


def sayings(facts: Facts, cluster: Cluster) -> Iterator[Saying]:
    """Everything that speaks of a cluster in words: Serve's messages first, for they are the newest, then logs."""
    for app in cluster.apps:
        for deployment in app.deployments:
            if deployment.message:
                said = redact(deployment.message)
                yield Saying(f"Serve deployment {app.name}/{deployment.name} on {cluster.name}", said)
        if app.message:
            yield Saying(f"Serve application {app.name} on {cluster.name}", redact(app.message))
    for pod in cluster.pods:
        for container in pod.containers:
            for message in (container.message, container.last_message):
                if message:
                    yield Saying(f"Pod {pod.name}, container {container.name}", redact(message), pod.name)
        for key, log in facts.logs_of(pod.name):
            yield Saying(f"log {key}", log, pod.name)
    places = {text(one.object, "status", "podIP"): one.name for one in cluster.pods}
    for key, log in facts.logs_of(cluster.name):
        # CLUSTER/REPLICA/err: the report knows where the replica is.
        replica = key.split("/")[1]
        yield Saying(f"log {key}", log, places.get(cluster.node_of(replica), ""))


def matches(facts: Facts, cluster: Cluster, table: Iterable[Pattern]) -> Iterator[Hit]:
    """What the table finds in a cluster's texts."""
    found = list(sayings(facts, cluster))
    any_pod = next((one for one in cluster.pods if not one.head), cluster.head)
    for entry in table:
        for saying in found:
            last = next(iter(deque(entry.regex.finditer(saying.text), maxlen=1)), None)
            if last is None:
                continue
            values = {key: shown(value, 160) for key, value in last.groupdict().items() if value}
            pod = saying.pod or (any_pod.name if any_pod else "")
            if pod:
                values["pod"] = pod
            yield Hit(
                cause=entry.cause,
                cluster=cluster.name,
                values=values,
                evidence=(Evidence(saying.source, excerpt(saying.text, last)),),
            )


def excerpt(text: str, match: re.Match[str]) -> str:
    """The line or lines of the match, and no more than fits."""
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    line = text[max(start, match.start() - 120) : end if end >= 0 else len(text)]
    return shown(line)
