"""A Kubernetes API that remembers: objects are applied, patched with optimistic locking, listed, watched, deleted."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kuberay.snapshot import dig
from tests.fake_kubernetes import FakeKubernetes, Reply, Request, fake_kubernetes, status

Item = dict[str, Any]


@dataclass
class Memory:
    """What :class:`tests.fake_kubernetes.FakeKubernetes` answers from. ``away``: it answers that status and no more."""

    objects: dict[str, Item] = field(default_factory=dict[str, Item])
    away: int = 0
    version: int = 0
    lock: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    happened: list[tuple[int, str, str, Item]] = field(default_factory=list[tuple[int, str, str, Item]])

    @contextmanager
    def served(self) -> Generator[FakeKubernetes]:
        """An API server that answers from it."""
        with fake_kubernetes() as fake:
            fake.answer = self.answer
            yield fake

    def answer(self, request: Request) -> Reply:
        if self.away:
            return status(self.away, "Away", "away")
        if "watch" in request.query:
            return Reply(lines=self._watch(request))
        with self.lock:
            return self._answer(request)

    def keep(self, path: str, item: Item) -> Item:
        """An object as it is from now on, with the metadata that an API server fills in."""
        with self.lock:
            before = self.objects.get(path)
            if before is not None and _without_version(before) == _without_version(item):
                return before
            item = copy.deepcopy(item)
            self.version += 1
            about = item["metadata"]
            about.setdefault("uid", str(self.version))
            about["resourceVersion"] = str(self.version)
            changed = before is not None and before.get("spec") != item.get("spec")
            about["generation"] = dig(before, "metadata", "generation", default=1) + changed
            self._tell("MODIFIED" if before else "ADDED", path, item)
            self.objects[path] = item
            return item

    def drop(self, path: str) -> Item:
        """An object is no more."""
        with self.lock:
            self.version += 1
            item = self.objects.pop(path)
            self._tell("DELETED", path, {**item, "metadata": item["metadata"] | {"resourceVersion": str(self.version)}})
            return item

    def _tell(self, kind: str, path: str, item: Item) -> None:
        self.happened.append((self.version, kind, path, item))
        self.lock.notify_all()

    def _answer(self, request: Request) -> Reply:
        path = request.path.removesuffix("/status")
        there = self.objects.get(path)
        if request.method == "GET":
            return Reply(there) if there else self._list(request)
        if request.method == "POST":
            path = f"{path}/{request.body['metadata']['name']}"
            if path in self.objects:
                return status(409, "AlreadyExists", f"{path} already exists")
            return Reply(self.keep(path, request.body), 201)
        if there is None and "apply" not in request.headers["content-type"]:
            return status(404, "NotFound", f"{path} not found")
        if request.method == "DELETE":
            return Reply(self.drop(path))
        if isinstance(request.body, list):
            changed = _operated(there, request.body)
            return Reply(self.keep(path, changed)) if changed else status(422, "Invalid", "a test of the patch failed")
        wanted = (request.body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != dig(there, "metadata", "resourceVersion"):
            return status(409, "Conflict", "the object has been modified")
        return Reply(self.keep(path, _merged(there or {}, request.body)))

    def _list(self, request: Request) -> Reply:
        inside = [item for path, item in self.objects.items() if path.rpartition("/")[0] == request.path]
        if not inside and not request.path.endswith("s"):
            return status(404, "NotFound", f"{request.path} not found")
        items = [one for one in inside if _chosen(request, one)]
        return Reply({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    def _watch(self, request: Request) -> Iterator[Item | bytes]:
        """What has happened since the version that is asked for, until the watch's time is over."""
        seen, until = int(request.query["resourceVersion"]), time.monotonic() + int(request.query["timeoutSeconds"])
        while (left := until - time.monotonic()) > 0:
            with self.lock:
                if self.version <= seen:
                    self.lock.wait(min(left, 1))
                news = [one for one in self.happened if one[0] > seen]
                seen = self.version
            yield b"\n"  # an empty line: who does not read any more is found out, and not woken for ever
            for _, kind, path, item in news:
                if path.rpartition("/")[0] == request.path and _chosen(request, item):
                    yield {"type": kind, "object": item}


def _chosen(request: Request, item: Item) -> bool:
    """Whether an object is one that a list or a watch asks for."""
    labels = item["metadata"].get("labels", {})
    wanted = [part.partition("=") for part in request.query.get("labelSelector", "").split(",") if part]
    name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    fits = all(key in labels and value in ("", labels[key]) for key, _, value in wanted)
    return fits and name in ("", item["metadata"]["name"])


def _without_version(item: Item) -> Item:
    about = {key: value for key, value in item["metadata"].items() if key not in ("resourceVersion", "generation")}
    return {**item, "metadata": about}


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


def _operated(base: Any, operations: list[Item]) -> Any:
    """A JSON patch (RFC 6902) of objects in objects; None where a test fails or there is nothing to remove."""
    found = copy.deepcopy(base)
    for one in operations:
        *path, last = one["path"].strip("/").split("/")
        place = dig(found, *path, default={})
        if (one["op"] == "test" and place.get(last) != one["value"]) or (one["op"] == "remove" and last not in place):
            return None
        if one["op"] == "add":
            place[last] = one["value"]
        elif one["op"] == "remove":
            del place[last]
    return found
