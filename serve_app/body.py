"""What a request body may look like before a route reads it. Pure.

The routes of vLLM accept many extensions to OpenAI's bodies. Those that run templates, move engine state, load media
from anywhere or cost without bound are refused here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from serve_app import json_schemas
from serve_app.errors import BadRequest

MAX_JSON_DEPTH = 64
MAX_DIGITS = 64
MAX_N = 4  # as VLLM_MAX_N_SEQUENCES: for a larger one vLLM says that it is full (503) before it looks at the bound
MAX_STOP_LENGTH = 256

_REFUSED_FIELDS = frozenset({
    "chat_template", "mm_processor_kwargs", "media_io_kwargs", "prompt_embeds",
    "kv_transfer_params", "ec_transfer_params", "priority", "vllm_xargs", "prompt_logprobs",
    "request_id", "use_beam_search", "structured_outputs",
})  # fmt: skip
"""vLLM extensions to OpenAI's bodies that run templates, move state or cost without bound. Not OpenAI fields."""

_NUMBERS = frozenset({
    "max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "n", "seed",
    "temperature", "top_p", "top_k", "min_p", "top_logprobs",
    "presence_penalty", "frequency_penalty", "repetition_penalty",
})  # fmt: skip
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

_TEXT_PART_TYPES = frozenset({"text", "input_text", "output_text", "refusal", "reasoning_text"})
_TEXT_PART_KEYS = frozenset({"type", "text", "refusal", "annotations", "logprobs"})
_JSON_SHAPE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def check_body(path: str, body: bytes) -> None:
    """Refuse a body that is no plain JSON object, or that uses a refused vLLM extension.

    It is parsed for every request, however innocent it looks: another spelling (escapes, UTF-16) would get past a
    search through the bytes.

    Raises:
        BadRequest: what is wrong with it.
    """
    if not body.strip():
        raise BadRequest("The body is empty; send a JSON object.")
    if _deeper_than(body, MAX_JSON_DEPTH):
        raise BadRequest(f"The body is nested more than {MAX_JSON_DEPTH} deep.")
    if path == "/generate":
        return  # its route reads the body with parse_object as well
    fields = parse_object(body)
    for name in _REFUSED_FIELDS & fields.keys():
        if fields[name] is not None:
            raise BadRequest(f"The field '{name}' is not accepted by this service; leave it out.", param=name)
    if not _plain_values(fields.get("chat_template_kwargs")):
        raise BadRequest("'chat_template_kwargs' takes plain values only.", param="chat_template_kwargs")
    for name in ("messages", "input", "previous_input_messages"):
        if _has_media(fields.get(name)):
            raise BadRequest("Images, audio, video and files are not accepted by this service; send text.", param=name)
    _check_values(fields)
    for name in json_schemas.FIELDS:
        if fields.get(name) is not None:
            json_schemas.check(name, fields[name])


def _check_values(fields: Mapping[str, Any]) -> None:
    """Refuse what vLLM would guess at ("10" for a number, a role of its own), or notice too late."""
    for name in _NUMBERS & fields.keys():
        value = fields[name]
        if isinstance(value, bool | str):
            raise BadRequest(f"'{name}' takes a number.", param=name)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:  # no message to the engine can hold it
            raise BadRequest(f"'{name}' is out of range.", param=name)
    if not isinstance(fields.get("stream"), bool | None):
        raise BadRequest("'stream' takes true or false.", param="stream")
    n = fields.get("n")
    if isinstance(n, int) and n > MAX_N:
        raise BadRequest(f"'n' can be at most {MAX_N}.", param="n")
    stop = fields.get("stop")
    for text in cast("list[object]", stop) if isinstance(stop, list) else [stop]:
        if isinstance(text, str) and len(text) > MAX_STOP_LENGTH:
            raise BadRequest(f"A stop string can have at most {MAX_STOP_LENGTH} characters.", param="stop")
    messages = fields.get("messages")
    for message in cast("list[object]", messages) if isinstance(messages, list) else []:
        role = cast("Mapping[str, object]", message).get("role") if isinstance(message, dict) else None
        # Templates write a role between the model's own markers: one of the client's would be a marker as well.
        if isinstance(role, str) and role not in _ROLES:
            raise BadRequest(f"Unknown role {role[:32]!a}. Known: {', '.join(sorted(_ROLES))}.", param="messages")


def _dict(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no key twice, no NaN, no half characters.

    Raises:
        BadRequest: what is wrong with it.
    """
    if b"\0" in body:  # json.loads would take bytes with NULs for UTF-16 or UTF-32
        raise BadRequest("The body is not UTF-8.")
    try:
        data: object = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_real,
        )
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    if b"\\u" in body:
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadRequest("The body has half of a surrogate pair, which is no character.") from None
    return cast("dict[str, Any]", data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Not list.count(): a body full of keys would take minutes.
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:64]!a} is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:MAX_DIGITS]} is too large a number")
    return number


def _plain_values(kwargs: object) -> bool:
    if not isinstance(kwargs, dict):
        return kwargs is None
    values = cast("Mapping[str, object]", kwargs).values()
    return all(value is None or isinstance(value, bool | int | float | str) for value in values)


def _has_media(messages: object) -> bool:
    for message in cast("list[object]", messages) if isinstance(messages, list) else []:
        fields = _dict(message)
        content = fields.get("content") or fields.get("output")  # a function's output can have parts as well
        for part in cast("list[object]", content) if isinstance(content, list) else []:
            if not isinstance(part, dict):
                continue
            keys = cast("Mapping[str, object]", part)
            # vLLM goes by the keys where the type is missing, and reads other keys beside a text.
            if keys.get("type") not in _TEXT_PART_TYPES or keys.keys() - _TEXT_PART_KEYS:
                return True
    return False


def _deeper_than(body: bytes, limit: int) -> bool:
    """Whether brackets outside of strings nest deeper than ``limit``."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = 0
    for token in _JSON_SHAPE.finditer(body):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif token[0] in (b"]", b"}"):
            depth -= 1
    return False
