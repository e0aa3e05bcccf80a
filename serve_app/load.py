"""Find and read the service file. The only file of this package that reads configuration from disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import service_file
from serve_app.config import ServiceConfig, parse_config
from serve_app.errors import ConfigError

CONFIG_VARIABLE = "SWITCHYARD_CONFIG"
DEFAULT_FILE = Path(__file__).resolve().parent.parent / "deploy" / "local.yaml"


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> ServiceConfig:
    """Read the service file at ``path``, else at ``$SWITCHYARD_CONFIG``, else ``deploy/local.yaml``.

    Raises:
        ConfigError: it cannot be read, or says something that does not work.
    """
    environ = os.environ if environ is None else environ
    file = Path(path or environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    try:
        text = service_file.read(file)
    except service_file.ServiceFileError as error:
        raise ConfigError(str(error)) from None
    return parse_config(text, source=str(file), environ=environ)
