"""Follows objects: list once, then a watch that is taken up again however it ends, until a deadline.

How watches end and what to do then: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kuberay.api.calls import Call, watching
from kuberay.api.transport import Stream, Transport
from kuberay.errors import ApiError, Unreachable

Lister = Callable[[Call], tuple[list[dict[str, Any]], str]]
Trim = Callable[[dict[str, Any]], dict[str, Any] | None]

LONGEST_WATCH_S = 300.0
GONE = 410


@dataclass(frozen=True)
class Change:
    """One thing that happened.

    Attributes:
        type: ``ADDED``, ``MODIFIED``, ``DELETED``, or ``SYNCED``: all that existed has been told (again after a gap);
            ``LOST``: the API server does not answer, and what was told may be old; ``BACK``: it does again.
        object: as the API server gave it; for ``LOST`` the reason as ``message``; else empty.
    """

    type: str
    object: dict[str, Any]


class Watch:
    """Changes of the objects that a list call covers. Iterate it once; ``close`` ends it from any thread.

    The first list fails as any request does. Later, an API server that is away (a zonal GKE control plane is, for
    minutes, while it is upgraded) is waited for until the deadline. What changed during a gap is told as one change
    an object, and what vanished as ``DELETED`` with its last known state.
    """

    def __init__(
        self, transport: Transport, call: Call, lister: Lister, deadline: float, trim: Trim | None = None
    ) -> None:
        """``call`` is the list; ``deadline`` is a time of ``time.monotonic()``; ``trim`` as for lists."""
        self._transport, self._call, self._lister, self._deadline = transport, call, lister, deadline
        self._trim = trim
        self._known: dict[str, dict[str, Any]] = {}
        self._stream: Stream | None = None
        self._lost = False
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()
        if self._stream:
            self._stream.close()

    def __iter__(self) -> Iterator[Change]:
        version, failures = "", 0
        begun = False
        while not self._over():
            try:
                if not version:
                    items, version = self._lister(self._call)
                    begun = True
                    yield from self._differences(items)
                    yield Change("SYNCED", {})
                opened = time.monotonic()
                for change, seen in self._follow(version):
                    failures, version = 0, seen
                    if change:
                        yield change
                # A server or a proxy that ends every watch at once must not be asked in a tight loop.
                failures = failures + 1 if time.monotonic() - opened < 1.0 else 0
            except ApiError as error:
                if error.status == GONE:
                    version = ""
                elif not begun or not error.passing:
                    raise
                failures += 1
                # Connections end all the time; that the next one fails too is worth a word.
                if failures > 1 and not self._lost and error.status != GONE:
                    self._lost = True
                    yield Change("LOST", {"message": str(error)})
            if failures:
                self._closed.wait(max(0.0, min(0.25 * 2 ** min(failures, 5), self._deadline - time.monotonic())))

    def _over(self) -> bool:
        return self._closed.is_set() or time.monotonic() >= self._deadline

    def _follow(self, version: str) -> Iterator[tuple[Change | None, str]]:
        """One watch request: changes, each with the version to go on from; bookmarks carry nothing else."""
        left = min(LONGEST_WATCH_S, max(1.0, self._deadline - time.monotonic()))
        call = watching(self._call, version, left)
        self._stream = self._transport.open(call)
        if self._closed.is_set():  # closed while it was being opened
            self._stream.close()
        if self._lost:
            self._lost = False
            yield Change("BACK", {}), version
        for line in self._stream.lines():
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except ValueError as error:  # the connection was cut in the middle of a line
                raise Unreachable(f"The watch of {call.thing} was cut off.") from error
            item = event.get("object") or {}
            if event.get("type") == "ERROR":
                raise ApiError(
                    f"The watch of {call.thing} ended: {item.get('message', 'no reason given')}",
                    status=int(item.get("code") or 500),
                    reason=str(item.get("reason") or ""),
                )
            yield self._change(event["type"], item), item["metadata"]["resourceVersion"]
            if self._over():
                return

    def _change(self, type: str, item: dict[str, Any]) -> Change | None:
        if type == "BOOKMARK":
            return None
        kept = self._trim(item) if self._trim else item
        if type == "DELETED":
            self._known.pop(_key(item), None)
        elif kept is not None:
            self._known[_key(item)] = kept
        return Change(type, kept) if kept is not None else None

    def _differences(self, items: list[dict[str, Any]]) -> Iterator[Change]:
        """What a new list says that has not been told."""
        before, self._known = self._known, {_key(item): item for item in items}
        for key, item in before.items():
            if key not in self._known:
                yield Change("DELETED", item)
        for key, item in self._known.items():
            if key not in before:
                yield Change("ADDED", item)
            elif before[key]["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                yield Change("MODIFIED", item)


def _key(item: dict[str, Any]) -> str:
    """An object that was deleted and made again under the same name is another one."""
    return item["metadata"]["uid"]
