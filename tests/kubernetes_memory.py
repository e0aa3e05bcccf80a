"""A Kubernetes API that remembers: objects are created, patched with optimistic locking, listed and deleted.

Watches see nothing.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status


@dataclass
class Memory:
    """What :class:`tests.fake_kubernetes.FakeKubernetes` answers from. ``away``: it answers that status and no more."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    away: int = 0
    version: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def served(self) -> Generator[FakeKubernetes]:
        """An API server that answers from it."""
        with fake_kubernetes() as fake:
            fake.answer = self.answer
            yield fake

    def answer(self, request: Request) -> Reply:
        if self.away:
            return status(self.away, "Away", "away")
        with self.lock:
            return self._answer(request)

    def _answer(self, request: Request) -> Reply:
        path, there = request.path, self.objects.get(request.path)
        if "watch" in request.query:
            return Reply(lines=_nothing_new())
        if request.method == "GET":
            return Reply(there) if there else self._list(request)
        if request.method == "POST":
            path = f"{path}/{request.body['metadata']['name']}"
            if path in self.objects:
                return status(409, "AlreadyExists", f"{path} already exists")
            return Reply(self._keep(path, request.body), 201)
        if there is None:
            return status(404, "NotFound", f"{path} not found")
        if request.method == "DELETE":
            return Reply(self.objects.pop(path))
        wanted = (request.body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != there["metadata"]["resourceVersion"]:
            return status(409, "Conflict", "the object has been modified")
        return Reply(self._keep(path, _merged(there, request.body)))

    def _list(self, request: Request) -> Reply:
        inside = [item for path, item in self.objects.items() if path.rpartition("/")[0] == request.path]
        if not inside and not request.path.endswith("s"):
            return status(404, "NotFound", f"{request.path} not found")
        wanted = [part.partition("=") for part in request.query.get("labelSelector", "").split(",") if part]

        def fits(item: dict[str, Any]) -> bool:
            labels = item["metadata"].get("labels", {})
            return all(key in labels and value in ("", labels[key]) for key, _, value in wanted)

        return Reply(
            {"metadata": {"resourceVersion": str(self.version)}, "items": [one for one in inside if fits(one)]}
        )

    def _keep(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        item = copy.deepcopy(item)
        item["metadata"].setdefault("uid", str(self.version))
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = item
        return item


def _nothing_new() -> Iterator[Any]:
    """A watch that the server ends after a second."""
    time.sleep(1)
    yield from ()


def _merged(base: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(change, dict):
        return change
    found = dict(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found
