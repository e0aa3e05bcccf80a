"""One service's snapshot, indexed once: clusters with their role, pods, events by object, applications, logs. Pure.

Everything is sorted here, so that what is found does not depend on the order in which things were read.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, cast

import yaml

from kuberay.look.clusters import Cluster, release_of_cluster
from kuberay.look.objects import (
    Event,
    Pod,
    apps,
    created,
    event,
    items,
    label,
    mapping,
    moment,
    name_of,
    number,
    pod,
    text,
)
from kuberay.look.redact import redact, tail
from kuberay.manifests.gateway import cluster_service
from kuberay.names import CLUSTER_LABEL, SERVICE_LABEL, release_name
from kuberay.snapshot import Object, Snapshot, by_steps, condition_of, dig

OPERATOR = "kuberay-operator"
CONFIG_LIMIT = 256 * 1024


class Facts:
    """A snapshot, indexed. Reading it is all it offers; it never changes after it was made."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.snapshot = snapshot
        self.now = now
        self.name = snapshot.name
        self.namespace = snapshot.namespace
        self._kinds: dict[str, dict[str, Object]] = defaultdict(dict)
        events: list[Event] = []
        for item in snapshot.objects:
            kind = text(item, "kind")
            if kind == "Event":
                events.append(event(item))
            else:
                self._kinds[kind][name_of(item)] = item
        self._events: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for one in sorted(events, key=lambda one: (one.last, one.reason, one.note, one.count)):
            self._events[one.kind, one.name].append(one)
        self.service: Object | None = self._kinds["RayService"].get(self.name)
        self.logs: Mapping[str, str] = {
            # Redacted before anything is cut out of it: half a token is no longer known for one.
            key: redact(tail(snapshot.logs[key]))
            for key in sorted(snapshot.logs)
            if snapshot.logs[key] and "/" in key
        }
        self._logs_of: dict[str, list[str]] = defaultdict(list)
        for key in self.logs:
            self._logs_of[key.split("/", 1)[0]].append(key)
        self.clusters = self._clusters()

    # What was read

    def of(self, kind: str) -> list[Object]:
        """Objects of a kind, by name."""
        found = self._kinds.get(kind, {})
        return [found[name] for name in sorted(found)]

    def named(self, kind: str, name: str) -> Object | None:
        """The object of that kind and name."""
        return self._kinds.get(kind, {}).get(name)

    def events(self, kind: str, name: str, *reasons: str) -> list[Event]:
        """Events of an object, oldest first; all, or those with one of the reasons."""
        return [one for one in self._events.get((kind, name), ()) if not reasons or one.reason in reasons]

    @property
    def event_count(self) -> int:
        return sum(len(one) for one in self._events.values())

    def logs_of(self, pod_name: str, container: str = "") -> list[tuple[str, str]]:
        """Logs of a pod (or of one of its containers), each with its key."""
        keys = self._logs_of.get(pod_name, [])
        return [(key, self.logs[key]) for key in keys if not container or key.split("/")[1:2] == [container]]

    def could_not_read(self, *beginnings: str) -> bool:
        """Whether something whose description begins so could not be read, e.g. ``pods in namespace models: ...``."""
        return any(entry.lower().startswith(beginnings) for entry in self.snapshot.unreadable)

    # The service

    @property
    def ready(self) -> Mapping[str, Any]:
        return condition_of(self.service, "Ready")

    @property
    def serving(self) -> bool:
        """Whether requests are answered now, as far as can be seen."""
        if self.stale_service:
            return False
        if slices := self._slices():
            return any(_is_ready(one) for item in slices for one in items(item, "endpoints"))
        return self.ready.get("status") == "True"

    @property
    def endpoints(self) -> tuple[int, int]:
        """Endpoints of the serve service: ready ones, and all."""
        found = [one for item in self._slices() for one in items(item, "endpoints")]
        if not found and not self.of("EndpointSlice"):
            count = number(self.service, "status", "numServeEndpoints")
            return count, count
        return sum(1 for one in found if _is_ready(one)), len(found)

    def _slices(self) -> list[Object]:
        wanted = self.serve_service
        return [one for one in self.of("EndpointSlice") if label(one, "kubernetes.io/service-name") == wanted]

    @property
    def incremental(self) -> bool:
        """Traffic moves by steps, through a Gateway, to a Service a cluster."""
        return by_steps(self.service)

    def share(self, role: str) -> int | None:
        """Per cent of the traffic of the active or pending cluster, where it has parts."""
        status = dig(self.service, "status", f"{role}ServiceStatus")
        return int(dig(status, "trafficRoutedPercent", default=0)) if self.incremental and status else None

    @property
    def serve_service(self) -> str:
        """What requests go to: the service's own, or with the incremental strategy the serving cluster's."""
        of_cluster = cluster_service(dig(self.service, "status", "activeServiceStatus", "rayClusterName", default=""))
        stepwise = self.incremental and self.named("Service", of_cluster)  # not where KubeRay's feature gate is off
        return of_cluster if stepwise else f"{self.name}-serve-svc"

    @property
    def selected(self) -> str:
        """The RayCluster that the serve service selects, or ``""``."""
        return text(self.named("Service", self.serve_service), "spec", "selector", CLUSTER_LABEL)

    @property
    def stale_service(self) -> bool:
        """The serve service selects a cluster that is gone."""
        return bool(self.selected and self.of("RayCluster")) and self.named("RayCluster", self.selected) is None

    @property
    def deleting(self) -> bool:
        return bool(text(self.service, "metadata", "deletionTimestamp"))

    def cluster(self, role: str) -> Cluster | None:
        """The cluster with that role, if there is one."""
        return next((one for one in self.clusters if one.role == role), None)

    @property
    def live(self) -> list[Cluster]:
        """The clusters that matter: active and pending."""
        return [one for one in self.clusters if one.role != "retired" and not one.deleting]

    def age(self, then: datetime) -> timedelta:
        """How long ago that was; never negative, for clocks differ."""
        return max(self.now - then, timedelta())

    @property
    def longest_request_s(self) -> float:
        """The longest stream the service allows."""
        value = dig(self.config, "serving", "max_request_s", default=600)
        return float(value) if isinstance(value, (int, float)) else 600.0

    # Words for commands

    @property
    def kubectl(self) -> str:
        """The beginning of a kubectl command that means this service's namespace."""
        context = self.snapshot.context
        which = f" --context {shlex.quote(context)}" if context and context != "in-cluster" else ""
        return f"kubectl{which} -n {self.namespace}"

    @property
    def gke(self) -> tuple[str, str, str]:
        """Project, location and cluster, from gcloud's context name; words in capitals where unknown."""
        parts = self.snapshot.context.split("_")
        if parts[0] == "gke" and len(parts) == 4:
            return parts[1], parts[2], parts[3]
        provider = next((text(one, "spec", "providerID") for one in self.of("Node")), "").split("/")
        if provider[0] == "gce:" and len(provider) == 5:
            return provider[2], provider[3], "CLUSTER"
        return "PROJECT", "LOCATION", "CLUSTER"

    @property
    def on_gke(self) -> bool:
        """Whether it may be GKE: everything but a cluster whose nodes were seen and are no machines of Google's."""
        nodes = self.of("Node")
        google = [one for one in nodes if text(one, "spec", "providerID").startswith("gce:")]
        return self.snapshot.context.startswith("gke_") or not nodes or bool(google)

    # Building the index

    def _clusters(self) -> tuple[Cluster, ...]:
        roles = {
            text(self.service, "status", "activeServiceStatus", "rayClusterName"): "active",
            text(self.service, "status", "pendingServiceStatus", "rayClusterName"): "pending",
        }
        roles.pop("", None)
        pods: dict[str, list[Pod]] = defaultdict(list)
        for item in self.of("Pod"):
            one = pod(item)
            pods[one.cluster].append(one)
        names = {name for name, item in self._kinds["RayCluster"].items() if _belongs(item, self.name)} | set(roles)
        order = {"active": 0, "pending": 1, "retired": 2}
        found: list[Cluster] = []
        for name in names:
            role = roles.get(name, "retired")
            item: Object = self._kinds["RayCluster"].get(name, {})
            mine = sorted(pods.get(name, []), key=lambda one: (not one.head, one.name))
            status = mapping(self.service, "status", f"{role}ServiceStatus")
            found.append(
                Cluster(
                    name=name,
                    role=role,
                    release=release_of_cluster(item, mine),
                    created=created(item),
                    deleting=bool(text(item, "metadata", "deletionTimestamp")),
                    pods=tuple(mine),
                    apps=apps(name, self.snapshot.serve.get(name), status),
                    object=item,
                )
            )
        return tuple(sorted(found, key=lambda one: (order[one.role], one.created, one.name)))

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The newest release's service file, out of its ConfigMap; empty where it was not read."""
        for one in reversed(self.clusters):
            if one.role == "retired":
                continue
            source = text(self.named("ConfigMap", release_name(self.name, one.release)), "data", "service.yaml")
            if source and len(source) <= CONFIG_LIMIT:
                try:
                    found = yaml.safe_load(source)
                except (yaml.YAMLError, ValueError, RecursionError):
                    continue
                return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
        return {}


def since(item: Mapping[str, Any]) -> datetime:
    """When a condition last changed."""
    return moment(item.get("lastTransitionTime"))


def _belongs(item: Object, service: str) -> bool:
    return label(item, SERVICE_LABEL) in ("", service)


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    # The API's own reading: a missing condition means ready.
    return dig(endpoint, "conditions", "ready", default=True) is True and bool(endpoint.get("addresses"))
