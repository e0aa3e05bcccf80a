"""Writes the kubeconfig: a new file beside the old one, then a rename, readable by its owner only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml

from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.inside.kubeconfig import merged


def write(path: Path, config: ClusterConfig, endpoint: str) -> None:
    """Put the cluster into the kubeconfig at ``path``.

    Raises:
        ConfigError: the file there cannot be read as a kubeconfig, or not be written.
    """
    try:
        existing = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
        text = yaml.safe_dump(merged(existing, config, endpoint), sort_keys=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=".kubeconfig-")  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(new).replace(path)
    except yaml.YAMLError:
        raise ConfigError(f"{path} is not YAML; it is left alone. Give another file: --to") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.") from None
