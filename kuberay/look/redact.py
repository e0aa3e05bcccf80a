"""Takes secrets out of what is shown or stored, and bounds logs. Pure.

Both ``doctor`` and ``bundle`` pass every text through here, so that what one machine prints and what another finds in a
bundle are the same. Redacting twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

LOG_LIMIT = 256 * 1024
"""Characters kept of a log's end; failures are told last."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Ray colours its messages for terminals; without the escape character they are noise."""

_SECRET_NAME = re.compile(
    r"(token|secret|passwd|password|credentials?|private_?key|api_?key|access_?key|auth_?key)$", re.IGNORECASE
)

# Each with the group that is kept before the mark. Shapes of tokens first: they are secrets wherever they stand.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), ""),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), ""),
    (re.compile(r"\bya29\.[\w.-]{8,}"), ""),
    (re.compile(r"\bAIza[\w-]{20,}"), ""),
    (re.compile(r"\b(?:sk|ghp|gho|glpat|xoxb)[-_][A-Za-z0-9_-]{12,}"), ""),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), ""),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)(?!\[redacted\])[\w.~+/=-]{6,}"), r"\1"),
    (re.compile(r"(?i)(authorization[\"']?\s?[:=]\s?[\"']?)(?!\[redacted\]|bearer|basic)[^\s\"',;}]{6,}"), r"\1"),
    (re.compile(r"(://[^\s/:@]{1,200}:)(?!\[redacted\])[^\s/@]{1,500}(?=@)"), r"\1"),
    # name=value and "name": "value". A space before the colon is prose: `volume "hf-token" : secret ...`.
    (
        re.compile(
            r"(?i)((?:token|secret|passwd|password|private_?key|api_?key|access_?key)[\"']?[=:]\s?[\"']?)"
            r"(?!\[redacted\])[^\s\"',;})\]]{6,}"
        ),
        r"\1",
    ),
)


def secret_name(name: str) -> bool:
    """Whether a variable of that name holds a secret."""
    return bool(_SECRET_NAME.search(name))


def redact(text: str) -> str:
    """The text with everything that looks like a secret replaced."""
    for shape, kept in _SHAPES:
        text = shape.sub(kept + REDACTED, text)
    return text


def redact_object(item: Any) -> Any:
    """A JSON value without secrets: values of Secrets, of variables with secret names, and tokens in any text."""
    if isinstance(item, Mapping):
        return _redact_mapping(item)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(item, (list, tuple)):
        return [redact_object(one) for one in item]  # pyright: ignore[reportUnknownVariableType]
    return redact(item) if isinstance(item, str) else item


def _redact_mapping(item: Mapping[Any, Any]) -> dict[str, Any]:
    is_secret = item.get("kind") == "Secret"
    is_variable = isinstance(item.get("name"), str) and secret_name(item["name"]) and isinstance(item.get("value"), str)
    result: dict[str, Any] = {}
    for key, value in item.items():
        name = str(key)
        if name in ("managedFields", "kubectl.kubernetes.io/last-applied-configuration"):
            continue  # long, and a second copy of values that are taken out elsewhere
        if is_secret and name in ("data", "stringData") and isinstance(value, Mapping):
            result[name] = {str(entry): "" for entry in value}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        elif (is_variable and name == "value") or (secret_name(name) and isinstance(value, str) and value):
            # A reference is no secret: Kubernetes names such fields secretName or key, never ...Token.
            result[name] = REDACTED
        else:
            result[name] = redact_object(value)
    return result


def tail(log: str, limit: int = LOG_LIMIT) -> str:
    """The end of a log, from the beginning of a line where there is one."""
    if len(log) <= limit:
        return log
    kept = log[-limit:]
    line = kept.find("\n")
    return kept[line + 1 :] if 0 <= line < len(kept) - 1 else kept


def shown(value: str, limit: int = 300) -> str:
    """An excerpt fit to be shown: one line, bounded, without secrets."""
    line = " ".join(_COLOURS.sub("", redact(value)).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
