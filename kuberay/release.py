"""A release: what the pods of one RayCluster run, under a name made of its content. Pure.

The same content has the same name for ever, so that going back to an older release gives KubeRay the very pod templates
it had before (it compares hashes), and a ConfigMap once written is never changed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

import yaml

from kuberay.config import Service

CONFIG_KEY = "service.yaml"
API_KEYS_FILE = "/etc/switchyard-keys/keys"


@dataclass(frozen=True)
class Release:
    """One release of a service.

    Attributes:
        id: 12 hex digits over everything else here.
        config: the service file the pods read. Without scaling, which changes in place, without the port, which is a
            laptop's, and without the sections that say how pods are made.
        image: what the pods run.
    """

    id: str
    config: str
    image: str

    def config_map(self, service: str) -> str:
        """Name of the ConfigMap that carries :attr:`config`."""
        return f"{service}-release-{self.id}"


def release_of(service: Service) -> Release:
    """The release that a service file describes."""
    data: dict[str, Any] = service.config.model_dump(mode="json", exclude={"scaling": True, "serving": {"port"}})
    if service.kubernetes.api_keys is not None:
        data["serving"]["api_keys_file"] = API_KEYS_FILE
    image = service.kubernetes.image or ""
    text = json.dumps({"config": data, "image": image, "env": service.kubernetes.env}, sort_keys=True)
    return Release(hashlib.sha256(text.encode()).hexdigest()[:12], yaml.safe_dump(data, sort_keys=True), image)


def parse(text: str | None) -> dict[str, Any]:
    """A release's configuration out of its ConfigMap; empty where there is none or somebody spoiled it."""
    try:
        data = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
