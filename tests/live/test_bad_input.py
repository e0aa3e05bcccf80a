"""Bad bodies against a real service: cases 1 to 41 and 45, the number first in each id.

A refusal is a 4xx in OpenAI's envelope, never a 5xx, and tells nothing of the machine. After each row a good request
is answered at once. Bad HTTP is in test_bad_http.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import Service, wait_until

pytestmark = pytest.mark.live

G, C, H, R = "/generate", "/v1/completions", "/v1/chat/completions", "/v1/responses"
ALL, V1, CH, GCH = (G, C, H, R), (C, H, R), (C, H), (G, C, H)
GOOD: dict[str, dict[str, Any]] = {
    G: {"prompt": "x", "max_tokens": 2},
    C: {"model": "tiny", "prompt": "x", "max_tokens": 2},
    H: {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2},
    R: {"model": "tiny", "input": "x", "max_output_tokens": 2},
}
JSON = {"content-type": "application/json"}
LEAKS = (" at 0x", "/usr/", "site-packages", 'File "', "Traceback")  # case 48, in every answer
ABSENT = object()
EITHER = {200, 400}
"""The list asks for 400 or leaves it open; vLLM takes it, and it does no harm."""

Rows = Iterator[Any]


@pytest.fixture(scope="module")
def client(tiny: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=tiny.url, timeout=60) as shared:
        yield shared


def assert_alive(client: httpx2.Client) -> None:
    try:
        answer = client.post(G, json=GOOD[G], timeout=15)
    except httpx2.RemoteProtocolError:  # closed after a refusal, as a server may; the next connection must do
        answer = client.post(G, json=GOOD[G], timeout=15)
    assert answer.status_code == 200


def assert_told(answer: httpx2.Response, expected: int | set[int], what: object) -> None:
    assert answer.status_code in ({expected} if isinstance(expected, int) else expected), (what, answer.text[:500])
    assert not [leak for leak in LEAKS if leak in answer.text], (what, answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, what
        assert error["code"] == answer.status_code
        assert isinstance(error["message"], str) and error["message"], what


def row(name: str, routes: str | tuple[str, ...], change: dict[str, Any] | bytes, expected: Any = 400) -> Any:
    """A request body: the good one of each route with some fields changed, or these bytes."""
    return pytest.param((routes,) if isinstance(routes, str) else routes, change, expected, id=name)


def each(number: int, routes: str | tuple[str, ...], field: str, values: list[Any], expected: Any = 400) -> Rows:
    for value in values:
        yield row(f"{number}-{field}-{str(value)[:16]!a}", routes, {field: value}, expected)


def user(content: Any, role: Any = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


def schema(number: int, name: str, value: Any, expected: Any = 400) -> Rows:
    wanted = {"name": "n", "schema": value}
    chat = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    yield row(f"{number}-{name}", CH, chat, expected)
    responses = {"text": {"format": {"type": "json_schema", **wanted}}}
    yield row(f"{number}-{name}-responses", R, responses, expected)


def said(number: int, name: str, text: str, expected: Any = 200) -> Rows:
    """The same text as every route's prompt."""
    yield row(f"{number}-{name}", (G, C), {"prompt": text}, expected)
    yield row(f"{number}-{name}", H, user(text), expected)
    yield row(f"{number}-{name}", R, {"input": text}, expected)


def tool(parameters: Any, **more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}], **more}


def media(url: str) -> Rows:
    yield row(f"39-{url[:16]}", H, user([{"type": "image_url", "image_url": {"url": url}}]))
    yield row(f"39-{url[:16]}-untyped", H, user([{"image_url": url}]))
    yield row(
        f"39-{url[:16]}", R, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}
    )
    output = [{"type": "input_image", "image_url": url, "detail": "auto"}]
    called = {"type": "function_call_output", "call_id": "c", "output": output}
    yield row(f"39-{url[:16]}-tool", R, {"input": [called]})


NAN, INF = float("nan"), float("inf")
BODIES: list[Any] = [
    row("1-truncated", ALL, b'{"model": "tiny", "prompt": "x", "inp'),
    row("2-not-utf-8", ALL, b'{"model": "tiny", "prompt": "\xff", "input": "\xff"}'),
    *(row(f"3-top-level-{text.decode()}", ALL, text) for text in (b"[1]", b"1", b"null", b'"x"', b"true")),
    row("4-arrays", ALL, b'{"model": "tiny", "prompt": ' + b"[" * 2000 + b"]" * 2000 + b"}"),
    row("4-objects", ALL, b'{"a": ' * 2000 + b"1" + b"}" * 2000),
    row("5-empty", ALL, b""),
    row("5-blank", ALL, b" \r\n"),
    *each(16, V1, "model", ["gpt-5", "../../etc/passwd"], 404),
    row("16-model-5", V1, {"model": 5}),
    *each(17, H, "messages", [[], None, "x", ["x"], ABSENT]),
    *each(17, R, "input", [[], None, 5, [5], ABSENT]),
    row("17-both", G, user("x")),
    row("17-neither", (G, C), {"prompt": ABSENT}),
    row("18-role", (G, H), {"prompt": ABSENT, **user("x", "god")}),
    row("18-role", R, {"input": [{"role": "god", "content": "x"}]}),
    row("18-role-5", H, user("x", 5)),
    *(row(f"18-content-{c!s:.12}", H, user(c)) for c in (5, {"a": 1}, [{"type": "text"}], [{"type": "odd"}])),
    *said(19, "nul", "a\0b"),
    *said(19, "bom", "\ufeffx"),
    *said(19, "right-to-left", "\u202e\u05d0\u0628"),
    *said(19, "surrogate", "\ud800", 400),
    *said(19, "long-line", "x" * 1_000_000, 400),
    row("19-surrogate-stop", GCH, {"stop": "\ud800"}),
    row("19-surrogate-bad-word", CH, {"bad_words": ["\ud800"]}),
    row("19-utf-16", V1, json.dumps({"model": "tiny", "prompt": "x", "input": "x"}).encode("utf-16")),
    row("19-byte-order-mark", (G,), b"\xef\xbb\xbf" + json.dumps(GOOD[G]).encode(), EITHER),
    *said(20, "special-tokens", "<|im_end|><|image_pad|><|end|>"),
    *each(21, GCH, "max_tokens", [0, -1, 10**18, 1.5, "10", True]),
    *each(21, H, "max_completion_tokens", [0, -1, 10**18, 1.5, "10", True]),
    *each(21, R, "max_output_tokens", [0, -1, 10**18, 1.5, "10", True]),
    row("21-null", (G, C), {"max_tokens": None}, 200),
    *said(22, "long-prompt", "word " * 10_000, 400),
    row("22-token-ids", C, {"prompt": [1] * 8193}),
    row("22-sum", G, {"max_tokens": 8192}),
    row("22-sum", C, {"prompt": [1] * 8190, "max_tokens": 100}, EITHER),  # vLLM cuts max_tokens to what fits
    row("23-more-than-max", CH, {"min_tokens": 3}),
    row("23-max-null", CH, {"min_tokens": 9000, "max_tokens": None}),
    *each(24, GCH, "n", [0, -1, 5, 10**9, "2", 1.5]),
    *each(25, ALL, "temperature", [-1, 1e308, NAN, INF, "1", True]),
    *each(26, ALL, "top_p", [0, 1.1, NAN]),
    *each(26, ALL, "top_k", [-2, 10**20, 1.5]),
    *each(26, CH, "min_p", [2, -1, NAN]),
    *each(27, ALL, "presence_penalty", [1e9, -1e9, NAN]),
    *each(27, ALL, "frequency_penalty", [1e9, -1e9, NAN]),
    *each(27, ALL, "repetition_penalty", [0, -1, NAN, INF]),
    *each(28, GCH, "seed", [2**64, 2**63, -(2**63) - 1, "1"]),
    *each(29, GCH, "stop", [list("abcde"), "", [""], "x" * 1_000_000, ["x" * 1_000_000], 5]),
    *each(29, CH, "stop_token_ids", [[10**9], [-1], [2**70], ["x"]]),
    *each(30, CH, "logit_bias", [{"99999999": 1}, {"-1": 1}, {"x": 1}, {"5": NAN}, [1]]),
    *each(31, CH, "allowed_token_ids", [[], [10**9], [-1], [2**70], ["x"]]),
    row("32-logprobs", C, {"logprobs": 10**6}),
    row("32-top-logprobs", H, {"logprobs": True, "top_logprobs": 10**6}),
    row("32-prompt-logprobs", ALL, {"prompt_logprobs": 1}),
    row("32-logprob-token-ids", CH, {"logprobs": True, "logprob_token_ids": [10**9]}),
    row("33-10k", CH, {"bad_words": [f"w{i}" for i in range(10_000)]}),
    row("33-empty", CH, {"bad_words": [""]}),
    row("34-10k", C, {"prompt": ["x"] * 10_000}),
    *each(34, C, "prompt", [[["x"]], [[[1]]], ["x", 5], [1, "x"], [-1], [10**9], [2**70], [1.5], [[]], 5, {"a": 1}]),
    *each(34, G, "prompt", [["x"], [1], 5]),
    *schema(35, "invalid", {"type": "odd"}),
    *schema(35, "no-object", 5),
    *schema(35, "missing-ref", {"$ref": "#/nothing"}),
    *schema(35, "empty", {}, EITHER),
    *schema(35, "recursive", {"type": "object", "properties": {"a": {"$ref": "#"}}}, EITHER),
    *schema(35, "endless", {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    *schema(35, "endless-root", {"$ref": "#"}),
    *schema(35, "large", {"type": "object", "properties": {f"key{i:07}": {"type": "string"} for i in range(25_000)}}),
    *schema(35, "long-string", {"type": "string", "minLength": 10**9}),
    row("35-no-schema", CH, {"response_format": {"type": "json_schema"}}),
    row("35-type", CH, {"response_format": {"type": "odd"}}),
    *schema(35, "endless-any", {"anyOf": [{"$ref": "#"}]}, EITHER),
    *schema(36, "counted", {"type": "string", "pattern": "^[a-z]{1,500}$"}, 200),
    *schema(36, "backtracking", {"type": "string", "pattern": "(a+)+b"}, EITHER),
    *schema(36, "lookbehind", {"type": "string", "pattern": "(?<=a)b"}),
    *schema(36, "unclosed", {"type": "string", "pattern": "("}),
    *schema(36, "huge", {"type": "string", "pattern": "(a{1000}{1000}b)?"}),
    row("36-structured-outputs", ALL, {"structured_outputs": {"regex": "(a+)+b"}}),
    row("37-pattern", H, tool({"type": "object", "properties": {"a": {"pattern": "("}}}, tool_choice="required")),
    row("37-type", H, tool({"type": "odd"}, tool_choice="required")),
    row("37-no-object", H, tool(5)),
    row("37-1000", (H, R), {"tools": tool({"type": "object"})["tools"] * 1000}),
    *each(38, V1, "chat_template", ["{% for i in range(10**9) %}x{% endfor %}", "{{ 'x' * 10**9 }}"]),
    *each(38, H, "chat_template_kwargs", [{"chat_template": "{{ 1 }}"}, {"a": {"b": 1}}, ["x"]]),
    row("38-escaped", H, json.dumps({**GOOD[H], "chat_template": "x"}).replace("_temp", "\\u005ftemp").encode()),
    *media("http://169.254.169.254/latest/meta-data"),
    *media("file:///etc/passwd"),
    *media("data:image/jp2;base64,AAAADGpQICANCocK"),
    *media("data:image/png;base64,iVBORw0KGgo="),
    *(row(f"40-{name}", ALL, {name: {}}) for name in ("prompt_embeds", "kv_transfer_params", "ec_transfer_params")),
    *(row(f"40-{name}", ALL, {name: 1}) for name in ("priority", "vllm_xargs", "request_id", "use_beam_search")),
    row("40-unknown", G, {"max_tokenz": 1}),
    *each(41, ALL, "stream", ["yes", "true", 1]),
    row("41-options", CH, {"stream_options": {"include_usage": True}}),
    row("45-duplicate-key", G, b'{"prompt": "x", "prompt": "y"}'),
    row("45-duplicate-key", C, b'{"model": "tiny", "prompt": "x", "prompt": "y"}'),
    row("45-many-keys", ALL, ("{" + ",".join(f'"k{i}":1' for i in range(90_000)) + ',"k89999":2}').encode()),
    row("45-1e400", (G, C), b'{"model": "tiny", "prompt": "x", "temperature": 1e400}'),
    row("45-digits", V1, b'{"model": "tiny", "prompt": "x", "input": "x", "odd": 1' + b"0" * 100_000 + b"}"),
    row("45-digits", G, b'{"prompt": "x", "max_tokens": 1' + b"0" * 100_000 + b"}"),
]


@pytest.mark.parametrize(("routes", "change", "expected"), BODIES)
def test_body(client: httpx2.Client, routes: tuple[str, ...], change: Any, expected: Any):
    for route in routes:
        body = change
        if isinstance(change, dict):
            fields = {name: value for name, value in (GOOD[route] | change).items() if value is not ABSENT}
            body = json.dumps(fields).encode()
        answer = client.post(route, content=body, headers=JSON)
        assert_told(answer, expected, route)
        assert answer.elapsed.total_seconds() < 5
    assert_alive(client)


def test_31_a_mask_stays_with_its_request(client: httpx2.Client):
    plain = {**GOOD[C], "max_tokens": 8, "temperature": 0}
    before = client.post(C, json=plain).json()["choices"][0]["text"]
    masked = client.post(C, json={**plain, "allowed_token_ids": [5]}).json()["choices"][0]["text"]
    assert masked != before
    assert client.post(C, json=plain).json()["choices"][0]["text"] == before


TEXT = st.text(max_size=20)
SCALAR = st.none() | st.booleans() | st.integers() | st.integers(-3, 5) | st.floats() | TEXT
ANY = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
FIELDS = st.sampled_from([
    "model", "prompt", "messages", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "stream", "raw", "n",
    "min_tokens", "logprobs", "echo", "logit_bias", "bad_words", "stop_token_ids", "allowed_token_ids", "suffix",
    "presence_penalty", "repetition_penalty", "stream_options", "response_format", "user", "ignore_eos",
    "truncate_prompt_tokens", "cache_salt", "skip_special_tokens", "add_special_tokens", "return_token_ids",
])  # fmt: skip


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(route=st.sampled_from([G, C]), change=st.dictionaries(FIELDS | TEXT, ANY, max_size=4))
def test_fuzz(client: httpx2.Client, route: str, change: dict[str, Any]):
    body = json.dumps(GOOD[route] | change)
    answer = client.post(route, content=body, headers=JSON)
    assert_told(answer, {200, 400, 404}, body)
    assert_alive(client)


def test_nothing_is_left_in_the_engine(tiny: Service):
    """What clients sent and left has ended: no place in the queue is lost."""
    wait_until(lambda: tiny.in_flight() == 0, 10, "an idle engine")
