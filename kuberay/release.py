"""A release: one RayCluster's content, under a name made of it. Pure.

The same content has the same name for ever, so that going back to an older release gives KubeRay the very pod templates
it had before (it compares hashes), and a ConfigMap once written is never changed. And no two clusters of different
content have the same name: whoever promotes or watches a release knows its cluster by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import yaml

from kuberay.names import release_name

CONFIG_KEY = "service.yaml"
API_KEYS_FILE = "/etc/switchyard-keys/keys"


@dataclass(frozen=True)
class Release:
    """One release of a service.

    Attributes:
        id: 12 hex digits, see ``manifest.release_of``.
        config: the service file the pods read. Without scaling, which changes in place, without the port, which is a
            laptop's, and without the sections that say how pods are made.
        image: what the pods run.
    """

    id: str
    config: str
    image: str

    def config_map(self, service: str) -> str:
        """Name of the ConfigMap that carries :attr:`config`."""
        return release_name(service, self.id)


def parse(text: str | None) -> dict[str, Any]:
    """A release's configuration out of its ConfigMap; empty where there is none or somebody spoiled it."""
    try:
        data = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
