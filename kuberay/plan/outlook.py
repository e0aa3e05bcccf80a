"""All that is known of a deployment before it is made: what is there, what would change, what it takes and lacks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kuberay.manifests.rayservice import Json
from kuberay.plan.capacity import Switch
from kuberay.plan.diff import Plan
from kuberay.plan.room import Problem
from kuberay.snapshot import Snapshot, dig


@dataclass(frozen=True)
class Outlook:
    """One deployment, looked at before.

    Attributes:
        snapshot: what is there.
        wanted: the service's objects, as they would be applied.
        plan: what applying them would do.
        takes: what a new cluster beside the old one takes.
        problems: what would keep it from starting.
        notes: what the cluster's KubeRay is too old for, and goes without.
    """

    snapshot: Snapshot
    wanted: tuple[Json, ...]
    plan: Plan
    takes: Switch
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def active(self) -> str:
        """The RayCluster that serves; empty where none does."""
        return dig(self.snapshot.service, "status", "activeServiceStatus", "rayClusterName", default="")

    @property
    def operator(self) -> str:
        """KubeRay's operator in kubectl's words, with a word in place of what may not be seen."""
        found = next(self.snapshot.of("Deployment"), None)
        name = dig(found, "metadata", "name", default="kuberay-operator")
        return f"deployment/{name} -n {dig(found, 'metadata', 'namespace', default='ITS-NAMESPACE')}"

    def without_way_back(self) -> Outlook:
        """The same, where the old cluster is not kept after the switch."""
        return replace(self, takes=replace(self.takes, kept_s=0))

    @property
    def refusals(self) -> list[str]:
        """Why it should not be applied; empty where it may."""
        return [*(trap.why for trap in self.plan.traps), *(one.what for one in self.problems if one.refuses)]
