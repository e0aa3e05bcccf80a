from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from serve_app.body import check_body
from serve_app.errors import BadRequest

CHAT = "/v1/chat/completions"


def refusal(body: object, path: str = CHAT) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        check_body(path, body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def user(content: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    "body",
    [
        user("Hi"),
        user([{"type": "text", "text": "Hi"}]),
        user("what is image_url, audio, video, priority and chat_template?"),
        user('"chat_template": "x"'),
        {**user("Hi"), "chat_template_kwargs": {"enable_thinking": False, "n": 1, "s": "a", "z": None}},
        {**user("Hi"), "chat_template_kwargs": None, "priority": None, "prompt_logprobs": None},
        {**user("Hi"), "tools": [{"type": "function", "function": {"name": "f", "parameters": {"audio": 1}}}]},
        {"model": "m", "prompt": "audio \u00e9"},
        {"model": "m", "input": "video"},
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "audio"}]}]},
        {"messages": "audio", "input": 3},
        {"messages": ["audio", None, 3, {"content": None}, {"content": ["audio", 3]}]},
    ],
    ids=lambda body: str(body)[-60:],
)
def test_passed(body: Any) -> None:
    check_body(CHAT, json.dumps(body).encode())
    check_body(CHAT, json.dumps(body, ensure_ascii=False, indent=1).encode())


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"audio"', b"3", b'"\xff'])
def test_what_is_no_json_object_is_left_to_the_route_or_refused(body: bytes) -> None:
    """Refused here only where it had to be parsed; never another exception."""
    for path in (CHAT, "/generate"):
        try:
            check_body(path, body)
        except BadRequest as error:
            assert "JSON" in str(error) or "UTF-8" in str(error)


@pytest.mark.parametrize("body", [b"", b" \n\t"])
@pytest.mark.parametrize("path", [CHAT, "/generate"])
def test_an_empty_body(body: bytes, path: str) -> None:
    assert "empty" in str(refusal(body, path))


@pytest.mark.parametrize(
    "name",
    [
        "chat_template",
        "mm_processor_kwargs",
        "media_io_kwargs",
        "prompt_embeds",
        "kv_transfer_params",
        "ec_transfer_params",
        "priority",
        "vllm_xargs",
        "prompt_logprobs",
        "request_id",
        "use_beam_search",
        "structured_outputs",
    ],
)
def test_refused_fields(name: str) -> None:
    body = {**user("Hi"), name: 1}
    assert refusal(body).param == name
    assert refusal(json.dumps(body).encode("utf-8-sig")).param == name
    escaped = json.dumps(body).replace(name, f"\\u{ord(name[0]):04x}{name[1:]}")
    assert refusal(escaped.encode()).param == name


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_an_encoding_hides_nothing(encoding: str) -> None:
    """A web framework reads bytes with json.loads(), which takes UTF-16 and UTF-32 as well."""
    body = json.dumps({**user("Hi"), "chat_template": "{{ 1 }}"}).encode(encoding)
    assert json.loads(body)["chat_template"]
    refusal(body)


@pytest.mark.parametrize("kwargs", [{"a": []}, {"a": {}}, {"a": {"b": 1}}, [1], "x", 3])
def test_template_arguments_are_plain_values(kwargs: Any) -> None:
    assert refusal({**user("Hi"), "chat_template_kwargs": kwargs}).param == "chat_template_kwargs"


METADATA = "http://169.254.169.254/"
MEDIA_PARTS = [
    {"type": "image_url", "image_url": {"url": METADATA}},
    {"type": "input_image", "image_url": METADATA},
    {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    {"type": "audio_url", "audio_url": {"url": METADATA}},
    {"type": "video_url", "video_url": {"url": METADATA}},
    {"type": "image_embeds", "image_embeds": "AAAA"},
    {"type": "image_pil", "image_pil": "AAAA"},
    {"type": "input_file", "file_url": METADATA},
    # vLLM takes parts without a type as well, and looks beyond the type where there is a uuid
    # (vllm/renderers/chat_utils.py, _parse_chat_message_content_mm_part).
    {"image_url": METADATA},
    {"image_url": {"url": METADATA}},
    {"audio_url": METADATA},
    {"video_url": METADATA},
    {"image_embeds": "AAAA"},
    {"type": None, "image_url": METADATA},
    {"type": "text", "text": "a", "uuid": "1", "image_url": METADATA},
]


@pytest.mark.parametrize("part", MEDIA_PARTS, ids=lambda part: ",".join(f"{k}={v}"[:16] for k, v in part.items()))
def test_media_parts(part: dict[str, Any]) -> None:
    assert "send text" in str(refusal(user([{"type": "text", "text": "a"}, part])))
    assert "send text" in str(refusal({"input": [{"role": "user", "content": [part]}]}))


@pytest.mark.parametrize("path", [CHAT, "/generate"])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}"), ("[0,", "]")])
def test_depth(path: str, opened: str, closed: str) -> None:
    check_body(path, ('{"x":' + opened * 63 + "1" + closed * 63 + "}").encode())
    assert "nested" in str(refusal(('{"x":' + opened * 64 + "1" + closed * 64 + "}").encode(), path))
    assert "nested" in str(refusal(b'{"x":' + opened.encode() * 2000, path))


@pytest.mark.parametrize(
    "text", ["[" * 500, "{" * 500, '\\"' + "[" * 500, "\\\\\\" + '"' + "{" * 500, "\n[" * 500], ids=range(5)
)
def test_brackets_in_a_text_are_no_nesting(text: str) -> None:
    check_body("/generate", json.dumps({"prompt": text}).encode())
    check_body("/generate", json.dumps({"prompt": text, text: [[text]]}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": "' + b"[" * 70 + b'", "y": "' + b'\\"' * 10_000,
        b"[" * 30 + b"{}" * 50 + b'"' + b"\\" * 8_000,
        b'{"x": [' + b"[]," * 100_000 + b"1]}",
        b'{"x": "' + b"a" * 1_000_000 + b'", "y": "audio"}',
        b'"' * 1_000_000,
    ],
    ids=range(5),
)
@pytest.mark.parametrize("path", [CHAT, "/generate"])
def test_no_body_takes_long(path: str, body: bytes) -> None:
    """The event loop stands still meanwhile."""
    begun = time.process_time()
    with contextlib.suppress(BadRequest):
        check_body(path, body)
    assert time.process_time() - begun < 0.5
