"""Cases of services, broken and healthy, as snapshots: a base with changes. See tests/data/bundles/README.md."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kuberay.snapshot import Snapshot

FOLDER = Path(__file__).parent / "data" / "bundles"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Case:
    """A case: what is changed, and what is to be said of it."""

    name: str
    data: dict[str, Any] = field(repr=False)

    @property
    def expect(self) -> dict[str, Any]:
        return self.data.get("expect") or {}

    def snapshot(self, *, core_events: bool = False) -> Snapshot:
        """The case as a snapshot; its events in the old API's form or the new one's."""
        return _snapshot(self.name, core_events)


@cache
def _snapshot(name: str, core_events: bool) -> Snapshot:
    data = _built(case(name).data)
    objects = list(data["objects"].values())
    objects += [_event(place, one, data["namespace"], core_events) for place, one in enumerate(data.get("events", []))]
    return Snapshot(
        taken=NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        context=data["context"],
        namespace=data["namespace"],
        name=data["name"],
        objects=tuple(_timed(objects)),
        serve=data.get("serve") or {},
        logs={key: log for key, log in (data.get("logs") or {}).items() if log},
        unreadable=tuple(data.get("unreadable") or ()),
    )


@cache
def cases() -> tuple[Case, ...]:
    """Every case of every file."""
    found = [
        Case(one["case"], one)
        for path in sorted(FOLDER.glob("*.yaml"))
        if path.name != "base.yaml"
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if one
    ]
    names = [one.name for one in found]
    assert len(set(names)) == len(names), "two cases of the same name"
    return tuple(found)


def case(name: str) -> Case:
    """The case of that name."""
    return next(one for one in cases() if one.name == name)


def _built(data: dict[str, Any]) -> dict[str, Any]:
    built = _built(case(data["base"]).data) if "base" in data else copy.deepcopy(_base())
    for key in data.get("remove", []):
        del built["objects"][key]
    for key in data.get("forget", []):
        built.pop(key, None)
    for key, change in (data.get("change") or {}).items():
        built["objects"][key] = _merged(built["objects"][key], change)
    for item in data.get("copy", []):
        source = yaml.safe_dump(built["objects"][item["from"]])
        for old, new in item["replace"].items():
            source = source.replace(old, new)
        made = _merged(yaml.safe_load(source), item.get("change") or {})
        built["objects"][_key(made)] = made
    for item in data.get("add", []):
        built["objects"][_key(item)] = item
    for key in ("serve", "logs"):
        built[key] = _merged(built.get(key) or {}, data.get(key) or {})
    built["events"] = [*built.get("events", []), *(data.get("events") or [])]
    for key in ("context", "unreadable"):
        if key in data:
            built[key] = data[key]
    return built


@cache
def _base() -> dict[str, Any]:
    base = yaml.safe_load((FOLDER / "base.yaml").read_text(encoding="utf-8"))
    # Shared parts (YAML's aliases) become parts of their own: changing one must not change the other.
    base["objects"] = {_key(item): json.loads(json.dumps(item)) for item in base["objects"]}
    return base


def _key(item: dict[str, Any]) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def _merged(base: Any, change: Any) -> Any:
    """Mappings are merged, null deletes, everything else replaces; ``name[0]`` in a key means an item of a list."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    result = dict(base)
    for key, value in change.items():
        item = re.fullmatch(r"(\w+)\[(\d+)\]", key)
        if item:
            whole = list(result[item[1]])
            whole[int(item[2])] = _merged(whole[int(item[2])], value)
            result[item[1]] = whole
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value) if isinstance(value, dict) else value
    return result


def _event(place: int, one: dict[str, Any], namespace: str, core: bool) -> dict[str, Any]:
    kind, name = one["of"].split("/", 1)
    about = {"kind": kind, "namespace": namespace, "name": name}
    time = f"<{one['ago']}"
    metadata = {"name": f"{name}.{place:016x}", "namespace": namespace, "creationTimestamp": time}
    shared = {"kind": "Event", "metadata": metadata, "reason": one["reason"], "type": one.get("type", "Normal")}
    source = {"component": one.get("from", "kubelet")}
    if core:
        return shared | {
            "apiVersion": "v1",
            "involvedObject": about,
            "message": one["note"],
            "source": source,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": one.get("count", 1),
            "eventTime": None,
        }
    return shared | {
        "apiVersion": "events.k8s.io/v1",
        "regarding": about,
        "note": one["note"],
        "deprecatedSource": source,
        "deprecatedLastTimestamp": time,
        "deprecatedCount": one.get("count", 1),
        "eventTime": None,
        "reportingController": "",
    }


def _timed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_timed(one) for one in value]
    if isinstance(value, str) and (ago := re.fullmatch(r"<(\d+)([smhd])", value)):
        then = NOW - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        return then.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def texts(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)
