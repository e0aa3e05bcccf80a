"""The ways Ray users start things: ``serve run`` with an app, ``serve build``. With a builder: test_parallel.py.

The model of the app is one for embeddings: the random Llama again, asked for its last hidden state.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
import yaml

from .conftest import BIN, ROOT, SERVE_RUN, Service, serving

pytestmark = pytest.mark.live

EMBEDDING = """
model: {id: tiny, name: tiny-embedding, dtype: float32, max_model_len: 512}
engine:
  max_num_seqs: 4
  kv_cache_gib: 0.1
  options: {enforce_eager: true, runner: pooling, convert: embed}
"""


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("embedding")
    file = folder / "embedding.yaml"
    file.write_text(EMBEDDING)
    env = {"SWITCHYARD_CONFIG": str(file)}
    with serving(folder, *SERVE_RUN, "serve_app:app", ready="is ready at", env=env) as service:
        yield service


def test_serve_run_with_the_app_and_a_file_from_the_environment(embedding: Service):
    assert httpx2.get(f"{embedding.url}/release", timeout=60).json()["model"] == "tiny-embedding"
    assert embedding.listener().name() == "haproxy"
    assert httpx2.get(f"{embedding.url}/-/healthz", timeout=60).status_code == 200


def test_embeddings_through_the_openai_client(embedding: Service):
    client = openai.OpenAI(base_url=f"{embedding.url}/v1", api_key="none", max_retries=0)
    texts = ["the time of the day", "the time of the day", "people after years"]
    answer = client.embeddings.create(model="tiny-embedding", input=texts)
    one, same, other = (item.embedding for item in answer.data)
    assert len(one) == 128  # models/tiny.py: HIDDEN
    assert math.isclose(sum(x * x for x in one), 1, rel_tol=1e-3), "of unit length"
    assert sum(a * b for a, b in zip(one, same, strict=True)) > 0.999
    assert sum(a * b for a, b in zip(one, other, strict=True)) < 0.99
    assert answer.usage.prompt_tokens > 0
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="gpt-5", input="x")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="tiny-embedding", input="word " * 1000)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompt": "x"}),
        ("/generate", {"prompt": "x", "stream": True}),
        ("/v1/completions", {"model": "tiny-embedding", "prompt": "x"}),
        ("/v1/chat/completions", {"model": "tiny-embedding", "messages": [{"role": "user", "content": "x"}]}),
    ],
)
def test_a_model_for_embeddings_refuses_to_generate(embedding: Service, path: str, body: dict[str, object]):
    answer = httpx2.post(f"{embedding.url}{path}", json=body, timeout=60)
    assert answer.status_code == 404
    assert (
        answer.json()["error"]["message"] == f"The model that is served here cannot do {path}: it is of another kind."
    )


def test_a_model_for_embeddings_is_healthy(embedding: Service):
    assert httpx2.get(f"{embedding.url}/health", timeout=60).json()["status"] == "ok"
    listed = httpx2.get(f"{embedding.url}/openapi.json", timeout=60).json()["paths"]
    assert "/v1/embeddings" in listed
    assert "/generate" not in listed


def test_serve_build_writes_a_config_that_names_the_app(tmp_path: Path, tiny_file: Path):
    out = tmp_path / "serve.yaml"
    environ = {**os.environ, "SWITCHYARD_CONFIG": str(tiny_file)}
    command = [str(BIN / "serve"), "build", "serve_app:app", "-o", str(out)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, timeout=120)
    built = yaml.safe_load(out.read_text())
    assert built["applications"][0]["import_path"] == "serve_app:app"
    assert [deployment["name"] for deployment in built["applications"][0]["deployments"]] == ["LLM"]
