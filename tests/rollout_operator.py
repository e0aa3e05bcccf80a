"""KubeRay and the gates as :mod:`tests.rollout_world` has them, at work on the objects of an API server in memory.

So the real commands' own code, from the records to the patches, can be run to its end, and ended at any point on its
way, in a second.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kuberay.names import CLUSTER_LABEL, GATE, INCREMENTAL, RELEASE, SERVE_LABEL, SERVICE_LABEL, ours
from kuberay.snapshot import dig, release_of
from serve_app.decision import config_map, parse
from tests.kubernetes_memory import Item, Memory
from tests.rollout_world import Cluster, Pace, World

NAMESPACE = "team-a"
SERVICES = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayservices"
CLUSTERS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
TICK_S = 0.01


def ray_service(release: str, strategy: str = "NewCluster", pace: Pace | None = None) -> Item:
    """A RayService that asks for a release."""
    own: Item = {"type": strategy}
    if pace:
        own["clusterUpgradeOptions"] = {"stepSizePercent": pace.step, "intervalSeconds": pace.interval_s}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "llm", "namespace": NAMESPACE, "annotations": {RELEASE: release}},
        "spec": {"upgradeStrategy": own, "release": release},
    }


class Operator:
    """Brings the world and the API server's objects together, a second of theirs each ``TICK_S``."""

    def __init__(self, memory: Memory, world: World) -> None:
        self.memory, self.world = memory, world
        memory.keep(f"{SERVICES}/llm", ray_service(world.spec, world.strategy, world.pace))
        self._tell()

    @contextmanager
    def working(self) -> Generator[None]:
        """For as long as the context is open."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(TICK_S):
                self.tick()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def tick(self) -> None:
        """What people and commands have written is seen, a second passes, and what came of it is written down."""
        with self.memory.lock:
            self._look()
            self.world.tick()
            self._tell()

    def _look(self) -> None:
        world, service = self.world, self.memory.objects[f"{SERVICES}/llm"]
        world.spec, world.strategy = release_of(service), dig(service, "spec", "upgradeStrategy", "type")
        options = dig(service, "spec", "upgradeStrategy", "clusterUpgradeOptions")
        world.pace = Pace(options["stepSizePercent"], options["intervalSeconds"]) if options else None
        world.pending = dig(service, "status", "pendingServiceStatus", "rayClusterName", default="")
        for which in ("active", "pending"):
            one = dig(service, "status", f"{which}ServiceStatus", default={})
            if world.strategy == INCREMENTAL and one and "lastTrafficMigratedTime" not in one:
                world.nudged.add(one["rayClusterName"])
        held = self.memory.objects.get(f"{CONFIG_MAPS}/{config_map('llm')}")
        decided = {release: parse(text) for release, text in dig(held, "data", default={}).items()}
        world.decisions = {release: one for release, one in decided.items() if one}
        for name in [one for one in world.clusters if f"{CLUSTERS}/{one}" not in self.memory.objects]:
            del world.clusters[name]

    def _tell(self) -> None:
        world, memory = self.world, self.memory
        for name, one in world.clusters.items():
            memory.keep(f"{CLUSTERS}/{name}", _cluster(name, one))
            memory.keep(f"{PODS}/{name}-worker", _pod(name, ready=one.age >= world.starts_in and not one.broken))
        for path in [one for one in memory.objects if one.startswith((CLUSTERS, PODS))]:
            if path.rpartition("/")[2].removesuffix("-worker") not in world.clusters:
                memory.drop(path)
        service = dict(memory.objects[f"{SERVICES}/llm"])
        service["status"] = {
            "observedGeneration": service["metadata"]["generation"],
            "activeServiceStatus": self._state(world.active) if world.active else {},
        }
        if world.pending:
            service["status"]["pendingServiceStatus"] = self._state(world.pending) | {
                "trafficRoutedPercent": world.traffic
            }
        memory.keep(f"{SERVICES}/llm", service)

    def _state(self, name: str) -> Item:
        one = self.world.clusters[name]
        model = "RUNNING" if one.age >= self.world.starts_in else "DEPLOYING"
        state = {"llm": "UNHEALTHY" if one.broken else model}
        state[GATE] = "DEPLOY_FAILED" if one.refused else "RUNNING" if one.opened else "DEPLOYING"
        moved: Item = {} if name in self.world.nudged else {"lastTrafficMigratedTime": self.world.moved_at.isoformat()}
        return {"rayClusterName": name, "applicationStatuses": {k: {"status": v} for k, v in state.items()}, **moved}


def _cluster(name: str, one: Cluster) -> Item:
    about = {"labels": {SERVICE_LABEL: "llm"}, "annotations": {RELEASE: one.release}}
    return _item("RayCluster", name, about)


def _pod(cluster: str, *, ready: bool) -> Item:
    about = {"labels": {**ours("llm"), CLUSTER_LABEL: cluster, SERVE_LABEL: "true"}}
    status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    return _item("Pod", f"{cluster}-worker", about) | {"status": status}


def _item(kind: str, name: str, about: dict[str, Any]) -> Item:
    return {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, **about}}
