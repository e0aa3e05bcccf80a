"""A Kubernetes API server as far as ``cluster/kube/client.py`` uses one: apply, merge patch, get, list, delete."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.cluster.fakes.project import Entry
from tests.cluster.fakes.servers import http_server

Answer = tuple[int, dict[str, Any]]
_PLURALS = r"namespaces|services|serviceaccounts|secrets|deployments|cronjobs|roles|rolebindings|clusterroles|clusterrolebindings|customresourcedefinitions|storageclasses|podmonitorings|rayservices"  # noqa: E501


@dataclass
class FakeKube:
    """One API server's objects, by path.

    Attributes:
        without: plurals whose kinds the server does not have.
    """

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    down: bool = False

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        self.journal.append(Entry(f"{method} {path}", method != "GET", query))
        if self.down:
            return 503, {"kind": "Status", "message": "the server is currently unable to handle the request"}
        match = re.fullmatch(rf"(/apis?(?:/[^/]+)+?)(/namespaces/[^/]+)?/({_PLURALS})(?:/([^/]+))?", path)
        if match is None or match[3] in self.without:
            return 404, {"kind": "Status", "message": "the server could not find the requested resource"}
        if method == "GET" and match[4] is None:
            return 200, {"kind": "List", "items": self._list(match[2] or "", match[3], query.get("labelSelector", ""))}
        if method == "PATCH" and "fieldManager" in query:
            item = yaml.load(body, yaml.CSafeLoader)
            if item["metadata"]["name"] != match[4]:
                return 400, {"kind": "Status", "message": "the name in the URL is another one"}
            kept = {key: value for key, value in self.objects.get(path, {}).items() if key == "status"}
            self.objects[path] = {**item, **kept}
            return 200, self.objects[path]
        if path not in self.objects:
            return 404, {"kind": "Status", "message": f'{match[3]} "{match[4]}" not found'}
        if method == "PATCH":
            _merge(self.objects[path], json.loads(body))
        if method == "DELETE":
            return 200, self.objects.pop(path)
        return 200, self.objects[path]

    def _list(self, namespace: str, plural: str, labels: str) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in labels.split(",") if part)
        return [
            item
            for path, item in self.objects.items()
            if f"/{plural}/" in path
            and f"{namespace}/{plural}/" in path
            and wanted.items() <= item["metadata"].get("labels", {}).items()
        ]


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value


@contextlib.contextmanager
def serving_kube(fake: FakeKube) -> Iterator[str]:
    """Start it; gives ``host:port``."""
    server = http_server(fake.answer)
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
