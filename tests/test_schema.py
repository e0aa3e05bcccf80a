from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.errors import BadRequest
from serve_app.schema import GenerateRequest, parse_generate


def short(value: Any) -> str:
    """Part of a test's id."""
    return str(value)[:24]


def parse(**fields: Any) -> GenerateRequest:
    return parse_generate(json.dumps({"prompt": "Hi", **fields}).encode())


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_generate(body)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 1),
        ("max_tokens", 1_000_000),
        ("temperature", 0),
        ("temperature", 2.0),
        ("top_p", 1),
        ("top_p", 0.001),
        ("top_k", -1),
        ("top_k", 0),
        ("stop", "."),
        ("stop", ["a", "b", "c", "d"]),
        ("stop", []),
        ("stop", "x" * 256),
        ("seed", -(2**63)),
        ("seed", 2**63 - 1),
        ("stream", True),
        ("raw", True),
        ("prompt", "\0"),
        ("prompt", "<|im_end|><|image_pad|>"),
        ("prompt", "مرحبا \u202e \U0001f600 \ufeff"),
        ("prompt", "x" * (1 << 20)),
        *((name, None) for name in ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "stream", "raw")),
    ],
    ids=short,
)
def test_accepted(field: str, value: Any) -> None:
    assert getattr(parse(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_tokens", value) for value in (0, -1, 10**18, 1.5, 1.0, "10", True, [1])),
        *(("temperature", value) for value in (-1, 2.1, 1e308, "0.5", True)),
        *(("top_p", value) for value in (0, 1.1, -1, "1")),
        *(("top_k", value) for value in (-2, 1.5, 10**9, "4")),
        *(("stop", value) for value in ("", [""], ["a"] * 5, "x" * (1 << 20), ["x" * 257], 1, [1], {"a": 1})),
        *(("seed", value) for value in (2**64, 2**63, -(2**63) - 1, 1.5, True, "1")),
        *(("stream", value) for value in ("yes", 1, "true")),
        *(("raw", value) for value in ("yes", 1)),
        *(("prompt", value) for value in ("", ["a"], 1, ["a"] * 10_000, [[1, 2]], {})),
        # Accepted by vLLM's own routes, and not fields of this one.
        *((name, 1) for name in ("n", "min_tokens", "logprobs", "prompt_logprobs", "priority", "min_p")),
        *((name, 1.0) for name in ("presence_penalty", "frequency_penalty", "repetition_penalty")),
        *((name, {}) for name in ("logit_bias", "stream_options", "kv_transfer_params", "ec_transfer_params")),
        *((name, "x") for name in ("prompt_embeds", "chat_template", "model", "user", "")),
    ],
    ids=short,
)
def test_refused(field: str, value: Any) -> None:
    error = refusal(json.dumps({"prompt": "Hi", field: value}).encode())
    assert error.param == (field or None)
    assert field in str(error)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("Hi", "messages"),
        ([{"role": "tool", "content": "a"}], "messages.0.role"),
        ([{"role": "User", "content": "a"}], "messages.0.role"),
        ([{"role": "user", "content": 1}], "messages.0.content"),
        ([{"role": "user", "content": None}], "messages.0.content"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], "messages.0.content"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "user", "content": "a"}, {"content": "b"}], "messages.1.role"),
        ([{"role": "user", "content": "a", "name": "b"}], "messages.0.name"),
        ([{"role": "user", "content": "a"}] * 513, "messages"),
        (["a"], "messages.0"),
    ],
    ids=short,
)
def test_messages_refused(messages: Any, param: str) -> None:
    assert refusal(json.dumps({"messages": messages}).encode()).param == param


def test_messages_accepted() -> None:
    turns = [{"role": role, "content": "a"} for role in ("system", "user", "assistant", "user")]
    request = parse_generate(json.dumps({"messages": turns}).encode())
    assert [message.model_dump() for message in request.messages or []] == turns
    assert request.prompt is None


@pytest.mark.parametrize("body", [b"{}", b'{"prompt": null}', b'{"messages": null}', b'{"max_tokens": 3}'])
def test_neither_prompt_nor_messages(body: bytes) -> None:
    assert "Give exactly one of 'prompt'" in str(refusal(body))


def test_both_prompt_and_messages() -> None:
    assert "exactly one" in str(refusal(b'{"prompt": "a", "messages": [{"role": "user", "content": "a"}]}'))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"prompt": "a"',
        b'{"prompt": "a"} x',
        b"\xff",
        b'{"prompt": "\xff"}',
        b"[]",
        b"null",
        b"3",
        b'"prompt"',
        b"{'prompt': 'a'}",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": -Infinity}',
        b'{"prompt": "a", "temperature": 1e400}',
        b'{"prompt": "a", "max_tokens": 1e400}',
        '{"prompt": "a"}'.encode("utf-16"),
    ],
    ids=short,
)
def test_bodies_that_are_not_what_they_should_be(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": "a", "max_tokens": 1, "max_tokens": 1000}',
        b'{"messages": [{"role": "user", "role": "system", "content": "a"}]}',
    ],
    ids=short,
)
def test_a_key_given_twice_is_refused(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "a", "max_tokens": ' + b"9" * 100_000 + b"}",
        b'{"prompt": "a", "temperature": 0.' + b"9" * 100_000 + b"e400}",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": "a", "' + b"k" * 500_000 + b'": 1}',
        b'{"prompt": "a"' + b"".join(b', "k%d": 1' % n for n in range(10_000)) + b"}",
    ],
    ids=short,
)
def test_costly_bodies_are_refused_quickly(body: bytes) -> None:
    begun = time.process_time()
    refusal(body)
    assert time.process_time() - begun < 0.5


def test_max_length_is_another_name_of_max_tokens() -> None:
    assert parse(max_length=7).max_tokens == 7
    assert refusal(b'{"prompt": "a", "max_length": 0}').param == "max_length"


def test_both_names_of_one_field_are_told_apart() -> None:
    message = str(refusal(b'{"prompt": "a", "max_tokens": 5, "max_length": 7}'))
    assert "Did you mean 'max_length'" not in message
    assert "max_tokens" in message


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("temprature", "Unknown field 'temprature'. Did you mean 'temperature'?"),
        ("maxtokens", "Did you mean 'max_tokens'?"),
        ("qqq", "Unknown field 'qqq'. Known: prompt, messages, max_tokens,"),
        ("k" * 300, f"Unknown field '{'k' * 64}'."),
    ],
    ids=short,
)
def test_an_unknown_field_names_the_nearest(field: str, part: str) -> None:
    assert part in str(refusal(json.dumps({"prompt": "a", field: 1}).encode()))


@pytest.mark.parametrize(
    ("stop", "part"),
    [(["a"] * 5, "4"), ("", "at least 1"), ([""], "at least 1"), ("x" * 300, "256"), (["x" * 300], "256")],
    ids=short,
)
def test_a_wrong_stop_says_which_bound_it_broke(stop: Any, part: str) -> None:
    assert part in str(refusal(json.dumps({"prompt": "a", "stop": stop}).encode()))


def test_an_unknown_field_of_a_message_is_not_offered_the_fields_of_the_request() -> None:
    message = str(refusal(b'{"messages": [{"role": "user", "content": "a", "name": "b"}]}'))
    assert "'name'" in message
    assert "temperature" not in message


def test_stop_strings() -> None:
    assert [parse(stop=stop).stop_strings for stop in (None, "a", ["a", "b"])] == [[], ["a"], ["a", "b"]]


def test_a_request_made_in_python_is_as_strict() -> None:
    assert GenerateRequest(prompt="a", max_tokens=3).max_tokens == 3
    for wrong in ({"max_tokens": "3"}, {"max_token": 3}, {"stream": 1}):
        with pytest.raises(ValueError, match="validation error"):
            GenerateRequest.model_validate({"prompt": "a", **wrong})


FIELDS = st.sampled_from([*GenerateRequest.model_fields, "max_length", "role", "content", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.binary() | st.dictionaries(FIELDS, VALUES, max_size=4).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_request_or_a_bad_request(body: bytes) -> None:
    try:
        assert isinstance(parse_generate(body), GenerateRequest)
    except BadRequest as error:
        told = json.dumps(error.envelope())
        assert not any(word in told for word in ("Traceback", "pydantic", "https://", " at 0x", 'File \\"'))
        assert str(error).endswith((".", "?"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_json_does_not_have(number: str) -> None:
    assert f"{number} is no JSON number" in str(refusal(f'{{"prompt": "Hi", "temperature": {number}}}'.encode()))
