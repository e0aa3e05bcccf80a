"""What a rollout may do next, for :mod:`kuberay.rollout.machine` to choose and ``run`` to execute. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kuberay.rollout.record import Outcome
from kuberay.rollout.seen import Pace
from serve_app.decision import Verb as Decided


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something changes. ``phase`` is the phase that it waits in."""

    phase: str
    why: str


@dataclass(frozen=True)
class Decide:
    """Write the decision about green's release. ``cluster`` is empty while green has none."""

    verb: Decided
    release: str
    cluster: str
    by: str
    reason: str


@dataclass(frozen=True)
class Apply:
    """Apply the objects of a revision, with this upgrade strategy. ``pace``: instead of the revision's own."""

    revision: int
    strategy: str
    pace: Pace | None = None


@dataclass(frozen=True)
class Nudge:
    """Have KubeRay move one step of traffic to ``cluster``. Only if it all still is as it was ``seen``."""

    cluster: str
    active: str
    pending: str
    traffic: int


@dataclass(frozen=True)
class Point:
    """Set the status's pending cluster; empty: none. Only if ``active`` still is the one that serves."""

    cluster: str
    active: str


@dataclass(frozen=True)
class Delete:
    """Delete a RayCluster."""

    cluster: str


@dataclass(frozen=True)
class Validate:
    """Send requests to green, and to blue beside it, and judge the answers."""

    green: str
    blue: str


@dataclass(frozen=True)
class Watch:
    """Look at the traffic for a while, ``left_s`` seconds at most."""

    cluster: str
    left_s: float


@dataclass(frozen=True)
class Note:
    """Write into the record what has been found out: green's cluster, the way back, a phase, that nothing is warm."""

    green: str = ""
    back: str = ""
    phase: str = ""
    cold: bool = False


@dataclass(frozen=True)
class Finish:
    """It has ended."""

    outcome: Outcome
    why: str


Step = Wait | Decide | Apply | Nudge | Point | Delete | Validate | Watch | Note | Finish
