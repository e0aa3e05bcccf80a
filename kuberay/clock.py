"""The time as Kubernetes objects have it."""

from __future__ import annotations

from datetime import UTC, datetime


def now_text(timespec: str = "seconds") -> str:
    """Now, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
