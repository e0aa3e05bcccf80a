"""What a request body may look like before a route reads it. Pure.

The routes of vLLM accept many extensions to OpenAI's bodies. Those that run templates, move engine state, load media
from anywhere or cost without bound are refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from serve_app.errors import BadRequest

MAX_JSON_DEPTH = 64

_REFUSED_FIELDS = frozenset({
    "chat_template", "mm_processor_kwargs", "media_io_kwargs", "prompt_embeds",
    "kv_transfer_params", "ec_transfer_params", "priority", "vllm_xargs", "prompt_logprobs",
    "request_id", "use_beam_search", "structured_outputs",
})  # fmt: skip
"""vLLM extensions to OpenAI's bodies that run templates, move state or cost without bound. Not OpenAI fields."""

_SUSPECT = re.compile(
    b"|".join(name.encode() for name in sorted(_REFUSED_FIELDS)) + rb"|chat_template|image_url|audio|video|\\u"
)
_JSON_SHAPE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def check_body(path: str, body: bytes) -> None:
    """Refuse a body that is no flat-enough JSON object, or that uses a refused vLLM extension.

    Raises:
        BadRequest: what is wrong with it.
    """
    if not body.strip():
        raise BadRequest("The body is empty; send a JSON object.")
    if _deeper_than(body, MAX_JSON_DEPTH):
        raise BadRequest(f"The body is nested more than {MAX_JSON_DEPTH} deep.")
    if path == "/generate" or not _SUSPECT.search(body):
        return
    try:
        data: object = json.loads(body)
    except ValueError:
        return  # the route says what is wrong with it
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    fields = cast("Mapping[str, Any]", data)
    for name in _REFUSED_FIELDS & fields.keys():
        if fields[name] is not None:
            raise BadRequest(f"The field '{name}' is not accepted by this service; leave it out.", param=name)
    if not _plain_values(fields.get("chat_template_kwargs")):
        raise BadRequest("'chat_template_kwargs' takes plain values only.", param="chat_template_kwargs")
    if _has_media(fields.get("messages")) or _has_media(fields.get("input")):
        raise BadRequest("Images, audio and video are not accepted by this service; send text.", param="messages")


def _plain_values(kwargs: object) -> bool:
    if not isinstance(kwargs, dict):
        return kwargs is None
    values = cast("Mapping[str, object]", kwargs).values()
    return all(value is None or isinstance(value, bool | int | float | str) for value in values)


def _has_media(messages: object) -> bool:
    if not isinstance(messages, list):
        return False
    for message in cast("list[object]", messages):
        content = cast("Mapping[str, object]", message).get("content") if isinstance(message, dict) else None
        for part in cast("list[object]", content) if isinstance(content, list) else []:
            kind = cast("Mapping[str, object]", part).get("type", "text") if isinstance(part, dict) else "text"
            if kind not in ("text", "input_text", "output_text", "refusal"):
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
