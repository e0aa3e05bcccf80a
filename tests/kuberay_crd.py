"""KubeRay's RayService CustomResourceDefinition as a JSON schema, for tests.

The real file has 1 MB, so what is kept under tests/data is its skeleton: names, types, enums, formats; no descriptions,
no status, and each part that occurs more than once (a pod template does) only once. ``python -m tests.kuberay_crd``
writes it anew from the Go module that tests/e2e/go/kuberayrules pins; a test fails where the two differ.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

EXTRACT = Path(__file__).parent / "data" / "rayservice-crd.json"
PINNED_BY = Path(__file__).parent / "e2e" / "go" / "kuberayrules"
MODULE = "github.com/ray-project/kuberay/ray-operator"
KEPT = ("type", "properties", "required", "items", "additionalProperties", "enum", "format", "pattern", "minimum")
KEPT += ("maximum", "anyOf", "default")
SHARED_FROM = 150
"""Parts shorter than this, in characters, are written out wherever they occur."""


@cache
def schema() -> Schema:
    """The schema of a RayService in which unknown fields are refused. Not to be changed: shared by all callers."""
    return strict(json.loads(EXTRACT.read_text()))


def strict(node: Any) -> Any:
    """``node`` with every object that lists its fields closed."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def resolve(node: Schema, root: Schema) -> Schema:
    """``node``, or what it refers to."""
    return root["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def extracted() -> Schema:
    """The skeleton, made from the Go module, which is downloaded if it is not there.

    Raises:
        OSError, subprocess.SubprocessError: there is no Go, or no module proxy.
    """
    command = ["go", "mod", "download", "-json", MODULE]
    done = subprocess.run(command, cwd=PINNED_BY, capture_output=True, text=True, check=True, timeout=240)
    module = json.loads(done.stdout)
    path = Path(module["Dir"]) / "config" / "crd" / "bases" / "ray.io_rayservices.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
    definition = yaml.load(path.read_text(), Loader=loader)
    (version,) = (one for one in definition["spec"]["versions"] if one["name"] == "v1")
    whole = _skeleton(version["schema"]["openAPIV3Schema"])
    del whole["properties"]["status"]
    return {"title": f"RayService, KubeRay {module['Version']}", **_deduplicated(whole)}


def text_of(skeleton: Schema) -> str:
    return json.dumps(skeleton, indent=None, separators=(",", ":"), sort_keys=True).replace('},"', '},\n"') + "\n"


def _skeleton(node: Schema) -> Schema:
    kept: Schema = {}
    for key in KEPT:
        if key not in node:
            continue
        value = node[key]
        if key == "properties":
            kept[key] = {name: _skeleton(part) for name, part in value.items()}
        elif key == "anyOf":
            kept[key] = [_skeleton(part) for part in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            kept[key] = _skeleton(value)
        else:
            kept[key] = value
    return kept


def _deduplicated(whole: Schema) -> Schema:
    seen: Counter[str] = Counter()

    def count(node: Any) -> None:
        if isinstance(node, dict):
            text = json.dumps(node, sort_keys=True)
            seen[text] += 1
            if seen[text] > 1 and len(text) >= SHARED_FROM:
                return
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            count(part)

    count(whole)
    shared = {text for text, times in seen.items() if times > 1 and len(text) >= SHARED_FROM and '"type"' in text}
    names: dict[str, str] = {}
    definitions: Schema = {}

    def replace(node: Any, *, is_schema: bool) -> Any:
        if isinstance(node, list):
            return [replace(part, is_schema=is_schema) for part in node]
        if not isinstance(node, dict):
            return node
        text = json.dumps(node, sort_keys=True)
        if is_schema and text in shared and "type" in node:
            if text not in names:
                names[text] = f"p{len(names)}"
                definitions[names[text]] = inside(node)
            return {"$ref": f"#/$defs/{names[text]}"}
        return inside(node) if is_schema else {key: replace(part, is_schema=True) for key, part in node.items()}

    def inside(node: Schema) -> Schema:
        below = {"properties": False, "items": True, "additionalProperties": True, "anyOf": True}
        return {
            key: replace(part, is_schema=below[key]) if key in below else copy.copy(part) for key, part in node.items()
        }

    return {**inside(whole), "$defs": definitions}


if __name__ == "__main__":
    EXTRACT.parent.mkdir(exist_ok=True)
    EXTRACT.write_text(text_of(extracted()))
    print(f"{EXTRACT}: {EXTRACT.stat().st_size} bytes")
