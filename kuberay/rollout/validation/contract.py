"""The fixed requests by which a release shows that it keeps to the agreed form, and what each answer must be. Pure.

What is agreed: the routes of ``serve_app.guard``, the bodies of ``serve_app.schema``, the envelope of
``serve_app.errors``; for the routes under ``/v1``, OpenAI's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from kuberay.rollout.validation.evidence import Reply
from serve_app.schema import GenerateResponse

RELEASE_HEADER = "x-switchyard-release"
_FEW = 8
_ENOUGH = 16
"""The fewest that OpenAI's own ``/v1/responses`` takes."""
_SHOWN = 200


@dataclass(frozen=True)
class Wanted:
    """Who is to answer: the release's id and the served model name."""

    release: str
    model: str


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        name: unique.
        check: the check it belongs to, ``contract`` or ``streaming``.
        body: sent as JSON; None: no body.
        keyless: sent without the API key.
        fault: what is wrong with an answer; '' if nothing is.
    """

    name: str
    method: str
    path: str
    fault: Callable[[Reply, Wanted], str]
    check: str = "contract"
    body: Mapping[str, Any] | None = None
    keyless: bool = False


def calls(model: str, *, embeds: bool = False, keyed: bool = False) -> tuple[Call, ...]:
    """All requests for a model for text, or for embeddings. ``keyed``: the service asks for an API key."""
    found = [
        Call("health", "GET", "/health", _status_ok, keyless=True),
        Call("release", "GET", "/release", _release),
        Call("models", "GET", "/v1/models", _models),
        Call("metrics", "GET", "/metrics", _metrics),
        Call("openapi", "GET", "/openapi.json", _plain(200)),
        Call("docs", "GET", "/docs", _plain(200)),
        Call("unknown route", "GET", "/no-such-route", _refused(404)),
        Call("wrong method", "GET", "/generate", _refused(404 if embeds else 405)),
    ]
    if keyed:
        found.append(Call("no key", "GET", "/release", _refused(401), keyless=True))
    if embeds:
        asked = {"model": model, "input": "The quick brown fox"}
        return (*found, Call("embeddings", "POST", "/v1/embeddings", _embeddings, body=asked))
    short: dict[str, Any] = {"max_tokens": _FEW, "temperature": 0}
    prompt = {"prompt": "Say hello.", **short}
    openai = {"model": model, **prompt}
    chat = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **short}
    responses = {"model": model, "input": "Say hello.", "max_output_tokens": _ENOUGH, "temperature": 0}
    streamed = {"stream": True}
    return (
        *found,
        Call("generate", "POST", "/generate", _generate, body=prompt),
        Call("no prompt", "POST", "/generate", _refused(400), body={}),
        Call("unknown field", "POST", "/generate", _refused(400), body={**prompt, "no_such_field": 1}),
        Call("out of range", "POST", "/generate", _refused(400), body={**prompt, "temperature": 3}),
        Call("completions", "POST", "/v1/completions", _choices("text"), body=openai),
        Call("unknown model", "POST", "/v1/completions", _refused(404), body={**openai, "model": "no-such-model"}),
        Call("refused field", "POST", "/v1/completions", _refused(400), body={**openai, "prompt_logprobs": 1}),
        Call("chat", "POST", "/v1/chat/completions", _unless_no_template(_choices("message")), body=chat),
        Call("responses", "POST", "/v1/responses", _unless_no_template(_responses), body=responses),
        Call("stream of generate", "POST", "/generate", _stream, "streaming", {**prompt, **streamed}),
        Call("stream of completions", "POST", "/v1/completions", _stream, "streaming", {**openai, **streamed}),
        Call(
            "stream of chat",
            "POST",
            "/v1/chat/completions",
            _unless_no_template(_stream),
            "streaming",
            {**chat, **streamed},
        ),
    )


def _plain(status: int) -> Callable[[Reply, Wanted], str]:
    def fault(reply: Reply, wanted: Wanted) -> str:
        if reply.error:
            return reply.error
        return "" if reply.status == status else f"HTTP {reply.status} instead of {status}: {_short(reply.body)}"

    return fault


def _refused(status: int) -> Callable[[Reply, Wanted], str]:
    """The status, and OpenAI's error envelope."""

    def fault(reply: Reply, wanted: Wanted) -> str:
        if wrong := _plain(status)(reply, wanted):
            return wrong
        error = _object(_object(reply.body).get("error"))
        # The routes of vLLM leave 'param' out of some of its envelopes.
        if not isinstance(error.get("message"), str) or not isinstance(error.get("type"), str):
            return f"the answer is not an error in OpenAI's envelope: {_short(reply.body)}"
        return (
            "" if error.get("code") == status else f"the envelope's code is {error.get('code')!r} instead of {status}"
        )

    return fault


def _status_ok(reply: Reply, wanted: Wanted) -> str:
    wrong = _plain(200)(reply, wanted)
    return wrong or ("" if _object(reply.body).get("status") == "ok" else f"not ok: {_short(reply.body)}")


def _release(reply: Reply, wanted: Wanted) -> str:
    if wrong := _plain(200)(reply, wanted):
        return wrong
    named = _object(reply.body).get("release")
    return _other(named, wanted)


def _models(reply: Reply, wanted: Wanted) -> str:
    if wrong := _from_release(reply, wanted):
        return wrong
    served = [_object(item).get("id") for item in _list(_object(reply.body).get("data"))]
    return "" if wanted.model in served else f"serves {served} instead of {wanted.model!r}"


def _metrics(reply: Reply, wanted: Wanted) -> str:
    wrong = _plain(200)(reply, wanted)
    return wrong or ("" if "vllm:" in reply.body else "has none of vLLM's metrics")


def _generate(reply: Reply, wanted: Wanted) -> str:
    if wrong := _plain(200)(reply, wanted):
        return wrong
    try:
        answer = GenerateResponse.model_validate_json(reply.body)
    except ValidationError as error:
        return f"the answer has another form: {_short(str(error))}"
    return _named(answer.model, wanted) or _other(answer.release, wanted)


def _named(model: object, wanted: Wanted) -> str:
    return "" if model == wanted.model else f"model {model!r} answers instead of {wanted.model!r}"


def _other(release: object, wanted: Wanted) -> str:
    return "" if release == wanted.release else f"release {release!r} answers instead of {wanted.release!r}"


def _from_release(reply: Reply, wanted: Wanted) -> str:
    """A replica names its release in the header of every answer."""
    return _plain(200)(reply, wanted) or _other(reply.headers.get(RELEASE_HEADER), wanted)


def _choices(part: str) -> Callable[[Reply, Wanted], str]:
    def fault(reply: Reply, wanted: Wanted) -> str:
        if wrong := _from_release(reply, wanted):
            return wrong
        body = _object(reply.body)
        choice = _object(next(iter(_list(body.get("choices"))), None))
        if part not in choice or choice.get("finish_reason") not in ("stop", "length"):
            return f"the answer has another form than OpenAI's: {_short(reply.body)}"
        if not _object(body.get("usage")).get("prompt_tokens"):
            return f"the answer does not say how many tokens it used: {_short(reply.body)}"
        return _named(body.get("model"), wanted)

    return fault


def _responses(reply: Reply, wanted: Wanted) -> str:
    if wrong := _from_release(reply, wanted):
        return wrong
    body = _object(reply.body)
    if body.get("object") != "response" or not _list(body.get("output")):
        return f"the answer has another form than OpenAI's: {_short(reply.body)}"
    return _named(body.get("model"), wanted)


def _unless_no_template(fault: Callable[[Reply, Wanted], str]) -> Callable[[Reply, Wanted], str]:
    """A model without a chat template cannot chat, and says so."""

    def lenient(reply: Reply, wanted: Wanted) -> str:
        without = reply.status == 400 and "chat template" in reply.body
        return _refused(400)(reply, wanted) if without else fault(reply, wanted)

    return lenient


def _embeddings(reply: Reply, wanted: Wanted) -> str:
    if wrong := _from_release(reply, wanted):
        return wrong
    first = _object(next(iter(_list(_object(reply.body).get("data"))), None))
    numbers = _list(first.get("embedding"))
    fine = numbers and all(isinstance(number, int | float) for number in numbers)
    return "" if fine else f"the answer has no embedding: {_short(reply.body)}"


def _stream(reply: Reply, wanted: Wanted) -> str:
    if wrong := _from_release(reply, wanted):
        return wrong
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        return f"answers with {reply.headers.get('content-type', 'no type')!r} instead of a stream of events"
    data = [line[5:].strip() for line in reply.body.splitlines() if line.startswith("data:")]
    if not data or data[-1] != "[DONE]":
        return f"the stream does not end with [DONE] but with {_short(data[-1]) if data else 'nothing'}"
    events = [_object(item) for item in data[:-1]]
    ends = [event.get("finish_reason") for event in events]
    ends += [_object(choice).get("finish_reason") for event in events for choice in _list(event.get("choices"))]
    return "" if any(ends) else "the stream ends without a finish reason"


def _object(value: object) -> Mapping[str, Any]:
    """The JSON object that ``value`` is, or is the text of; empty where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
