"""What a JSON schema may ask for before vLLM makes a grammar from it. Pure.

A grammar is made to the end, for nobody if need be, and its masks are computed in the engine's step, where every other
request waits for them. So what would make it large is counted here, on the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from serve_app.errors import BadRequest

FIELDS = ("response_format", "text", "tools")
"""The fields of a request's body in which a schema can be."""
MAX_TOOLS = 128  # OpenAI's bound
MAX_BYTES = 32 * 1024
MAX_COUNT = 10_000
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_REGEX_PART = re.compile(r"\\.|\[\^?\]?(?:\\.?|[^\]\\])*+\]?|\{(\d{1,9})(?:,(\d{0,9}))?\}|\(\?[:=!<]*|.", re.DOTALL)


def check(name: str, value: object) -> None:
    """Refuse what makes a grammar endless or large.

    Args:
        name: the field of the request.
        value: what it holds.

    Raises:
        BadRequest: what is wrong with it.
    """
    if len(_list(value)) > MAX_TOOLS:
        raise BadRequest(f"'{name}' can have at most {MAX_TOOLS} items.", param=name)
    if len(json.dumps(value)) > MAX_BYTES:
        raise BadRequest(f"'{name}' can have at most {MAX_BYTES} bytes.", param=name)
    for found in _objects(value):
        for key in _COUNTS & found.keys():
            if isinstance(found[key], int | float) and found[key] > MAX_COUNT:
                raise BadRequest(f"'{key}' in '{name}' can be at most {MAX_COUNT}.", param=name)
        for pattern in (found.get("pattern"), *_dict(found.get("patternProperties"))):
            if isinstance(pattern, str) and written_out(pattern) > MAX_COUNT:
                raise BadRequest(
                    f"A pattern in '{name}' stands for more than {MAX_COUNT} characters, its repetitions written out.",
                    param=name,
                )
    if any(map(_is_endless, _objects(value))) or any(_is_endless(root, named="#") for root in _roots(value)):
        raise BadRequest(f"A '$ref' in '{name}' leads to itself.", param=name)


def written_out(pattern: str) -> int:
    """About how many characters a regular expression has with every counted repetition written out.

    ``*`` and ``+`` count once. What is no regular expression gets some number: others find its fault.
    """
    groups = [0]
    last = 0  # size of what a repetition would repeat; it is in groups[-1] already
    for part in _REGEX_PART.finditer(pattern):
        text = part[0]
        if part[1] is not None:
            times = max(int(part[1]), int(part[2] or 0))
            groups[-1] += last * (times - 1)
            last *= times
        elif text.startswith("("):
            groups.append(0)
            last = 0
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif text not in "*+?|":
            last = 1
            groups[-1] += 1
    return sum(groups)


def _roots(value: object) -> Iterator[Mapping[str, Any]]:
    """The schemas themselves: what ``#`` stands for in each."""
    fields = _dict(value)
    places = [_dict(fields.get("json_schema")).get("schema"), _dict(fields.get("format")).get("schema")]
    for tool in _list(value):
        places += [_dict(tool).get("parameters"), _dict(_dict(tool).get("function")).get("parameters")]
    yield from map(_dict, places)


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Every JSON object in a value, itself included."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        yield found
        value = list(found.values())
    for item in _list(value):
        yield from _objects(item)


def _is_endless(schema: Mapping[str, Any], *, named: str | None = None) -> bool:
    """Whether a definition in ``schema``, or itself if it has a name, is only references that come back to it."""
    refs = {
        f"#/{key}/{name}": str(_dict(one).get("$ref"))
        for key in ("$defs", "definitions")
        for name, one in _dict(schema.get(key)).items()
    }
    if named is not None:
        refs[named] = str(schema.get("$ref"))
    for at in refs.values():
        seen: set[str] = set()
        while at in refs and at not in seen:
            seen.add(at)
            at = refs[at]  # noqa: PLW2901 a walk from each
        if at in seen:
            return True
    return False


def _dict(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
