"""A recorded trace, as ``rollout.checks.replay`` names one. Pure.

    {"at": 0.7, "prompt": "Why is the sky blue?", "max_tokens": 64}

``at`` is when it arrived, in seconds; the rest is a body of ``POST /generate``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from pydantic import ValidationError

from bench.client import Request
from serve_app.schema import GenerateRequest

_MAX_TOKENS = 64
"""Of a request that does not say: a service's own default may be as long as it likes."""


def parse(lines: Iterable[str], source: str, *, speed: float = 1, most: int = 1000) -> list[Request]:
    """The first ``most`` requests by time, the first at 0 s; ``speed`` 2 sends them in half the time.

    Raises:
        ValueError: names the first wrong line and what is wrong with it, or says that there are none.
    """
    found = [_request(line, f"{source}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ValueError(f"{source} has no requests in it; a line looks like {_EXAMPLE}")
    found.sort(key=lambda request: request.at)
    begun = found[0].at
    return [replace(item, at=(item.at - begun) / speed, index=index) for index, item in enumerate(found[:most])]


_EXAMPLE = '{"at": 0.5, "prompt": "Hello", "max_tokens": 16}'


def _request(line: str, where: str) -> Request:
    try:
        parsed: object = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}); a line looks like {_EXAMPLE}") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"{where} is no object; a line looks like {_EXAMPLE}")
    data = cast("dict[str, Any]", parsed)
    at: object = data.pop("at", None)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < float("inf"):
        raise ValueError(f"{where}: 'at' is the time in seconds, not {at!r}; a line looks like {_EXAMPLE}")
    try:
        body = GenerateRequest.model_validate(data)
    except ValidationError as error:
        finding = error.errors()[0]
        name = ".".join(str(part) for part in finding["loc"])
        raise ValueError(f"{where}: {name + ': ' if name else ''}{finding['msg']}") from None
    return Request(
        prompt=body.prompt,
        messages=None if body.messages is None else tuple(message.model_dump() for message in body.messages),
        max_tokens=body.max_tokens or _MAX_TOKENS,
        temperature=0.0 if body.temperature is None else body.temperature,
        seed=body.seed,
        raw=bool(body.raw),
        at=float(at),
    )
