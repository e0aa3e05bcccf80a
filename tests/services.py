"""Service files as ``kuberay`` sees them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kuberay.config import Service, load, parse
from kuberay.manifests.manifest import objects
from kuberay.manifests.rayservice import Json

DEPLOY = Path(__file__).parent.parent / "deploy"
ON_KUBERNETES = sorted(file for file in DEPLOY.glob("*.yaml") if "kubernetes" in yaml.safe_load(file.read_text()))

BASE: dict[str, Any] = {
    "name": "llm",
    "model": {"id": "owner/model", "max_model_len": 4096},
    "engine": {"accelerator": "L4"},
    "scaling": {"min_replicas": 1, "max_replicas": 2},
    "kubernetes": {"image": "registry.test/switchyard:1.0"},
}


def deployed(name: str) -> Service:
    """A file of deploy/."""
    return load(DEPLOY / name, {})


def service(change: dict[str, Any] | None = None, **environ: str) -> Service:
    """:data:`BASE` with ``change`` laid over it."""
    return parse(text(change), source="f.yaml", environ=environ)


def text(change: dict[str, Any] | None = None) -> str:
    return yaml.safe_dump(merged(BASE, change or {}), sort_keys=False)


def merged(base: Any, change: Any) -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}
    return change


def rendered(of: Service, kind: str) -> Json:
    """The one object of that kind."""
    (found,) = (item for item in objects(of) if item["kind"] == kind)
    return found


def cluster_spec(of: Service) -> Json:
    return rendered(of, "RayService")["spec"]["rayClusterConfig"]


def groups(of: Service) -> list[Json]:
    """The head's group, then the workers'."""
    spec = cluster_spec(of)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
