"""What has been decided about a release, and what the gate of a cluster makes of it. Pure.

Decisions are in one ConfigMap a service, a key a release, so that the gate needs the right to read one object of a name
that never changes. Who may write that ConfigMap may let a release through.

Laws of :func:`answer`, first that holds:

| the gate's cluster | decision | answer |
|---|---|---|
| serves already | any | open: its head restarted |
| nothing serves, so there is nothing to protect | any | open, once it has a ready endpoint |
| waits beside one that serves | refuse | refuse, with the reason |
| waits beside one that serves | approve | open, once it has a ready endpoint: KubeRay does not look |
| waits beside one that serves | hold, or none | wait |
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, cast


class Verb(StrEnum):
    """What was decided."""

    HOLD = "hold"
    APPROVE = "approve"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """A decision about one release.

    Attributes:
        by: who decided.
        at: RFC 3339 time in UTC.
        reason: in a sentence; shown in the RayService's status where it is a refusal.
        cluster: the RayCluster it is about; empty: whichever runs the release.
    """

    verb: Verb
    by: str = ""
    at: str = ""
    reason: str = ""
    cluster: str = ""

    def to_text(self) -> str:
        """As the ConfigMap holds it."""
        return json.dumps(asdict(self))


class Answer(StrEnum):
    """What a gate does."""

    OPEN = "open"
    REFUSE = "refuse"
    WAIT = "wait"


@dataclass(frozen=True)
class Seen:
    """What a gate sees of the world.

    Attributes:
        own: the RayCluster it is part of.
        active: the one that serves, empty where none does.
        decision: about its release.
        ready: pods of its own cluster that would get traffic now.
    """

    own: str
    active: str
    decision: Decision | None
    ready: int


def config_map(service: str) -> str:
    """Name of the ConfigMap with the decisions about a service's releases."""
    return f"{service}-decisions"


def parse(text: str | None) -> Decision | None:
    """A decision out of the ConfigMap; None where there is none, or nobody can read it: then nothing is decided."""
    try:
        data: Any = json.loads(text or "")
        known = {key: str(value) for key, value in cast("dict[str, Any]", data).items() if key in _FIELDS}
        return Decision(Verb(known.pop("verb")), **known)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def answer(seen: Seen) -> tuple[Answer, str]:
    """What the gate does now, and why in a few words."""
    if seen.active and seen.active == seen.own:
        return Answer.OPEN, "this cluster serves already"
    ready = f"{seen.ready} ready endpoints" if seen.ready != 1 else "1 ready endpoint"
    if not seen.active:
        return (Answer.OPEN, f"nothing else serves; {ready}") if seen.ready else (Answer.WAIT, "no endpoint is ready")
    decision = seen.decision
    if decision is None or decision.verb is Verb.HOLD or decision.cluster not in ("", seen.own):
        return Answer.WAIT, f"no decision yet; {ready}"
    who = f" by {decision.by}" if decision.by else ""
    if decision.verb is Verb.REFUSE:
        return Answer.REFUSE, f"refused{who}: {decision.reason or 'no reason given'}"
    if not seen.ready:
        return Answer.WAIT, f"approved{who}, but no endpoint is ready"
    return Answer.OPEN, f"approved{who}; {ready}"


_FIELDS = frozenset(Decision.__dataclass_fields__)
