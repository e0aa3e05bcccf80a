"""What runs inside Ray: one deployment that is HTTP ingress and vLLM engine at once.

Importing this package imports neither Ray nor vLLM: a planner may read :mod:`serve_app.config` on a machine that has
neither. ``serve_app:app`` and ``serve_app:build``, the two names Ray Serve is given, are therefore made on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Make ``app`` (bound to the configured service) or ``build`` (the builder Serve calls with arguments)."""
    if name == "app":
        from serve_app import deployment

        globals()["app"] = deployment.build({})
        return globals()["app"]
    if name == "build":
        from serve_app import deployment

        return deployment.build
    raise AttributeError(f"module 'serve_app' has no attribute {name!r}")
