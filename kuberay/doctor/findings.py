"""What ``doctor`` says: the causes it knows, what was found of one, and the finding that is shown. Pure.

A rule sees one thing and makes a :class:`Hit`; the texts are in tables of :class:`Cause`. ``doctor.diagnose`` joins
hits into :class:`Finding`, so that a rule needs to know nothing of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is for the people who use the service, worst first."""

    DOWN = "down"  # no request is answered
    BLOCKED = "blocked"  # requests are answered; a new release, or more replicas, cannot come
    DEGRADED = "degraded"  # requests are answered, with less than was asked for
    RISK = "risk"  # nothing is wrong yet

    @property
    def order(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, order=True)
class Evidence:
    """An excerpt, word for word, and the object it is from."""

    source: str
    text: str


@dataclass(frozen=True)
class Step:
    """What to do next; ``command`` may be empty where it is not one."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Cause:
    """A cause that doctor knows. Texts may have ``{names}`` that a hit fills in.

    Attributes:
        id: stable, for scripts and links.
        rank: where in the chain from the cluster to the engine it lies; of two, the lower explains the other.
        symptom: only shown where nothing explains it; otherwise it becomes evidence of what does.
        severity: fixed, where it does not follow from what still serves.
    """

    id: str
    rank: int
    title: str
    because: str
    steps: tuple[tuple[str, str], ...]
    symptom: bool = False
    severity: Severity | None = None


@dataclass(frozen=True)
class Hit:
    """A cause, seen.

    Attributes:
        cluster: the RayCluster it concerns; empty for the whole service.
        subject: the object at fault, e.g. a pod; hits of the same cause on many are joined.
        values: what the cause's texts need.
        unseen: what would have told more, and could not be read.
        supporting: ordinary by itself at this moment; evidence of what explains it, but never a finding of its own.
    """

    cause: str
    cluster: str = ""
    subject: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    evidence: tuple[Evidence, ...] = ()
    unseen: tuple[str, ...] = ()
    severity: Severity | None = None
    supporting: bool = False


@dataclass(frozen=True)
class Finding:
    """A cause, why it leads to what is seen, and what to do."""

    id: str
    severity: Severity
    title: str
    because: str
    evidence: tuple[Evidence, ...]
    next_steps: tuple[Step, ...]
    cluster: str = ""
    subjects: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class Ranks:
    """The chain: each link needs the ones before it."""

    PLATFORM = 0  # CRDs, operator, namespace
    SPEC = 10  # the RayService itself
    ADMISSION = 20  # pods cannot be made
    SCHEDULING = 30  # pods get no node
    NODE = 40  # the node under a pod
    STARTING = 50  # images, secrets, volumes
    MEMORY = 60  # containers are killed
    RAY = 70  # Ray nodes, autoscaler
    MODEL = 80  # weights and configuration
    ENGINE = 90  # vLLM
    CRASH = 100
    SERVE = 110
    TRAFFIC = 120
    WARNING = 200
