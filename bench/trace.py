"""Traces: a request a line, with the time at which it arrived. Pure.

    {"at": 0.0, "prompt": "Why is the sky blue?", "max_tokens": 64}
    {"at": 0.7, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
    {"timestamp": 1400, "input_length": 512, "output_length": 128}

``at`` is in seconds, ``timestamp`` in milliseconds (Mooncake's and `vllm bench serve`'s traces); lengths instead of a
text make random words. Lines need not be in order.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from bench.errors import WorkloadError
from bench.protocol import Request
from bench.workloads import MAX_REQUESTS, Measure, Stage

_KNOWN = {"at", "timestamp", "prompt", "messages", "max_tokens", "input_length", "output_length", "seed", "temperature"}
_ALSO = {"hash_ids", "session_id", "id"}  # of other tools' traces; mean nothing here
_SHOWN = 5


def parse(lines: Iterable[str], source: str, measure: Measure, seed: int = 0, speed: float = 1.0) -> Stage:
    """A trace as an open-loop stage.

    Args:
        lines: of the file.
        source: its name, for messages.
        measure: tokens a word, for lines with lengths instead of a text.
        seed: decides those texts.
        speed: 2 sends everything in half the time.

    Raises:
        WorkloadError: names each wrong line (the first five) and what is wrong with it, or that there are none.
    """
    chance = random.Random(seed)
    found: list[Request] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_request(line, measure, chance))
        except ValueError as error:
            wrong.append(f"{source}:{number}: {error}.")
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN} more lines."] if len(wrong) > _SHOWN else []
        raise WorkloadError(
            "\n".join([*wrong[:_SHOWN], *more, "Nothing was sent. Mend the trace, or leave these lines out."])
        )
    if not found:
        raise WorkloadError(f"{source}: no requests in it; a line looks like {_EXAMPLE}")
    if len(found) > MAX_REQUESTS:
        raise WorkloadError(f"{source}: {len(found)} requests are too many; at most {MAX_REQUESTS}.")
    found.sort(key=lambda request: request.at)
    begun = found[0].at
    ordered = tuple(replace(r, at=(r.at - begun) / speed, index=i) for i, r in enumerate(found))
    return Stage(f"trace {source}", ordered)


_EXAMPLE = '{"at": 0.5, "prompt": "Hello", "max_tokens": 16}'


def _request(line: str, measure: Measure, chance: random.Random) -> Request:
    try:
        parsed: object = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"not an object; a line looks like {_EXAMPLE}")
    data = cast("dict[str, Any]", parsed)
    if unknown := sorted(data.keys() - _KNOWN - _ALSO):
        raise ValueError(f"unknown key '{unknown[0]}'; known: {', '.join(sorted(_KNOWN))}")
    given = [name for name in ("prompt", "messages", "input_length") if name in data]
    if len(given) != 1:
        raise ValueError("give exactly one of 'prompt', 'messages' and 'input_length'")
    return Request(
        prompt=_prompt(data, measure, chance),
        messages=_messages(data["messages"]) if "messages" in data else None,
        max_tokens=_count(data, "output_length" if "output_length" in data else "max_tokens"),
        temperature=_number(data, "temperature", 0.0),
        seed=None if data.get("seed") is None else int(_number(data, "seed", 0)),
        # A recorded length is part of the load; a bound is only a bound.
        ignore_eos="output_length" in data,
        at=_number(data, "timestamp", 0.0) / 1000 if "timestamp" in data else _number(data, "at", None),
    )


def _prompt(data: Mapping[str, Any], measure: Measure, chance: random.Random) -> str | None:
    if "input_length" in data:
        return measure.text(_count(data, "input_length"), chance)
    prompt: object = data.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or not prompt):
        raise ValueError("'prompt' is a text that is not empty")
    return prompt if isinstance(prompt, str) else None


def _messages(given: object) -> tuple[Mapping[str, str], ...]:
    items = cast("list[object]", given) if isinstance(given, list) else []
    found: list[Mapping[str, str]] = []
    for item in items:
        message = cast("dict[str, object]", item) if isinstance(item, dict) else {}
        if set(message) != {"role", "content"} or not all(isinstance(value, str) for value in message.values()):
            raise ValueError("'messages' is a list of objects with 'role' and 'content', both texts")
        found.append(cast("Mapping[str, str]", message))
    if not found:
        raise ValueError("'messages' is a list of at least one message")
    return tuple(found)


def _number(data: Mapping[str, Any], name: str, default: float | None) -> float:
    value = data.get(name, default)
    if value is None:
        raise ValueError(f"no '{name}'")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"'{name}' is a number that is not negative, not {value!r}")
    return float(value)


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_REQUESTS:
        raise ValueError(f"'{name}' is a whole number from 1, not {value!r}" if name in data else f"no '{name}'")
    return value
