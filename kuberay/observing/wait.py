"""Waits for something to become true of a service by watching it: no polling, and a timeout that says what was seen."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.api.kinds import Kind
from kuberay.api.watching import Change, Watch
from kuberay.clock import now_text
from kuberay.errors import ApiError, Incomplete
from kuberay.observing.trimming import small_event, tidy
from kuberay.snapshot import Object, Snapshot, dig

MOST_WARNINGS = 5


@dataclass(frozen=True)
class Target:
    """What to watch: one object by name, or those a selector chooses, in the service's namespace.

    Attributes:
        optional: a target that may not be read is noted in ``Snapshot.unreadable`` instead of ending the wait.
    """

    kind: Kind
    name: str = ""
    selector: str = ""
    fields: str = ""
    optional: bool = False


WARNINGS = Target(kinds.EVENT, fields="type=Warning", optional=True)
"""The namespace's warnings; without this target, a timeout can only name the state."""


@dataclass(frozen=True)
class Verdict:
    """What a condition says of a snapshot.

    Attributes:
        done: it is true now.
        text: the state in a few words; a change of it is progress.
        failed: why it can no longer become true; empty while it can.
    """

    done: bool
    text: str
    failed: str = ""


@dataclass(frozen=True)
class Progress:
    """One step of a wait.

    Attributes:
        seconds: since it began.
        text: the verdict's.
        snapshot: what was seen.
        lost: why the API server does not answer now, so that what was seen may be old; empty while it does.
    """

    seconds: float
    text: str
    snapshot: Snapshot
    lost: str = ""


def wait_for(
    api: Api,
    namespace: str,
    name: str,
    targets: Sequence[Target],
    judge: Callable[[Snapshot], Verdict],
    *,
    within: float,
    repeat_s: float = 15.0,
) -> Iterator[Progress]:
    """Yields each change of the state until it is what was waited for; the last one yielded is the final state.

    Args:
        targets: what the condition looks at; one watch each.
        judge: the condition, asked after each change, first when all that exists is known.
        within: seconds until it gives up.
        repeat_s: a state that lasts is yielded again after so many seconds, so that a log shows life.

    Raises:
        Incomplete: the time is over, or it can no longer come. Says the last state and the last warnings.
        ApiError: a target cannot be watched.
    """
    begun = time.monotonic()
    since = datetime.now(UTC).replace(microsecond=0)  # as exact as events are
    inbox: queue.SimpleQueue[tuple[int, Change | ApiError | None]] = queue.SimpleQueue()
    watches = [_watch(api, namespace, target, within) for target in targets]
    for number, watch in enumerate(watches):
        threading.Thread(target=_pump, args=(number, watch, inbox), name=f"watch-{number}", daemon=True).start()
    seen = _Seen(api.context, namespace, name, targets)
    verdict = Verdict(False, "nothing is known yet")
    said, said_at = ("", ""), begun
    try:
        while True:
            left = begun + within - time.monotonic()
            changed = _take(inbox, seen, min(max(left, 0.0), repeat_s))
            now = time.monotonic()
            if changed and seen.complete:
                verdict = judge(seen.snapshot())
            over = now >= begun + within
            if seen.complete and ((verdict.text, seen.lost) != said or now - said_at >= repeat_s or verdict.done):
                said, said_at = (verdict.text, seen.lost), now
                yield Progress(now - begun, verdict.text, seen.snapshot(), seen.lost)
            if verdict.done:
                return
            if verdict.failed or over:
                what = verdict.failed or f"It did not get there within {within:g} s"
                lost = [f"The API server is away: {seen.lost}"] if seen.lost else []
                raise Incomplete(_explained(what, verdict.text, [*seen.warnings(since), *lost]))
    finally:
        for watch in watches:
            watch.close()


class _Seen:
    """The objects as the watches tell them."""

    def __init__(self, context: str, namespace: str, name: str, targets: Sequence[Target]) -> None:
        self._context, self._namespace, self._name, self._targets = context, namespace, name, targets
        self._objects: dict[tuple[int, str], Object] = {}
        self._waiting = set(range(len(targets)))
        self._unreadable: list[str] = []
        self._lost: set[int] = set()
        self._why = ""
        self._heard = now_text()

    @property
    def lost(self) -> str:
        """Why the API server does not answer; empty while it does."""
        return self._why if self._lost else ""

    @property
    def complete(self) -> bool:
        """All targets have told what exists."""
        return not self._waiting

    def take(self, number: int, change: Change | ApiError) -> None:
        """Learns one thing.

        Raises:
            ApiError: a target that is not optional cannot be watched.
        """
        if isinstance(change, ApiError):
            if not self._targets[number].optional:
                raise change
            self._unreadable.append(str(change))
            self._waiting.discard(number)
        elif change.type == "LOST":
            if not self._lost:  # one reason is enough: all watches go the same way
                self._heard, self._why = now_text(), str(change.object["message"])
            self._lost.add(number)
        elif change.type == "BACK":
            self._lost.discard(number)
        elif change.type == "SYNCED":
            self._lost.discard(number)
            self._waiting.discard(number)
        elif change.type == "DELETED":
            self._objects.pop((number, change.object["metadata"]["uid"]), None)
        else:
            self._objects[number, change.object["metadata"]["uid"]] = change.object

    def snapshot(self) -> Snapshot:
        """What is known."""
        away = (f"anything since {self._heard}: {self.lost}",) if self._lost else ()
        return Snapshot(
            taken=self._heard if self._lost else now_text(),
            context=self._context,
            namespace=self._namespace,
            name=self._name,
            objects=tuple(self._objects.values()),
            unreadable=(*self._unreadable, *away),
        )

    def warnings(self, since: datetime) -> list[str]:
        """The last warnings about this service since then, oldest first."""
        events = [
            item
            for item in self._objects.values()
            if item["kind"] == "Event" and item.get("type") == "Warning" and self._ours(item) and _when(item) >= since
        ]
        texts = [
            f"{dig(item, 'involvedObject', 'kind')} {dig(item, 'involvedObject', 'name')}: "
            f"{item.get('reason', '')}: {' '.join(str(item.get('message', '')).split())[:300]}"
            for item in sorted(events, key=_when)
        ]
        return list(dict.fromkeys(texts))[-MOST_WARNINGS:]

    def _ours(self, event: Object) -> bool:
        """The operator begins every name it makes with the service's."""
        involved = str(dig(event, "involvedObject", "name", default=""))
        return involved == self._name or involved.startswith(f"{self._name}-")


def _watch(api: Api, namespace: str, target: Target, within: float) -> Watch:
    return api.watch(
        target.kind,
        namespace if target.kind.namespaced else "",
        name=target.name,
        selector=target.selector,
        fields=target.fields,
        within=within,
        trim=small_event if target.kind == kinds.EVENT else tidy,
    )


def _pump(number: int, watch: Watch, inbox: queue.SimpleQueue[tuple[int, Change | ApiError | None]]) -> None:
    try:
        for change in watch:
            inbox.put((number, change))
        inbox.put((number, None))
    except ApiError as error:
        inbox.put((number, error))


def _take(inbox: queue.SimpleQueue[tuple[int, Change | ApiError | None]], seen: _Seen, timeout: float) -> bool:
    """Takes all that has come, waiting for the first. True if anything was learnt."""
    try:
        number, change = inbox.get(timeout=timeout)
    except queue.Empty:
        return False
    learnt = False
    while True:
        if change is not None:
            seen.take(number, change)
            learnt = True
        try:
            number, change = inbox.get_nowait()
        except queue.Empty:
            return learnt


def _when(event: Object) -> datetime:
    told: Any = event.get("lastTimestamp") or dig(event, "series", "lastObservedTime") or event.get("eventTime")
    told = told or dig(event, "metadata", "creationTimestamp")
    try:
        return datetime.fromisoformat(str(told))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _explained(what: str, state: str, warnings: Sequence[str]) -> str:
    lines = [f"{what.removesuffix('.')}. Last state: {state}."]
    if warnings:
        lines += ["Last warnings:", *(f"  {one}" for one in warnings)]
    lines.append("switchyard doctor looks for the cause; switchyard status shows where it stands.")
    return "\n".join(lines)
