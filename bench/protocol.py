"""What is sent and what comes back, in the words of each API. Pure.

    generate      POST /generate                this project's own
    completions   POST /v1/completions          OpenAI's, with vLLM's extensions (ignore_eos, token ids as a prompt)
    chat          POST /v1/chat/completions     OpenAI's, with vLLM's extensions

A stream is server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) with a JSON object each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Api = Literal["generate", "completions", "chat"]
APIS: tuple[Api, ...] = ("generate", "completions", "chat")
_PATHS: dict[Api, str] = {
    "generate": "/generate",
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
}
_MAX_MESSAGE = 300


@dataclass(frozen=True)
class Target:
    """Who is asked.

    Attributes:
        url: the service's address, such as ``http://localhost:8000``; the API's path is added.
        api: ``generate``, ``completions`` or ``chat``.
        headers: sent with every request. Kept out of ``repr``: a key may be among them.
        label: its name in results.
        model: the name OpenAI's routes want.
    """

    url: str
    api: Api = "generate"
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    label: str = "service"
    model: str | None = None

    @property
    def address(self) -> str:
        """Where requests are posted to."""
        return self.url.rstrip("/") + _PATHS[self.api]


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        prompt: text, or token ids (``completions`` only). Exactly one of ``prompt`` and ``messages`` is given; for
            ``chat``, a prompt becomes a user's message.
        messages: a chat, ``{"role": ..., "content": ...}`` each.
        max_tokens: most tokens to generate.
        temperature: 0 is greedy; None: the service's default.
        ignore_eos: go on until ``max_tokens`` (``completions`` and ``chat``; ``/generate`` has no such field).
        logprobs: ask for each token's log-probability (``completions`` and ``chat``).
        raw: a prompt goes to the model unchanged; ``generate`` only, the others always or never do so.
        index: its number in the workload.
        at: when it is due, s from the beginning of the run.
        round: the round of a comparison, or the step of a ladder, that it belongs to.
    """

    prompt: str | tuple[int, ...] | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    max_tokens: int = 64
    temperature: float | None = 0.0
    seed: int | None = None
    ignore_eos: bool = False
    logprobs: bool = False
    raw: bool = False
    index: int = 0
    at: float = 0.0
    round: int = 0


def body(target: Target, request: Request, stream: bool = True) -> dict[str, Any]:
    """The JSON object to send.

    Raises:
        ValueError: the request has a form that the API cannot take.
    """
    if (request.prompt is None) == (request.messages is None):
        raise ValueError("a request has exactly one of prompt and messages")
    data: dict[str, Any] = {"max_tokens": request.max_tokens, "stream": stream}
    if request.temperature is not None:
        data["temperature"] = request.temperature
    if request.seed is not None:
        data["seed"] = request.seed
    if target.api == "generate":
        return data | _source(target, request, "prompt") | ({"raw": True} if request.raw and request.prompt else {})
    data |= {"model": target.model} if target.model else {}
    data |= {"stream_options": {"include_usage": True}} if stream else {}
    data |= {"ignore_eos": True} if request.ignore_eos else {}
    if target.api == "completions":
        data |= {"logprobs": 1} if request.logprobs else {}  # the chosen token's own, and one alternative
        return data | _source(target, request, "prompt")
    data |= {"logprobs": True} if request.logprobs else {}
    return data | _source(target, request, "messages")


def _source(target: Target, request: Request, wanted: str) -> dict[str, Any]:
    if request.messages is not None:
        if wanted == "prompt" and target.api == "completions":
            raise ValueError("/v1/completions takes a prompt, not messages")
        return {"messages": [dict(message) for message in request.messages]}
    if isinstance(request.prompt, tuple):
        if target.api != "completions":
            raise ValueError("only /v1/completions takes token ids")
        return {"prompt": list(request.prompt)}
    if wanted == "messages":
        return {"messages": [{"role": "user", "content": request.prompt}]}
    return {"prompt": request.prompt}


class Malformed(Exception):
    """An event, or an answer, is not what the API sends; the message says what came instead."""


@dataclass
class Answer:
    """An answer as it comes in: :meth:`event` for each event of a stream, or :meth:`whole`."""

    api: Api
    text: list[str] = field(default_factory=list[str])
    tokens: list[str] = field(default_factory=list[str])
    logprobs: list[float] = field(default_factory=list[float])
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_by: str = ""
    error: str = ""

    def event(self, data: str | bytes) -> bool:
        """Take in the data of one event (not ``[DONE]``); whether it had a token in it.

        Raises:
            Malformed: it is not an event of this API.
        """
        try:
            parsed: object = json.loads(data)
        except ValueError:
            raise Malformed(f"an event of the stream is not JSON: {_short(data)}") from None
        if not isinstance(parsed, dict):
            raise Malformed(f"an event of the stream is not an object: {_short(data)}")
        event = cast("dict[str, Any]", parsed)
        if event.get("error"):
            self.error = f"the stream ended with an error: {message_of(event)}"
            return False
        try:
            return self._take(event)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError):
            raise Malformed(
                f"an event of the stream has another form than {_PATHS[self.api]} has: {_short(data)}"
            ) from None

    def whole(self, data: bytes) -> None:
        """Take in an answer that came in one piece.

        Raises:
            Malformed: it is not an answer of this API.
        """
        try:
            parsed = cast("dict[str, Any]", json.loads(data))
            for choice in parsed.get("choices", ()):
                choice.setdefault("delta", choice.get("message"))
            self._take(parsed)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError):
            raise Malformed(f"the answer has another form than {_PATHS[self.api]} has: {_short(data)}") from None

    def _take(self, event: Mapping[str, Any]) -> bool:
        if usage := event.get("usage"):
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.completion_tokens = int(usage.get("completion_tokens") or 0)
        if self.api == "generate":
            self.finish_reason = event.get("finish_reason") or self.finish_reason
            self.served_by = str(event.get("release") or self.served_by)
            return self._piece(event["text"])
        new = False
        for choice in event["choices"]:
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            self._logprobs(choice.get("logprobs"))
            if self.api == "completions":
                new |= self._piece(choice["text"])
            else:
                delta = choice["delta"]
                # Where a parser for reasoning is on, those tokens come in a field of their own.
                new |= self._piece(delta.get("reasoning") or delta.get("reasoning_content"))
                new |= self._piece(delta.get("content"))
                new |= bool(delta.get("tool_calls"))
        return new

    def _piece(self, text: object) -> bool:
        if not isinstance(text, str | None):
            raise TypeError("a text that is none")
        if text:
            self.text.append(text)
        return bool(text)

    def _logprobs(self, given: Mapping[str, Any] | None) -> None:
        if not given:
            return
        if self.api == "completions":
            self.tokens += given["tokens"]
            self.logprobs += [float(value) for value in given["token_logprobs"] if value is not None]
        else:
            self.tokens += [item["token"] for item in given["content"] or ()]
            self.logprobs += [float(item["logprob"]) for item in given["content"] or ()]


def refusal(status: int, text: str) -> str:
    """One sentence for an answer with an error status."""
    hint = ""
    if status in (401, 403):
        hint = " Give the key: --api-key-env, or SWITCHYARD_API_KEY."
    try:
        message = message_of(json.loads(text))
    except ValueError:
        message = " ".join(text.split())[:_MAX_MESSAGE] or "no text"
    return f"HTTP {status}: {message}{hint}"


def message_of(envelope: object) -> str:
    """The message of an error in OpenAI's envelope, or of whatever else there is."""
    found: object = envelope
    for name in ("error", "message"):
        if isinstance(found, dict):
            found = cast("dict[str, object]", found).get(name, cast("object", found))
    return " ".join(str(found).split())[:_MAX_MESSAGE]


def _short(data: str | bytes) -> str:
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    return repr(text[:80] + ("..." if len(text) > 80 else ""))
