"""Carries a plan out, one run after another if need be: safe to kill at any point and start again.

Laws:
1. An action starts when those it waits for are done. Actions on the cluster and its pools go one at a time, as GKE
   wants it; the others run beside them.
2. Nothing is remembered between runs. What a killed run left is seen by the next one's reading.
3. A create whose answer was lost is not repeated before the resource has been looked for.
Talks to the cloud through :class:`Cloud` only; knows no Google library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cluster.clock import Clock
from cluster.errors import ApiDisabled, Busy, ClusterError, Conflict, NotFound, NotYet, OperationFailed, Unavailable
from cluster.model import Action, Found, Key, Plan, Spec, Status, Verb

GIVE_UP_S = 3600.0
"""Longest an action may take; a GKE cluster takes under a quarter of an hour."""


class Operation(Protocol):
    """A long-running operation: ``poll`` gives True when it is done, a text when there is progress to tell."""

    @property
    def poll(self) -> Callable[[], bool | str | None]: ...


class Cloud(Protocol):
    """What an executor needs of the cloud.

    Attributes:
        poll_s: seconds between two questions about an operation.
    """

    poll_s: float

    def read(self, key: Key, spec: Spec) -> Found | None: ...

    def create(self, key: Key, spec: Spec) -> Iterator[Operation]: ...

    def update(self, action: Action) -> Iterator[Operation]: ...

    def delete(self, key: Key, found: Found | None) -> Iterator[Operation]: ...


Report = Callable[[Action, str, float], None]
"""Called with an action, what happens to it (``start``, ``done``, or a progress text) and the seconds it has taken."""


def silent(action: Action, event: str, seconds: float) -> None:
    """Reports nothing."""


@dataclass
class _Running:
    action: Action
    steps: Iterator[Operation]
    since: float
    operation: Operation | None = None
    wait_until: float = 0.0
    tries: int = 0
    text: str = ""
    # A replacement is a deletion and a creation; this is what comes next.
    then: list[Verb] = field(default_factory=list[Verb])


def execute(plan: Plan, cloud: Cloud, clock: Clock, report: Report = silent) -> None:
    """Carry out every action of a plan.

    When one fails, no further one is started, those under way are followed to their end, and its error is raised.

    Raises:
        ClusterError: an action failed; the next run goes on from there.
    """
    todo = [action for action in plan.actions if action.verb is not Verb.REFUSE]
    running: list[_Running] = []
    done: set[Key] = set()
    failure: ClusterError | None = None
    while (todo and failure is None) or running:
        moved = False
        if failure is None:
            for action in _startable(todo, running, done):
                todo.remove(action)
                report(action, "start", 0.0)
                first, *rest = [Verb.DELETE, Verb.CREATE] if action.verb is Verb.REPLACE else [action.verb]
                running.append(_Running(action, _steps(first, action, cloud), clock.now(), then=rest))
                moved = True
        for item in list(running):
            try:
                finished, progressed = _advance(item, cloud, clock, report)
            except ClusterError as error:
                running.remove(item)
                report(item.action, "failed", clock.now() - item.since)
                failure = failure or error
                continue
            moved = moved or progressed
            if finished:
                running.remove(item)
                done.add(item.action.key)
                report(item.action, "done", clock.now() - item.since)
        if not moved and running:
            clock.sleep(cloud.poll_s)
        elif not moved and todo:
            raise AssertionError(f"actions wait for each other: {', '.join(map(str, todo))}")
    if failure is not None:
        raise failure


def _startable(todo: list[Action], running: list[_Running], done: set[Key]) -> list[Action]:
    waiting_for = {action.key for action in todo} | {item.action.key for item in running}
    busy = any(_on_gke(item.action.key) for item in running)
    found: list[Action] = []
    for action in todo:
        if any(key in waiting_for and key not in done for key in action.after):
            continue
        if _on_gke(action.key):
            if busy:
                continue
            busy = True
        found.append(action)
    return found


def _on_gke(key: Key) -> bool:
    return key.kind in ("cluster", "node-pool")


def _steps(verb: Verb, action: Action, cloud: Cloud) -> Iterator[Operation]:
    if verb is Verb.CREATE:
        return cloud.create(action.key, action.spec)
    if verb is Verb.UPDATE:
        return cloud.update(action)
    if verb is Verb.DELETE:
        if action.found is not None and action.found.status is Status.DELETING:
            return iter([_Settled(action, cloud, gone=True)])
        return cloud.delete(action.key, action.found)
    return iter([_Settled(action, cloud, gone=False)])


class _Settled:
    """An operation of an earlier run, whose name nobody knows: the resource itself is asked."""

    def __init__(self, action: Action, cloud: Cloud, *, gone: bool) -> None:
        self._action, self._cloud, self._gone = action, cloud, gone

    def poll(self) -> bool | str | None:
        found = self._cloud.read(self._action.key, self._action.spec)
        if self._gone:
            return True if found is None else None
        return None if found is not None and found.status is Status.BUSY else True


def _advance(item: _Running, cloud: Cloud, clock: Clock, report: Report) -> tuple[bool, bool]:
    """One step on: (finished, whether anything moved)."""
    if clock.now() < item.wait_until:
        return False, False
    if clock.now() - item.since > GIVE_UP_S:
        raise OperationFailed(f"{item.action.key}: not done after {GIVE_UP_S / 60:.0f} minutes; run it again to go on")
    try:
        if item.operation is not None:
            state = item.operation.poll()
            if state is not True:
                if isinstance(state, str) and state != item.text:
                    item.text = state
                    report(item.action, state, clock.now() - item.since)
                item.wait_until = clock.now() + cloud.poll_s
                return False, False
            item.operation = None
        item.operation = next(item.steps, None)
        if item.operation is not None:
            return False, True
        if item.then:
            item.steps = _steps(item.then.pop(0), item.action, cloud)
            return False, True
        return True, True
    except (Unavailable, Busy, NotYet, Conflict, NotFound, ApiDisabled) as error:
        return _again(item, error, cloud, clock), False


def _again(item: _Running, error: ClusterError, cloud: Cloud, clock: Clock) -> bool:
    """Whether the action turned out to be done; else it is set up to be tried again after a while."""
    action = item.action
    creating = action.verb is Verb.CREATE or (action.verb is Verb.REPLACE and not item.then)
    item.tries += 1
    # GKE's queue may be long, and waiting is all there is to do; the others mean trouble if they go on.
    if item.tries > (GIVE_UP_S / 5 if isinstance(error, Busy) else 8):
        raise error
    item.wait_until = clock.now() + min(30.0, 2.0**item.tries)
    item.operation = None
    if creating:
        # The answer was lost, or somebody was faster: the resource tells.
        found = cloud.read(action.key, action.spec)
        if found is not None:
            if not found.ours:
                raise error
            item.steps = iter([_Settled(action, cloud, gone=False)])
            return False
        item.steps = cloud.create(action.key, action.spec)
    elif action.verb is Verb.WAIT:
        item.steps = _steps(Verb.WAIT, action, cloud)
    elif action.verb is Verb.UPDATE:
        item.steps = cloud.update(action)
    else:
        found = cloud.read(action.key, action.spec)
        deleting = found is not None and found.status is Status.DELETING
        item.steps = iter([_Settled(action, cloud, gone=True)]) if deleting else cloud.delete(action.key, found)
    return False
