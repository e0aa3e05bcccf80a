"""A real service is validated against itself, and its metrics are read as a rollout's watch reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import httpx2
import psutil
import pytest

from kuberay.rollout import sampling
from kuberay.rollout.validation.checks import Place, gather, warm
from kuberay.rollout.validation.validate import judge
from kuberay.rollout.validation.verdict import Kind, lines
from tests.live.conftest import Service, wait_until
from tests.services import deployed

pytestmark = pytest.mark.live


def place(service: Service, label: str) -> Place:
    about = service.client.get(f"{service.url}/release").json()
    return Place(service.url, label, about["release"], about["model"])


def test_a_service_beside_itself_passes_every_check_within_half_a_minute(tiny: Service) -> None:
    settings = deployed("e2e.yaml").rollout
    green, blue = place(tiny, "green"), place(tiny, "blue")
    warmed = warm(settings, green)
    assert (warmed.sent, warmed.failed) == (8, 0)
    evidence = dataclasses.replace(gather(settings, green, blue), ready=(1, 1))
    verdict = judge(evidence, settings, kind=Kind.SAME_MODEL, at="")
    assert verdict.passed, "\n".join(lines(verdict))
    passed = [finding.check for finding in verdict.findings if finding.outcome.value == "pass"]
    assert passed == ["contract", "streaming", "answers", "latency", "soak", "capacity"]
    (answers,) = (finding.figures for finding in verdict.findings if finding.check == "answers")
    assert answers["logprob_drift_nats"] == pytest.approx(0, abs=1e-3)
    assert evidence.seconds < 30


def metrics_of(service: Service, name: str) -> str:
    """The text with a metric of that name, from whichever port below the service has it; '' where none has."""
    ports: set[int] = set()
    for process in [service.listener(), *psutil.Process(service.process.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # some live for a moment only
            if process.name() == "haproxy" or "Dashboard" in process.name():
                listening = (c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
                ports |= {connection.laddr.port for connection in listening}
    for port in ports - {httpx2.URL(service.url).port}:  # asked there, it would count itself
        with contextlib.suppress(httpx2.HTTPError, ValueError):
            text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
            if name in text:
                return text
    return ""


def test_the_watch_finds_what_it_counts_in_the_metrics(tiny: Service) -> None:
    def read() -> sampling.Sample:
        haproxy = metrics_of(tiny, "haproxy_backend_http_responses_total")
        ray = metrics_of(tiny, "ray_vllm_time_to_first_token_seconds_bucket")
        return sampling.read("pod", 0, haproxy, ray)

    before = read()
    for _ in range(3):
        assert tiny.client.post(f"{tiny.url}/generate", json={"prompt": "Hi", "max_tokens": 2}).is_success
    after = read()
    assert after.since == before.since > 0
    assert after.requests - before.requests == 3
    assert after.errors == before.errors

    def as_the_engine_counts() -> bool:
        now = read()
        return (now.ttft_buckets.get(math.inf), now.e2e_buckets.get(math.inf)) == (
            tiny.metric("vllm:time_to_first_token_seconds_count"),
            tiny.metric("vllm:e2e_request_latency_seconds_count"),
        )

    # Ray's exporter is told every ten seconds or so, and the canary is counted too.
    wait_until(as_the_engine_counts, 60, "Ray's exporter to say what vLLM counts")


def test_ray_knows_its_haproxy_by_its_command_line(tiny: Service) -> None:
    """It sends a retired process its signal only where it recognises it; this is counted by the same rule."""
    name = "ray_serve_haproxy_process_count"

    def counted() -> list[str]:
        lines = metrics_of(tiny, name).splitlines()
        return [line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name}{{")]

    wait_until(lambda: counted() == ["1.0"], 60, lambda: f"one HAProxy to be counted, {counted()}")
