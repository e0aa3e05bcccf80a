"""Gives the Ray that is about to start here its environment. Must not import Ray, which reads it at import."""

from __future__ import annotations

import os
from pathlib import Path

from serve_app import haproxy
from serve_app.config import ServiceConfig
from serve_app.environment import ENGINE_ENV, LAPTOP_ENV, SERVE_ENV, haproxy_env


def set_environment(folder: Path, config: ServiceConfig) -> None:
    """Set what is not set yet, for one run of a service whose files go to ``folder``."""
    environ = {
        **LAPTOP_ENV,
        **SERVE_ENV,
        **ENGINE_ENV,
        **haproxy_env(config.serving.max_request_s),
        **haproxy.launcher(),
        **haproxy.own_places(folder),
    }
    for key, value in environ.items():
        os.environ.setdefault(key, value)
    # Without .pyc files each of vLLM's processes compiles torch and vLLM anew: three times the start-up time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
