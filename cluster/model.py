"""The values that the parts hand to each other: what is wanted, what was found, what is to be done. Pure.

A resource's ``spec`` has the field names of Google's REST reference (the JSON form of the API's messages, enums by
name), so that what a plan shows is what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

MANAGED_BY = "switchyard"
LABELS = ("managed-by", "switchyard-cluster")
NAME_LABEL = "switchyard-name"
"""On what gets its name from Google (alert policies, channels): which one of ours it is."""
PARKED_LABEL = "switchyard-scaled-to-zero"
TOKEN_SOURCE = "$HF_TOKEN"
"""Where a version of the Hugging Face token comes from; the token itself is in no plan."""
PROTECTED_LABEL = "switchyard-protected"

Spec = Mapping[str, Any]


class Key(NamedTuple):
    """Which resource; shown as ``node-pool/l4``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Wanted:
    """A resource as the service file wants it.

    Attributes:
        spec: its fields, in the API's names.
        after: resources that must be there first.
        within: a resource whose creation makes this one too (the system pool comes with the cluster).
    """

    key: Key
    spec: Spec
    after: tuple[Key, ...] = ()
    within: Key | None = None


class Status(StrEnum):
    """Of a resource that was found."""

    READY = "ready"
    BUSY = "busy"  # an operation runs; ``Found.operation`` names it where known
    FAILED = "failed"  # it exists, and never came to work
    DELETING = "deleting"


@dataclass(frozen=True)
class Found:
    """A resource as Google has it.

    Attributes:
        spec: its fields, in the API's names.
        ours: it bears the marks of this cluster.
        operation: name of the operation that runs on it.
        note: what Google says about its state.
        facts: what is neither wanted nor sent (fingerprints, object counts, endpoints).
    """

    key: Key
    spec: Spec
    ours: bool = True
    status: Status = Status.READY
    operation: str = ""
    note: str = ""
    facts: Spec = field(default_factory=dict[str, Any])


class Quota(NamedTuple):
    """A regional quota."""

    limit: float
    usage: float

    @property
    def free(self) -> float:
        return max(0.0, self.limit - self.usage)


@dataclass(frozen=True)
class Stock:
    """What the project could make where; read only when GPU nodes are to be made.

    Attributes:
        zones: accelerator type -> zones that have it (any region).
        quotas: region -> metric -> quota.
        all_regions_gpus: ``GPUS_ALL_REGIONS``; None where the project has no such quota.
        families: (gpu family, region) -> limit, for accelerators without a metric of their own.
        channel_version: the GKE version a new cluster gets.
    """

    zones: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    quotas: Mapping[str, Mapping[str, Quota]] = field(default_factory=dict[str, Mapping[str, Quota]])
    all_regions_gpus: Quota | None = None
    families: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    channel_version: str = ""


@dataclass(frozen=True)
class Observed:
    """What was read from Google, all of it at once.

    Attributes:
        found: every resource that was asked for and is there, and more that bears our marks.
        disabled_apis: APIs that are not enabled; what needs them was not read.
        stock: zones and quotas, where read.
    """

    found: Mapping[Key, Found] = field(default_factory=dict[Key, Found])
    disabled_apis: frozenset[str] = frozenset()
    stock: Stock | None = None

    @property
    def parked(self) -> bool:
        """Scaled to zero by ``switchyard cluster scale --to-zero``."""
        return any(
            key.kind == "cluster" and item.ours and PARKED_LABEL in (item.spec.get("resourceLabels") or {})
            for key, item in self.found.items()
        )


class Change(NamedTuple):
    """One field that differs."""

    path: str
    have: Any
    want: Any


class Verb(StrEnum):
    """What an action does."""

    CREATE = "create"
    UPDATE = "change"
    REPLACE = "replace"  # delete, then create
    DELETE = "delete"
    WAIT = "wait"  # an operation of an earlier run is under way
    REFUSE = "refuse"


@dataclass(frozen=True)
class Action:
    """One step of a plan.

    Attributes:
        spec: what will be there afterwards; empty for deletions.
        changes: the fields that differ, for changes and replacements.
        reason: why, in one sentence; for a refusal also what to do next.
        after: actions (by key) that must be done first.
        found: the resource as it was read, where it exists.
    """

    verb: Verb
    key: Key
    spec: Spec = field(default_factory=dict[str, Any])
    changes: tuple[Change, ...] = ()
    reason: str = ""
    after: tuple[Key, ...] = ()
    found: Found | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.key}"

    @property
    def existing(self) -> Found:
        """What was found, for a step that only what was found can have.

        Raises:
            ValueError: nothing was.
        """
        if self.found is None:
            raise ValueError(f"{self} is planned for something that was not found.")
        return self.found


@dataclass(frozen=True)
class Plan:
    """Ordered actions, refusals included; ``kept`` says what a deletion leaves, and why."""

    actions: tuple[Action, ...] = ()
    kept: tuple[tuple[Key, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def refusals(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.verb is Verb.REFUSE)

    @property
    def empty(self) -> bool:
        return not self.actions


def labels_of(name: str) -> dict[str, str]:
    """The labels on everything that can bear labels."""
    return {LABELS[0]: MANAGED_BY, LABELS[1]: name}


def bears_labels(labels: Mapping[str, str] | None, name: str) -> bool:
    """Whether these are labels of something that was made for the cluster of this name."""
    return labels_of(name).items() <= dict(labels or {}).items()


def mark_of(name: str) -> str:
    """The description of what cannot bear labels."""
    return f"Managed by switchyard, cluster {name}"
