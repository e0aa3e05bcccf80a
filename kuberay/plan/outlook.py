"""All that is known of a deployment before it is made: what is there, what would change, what it takes and lacks."""

from __future__ import annotations

from dataclasses import dataclass

from kuberay.manifests.rayservice import Json
from kuberay.plan.capacity import Switch
from kuberay.plan.diff import Plan
from kuberay.plan.room import Problem
from kuberay.snapshot import Snapshot


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
    def refusals(self) -> list[str]:
        """Why it should not be applied; empty where it may."""
        return [*(trap.why for trap in self.plan.traps), *(one.what for one in self.problems if one.refuses)]
