from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuberay.errors import NotFound
from kuberay.rollout import sampling, slo
from kuberay.rollout.slo import Sample, at_least, judge, quantile, traffic
from kuberay.rollout_config import Watch

DATA = Path(__file__).parent / "data" / "metrics"
LIMITS = Watch(min_requests=50, max_error_rate=0.02, max_ttft_p99_ratio=2)
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, math.inf)


def histogram(times: Sequence[float]) -> dict[float, float]:
    return {bound: float(sum(time <= bound for time in times)) for bound in BOUNDS}


def period(times: Sequence[float], errors: float = 0, *, pod: str = "a", base: float = 1000) -> list[Sample]:
    """Two samples between which one pod answered so many requests in these times, after ``base`` slow ones before."""
    old = histogram([9.0] * int(base))
    new = {bound: old[bound] + count for bound, count in histogram(times).items()}
    return [Sample(pod, 0, base, base / 2, old, old), Sample(pod, 60, base + len(times), base / 2 + errors, new, new)]


GOOD = period([0.2] * 200)


def test_all_well() -> None:
    health = judge(GOOD, period([0.2] * 100), LIMITS)
    assert (health.ok, health.judged) == (True, True)
    assert health.figures["requests"] == 100
    assert health.figures["error_rate"] == 0
    assert 0.1 < health.figures["ttft_p99_s"] <= 0.25
    assert health.text == "0 of 100 requests failed, first tokens within 0.248 s (p99), 0.248 s before"


def test_what_a_pod_had_counted_before_says_nothing() -> None:
    """Green's validation and warm-up, and blue's whole life."""
    assert traffic(period([0.2] * 3, 1)) == traffic(period([0.2] * 3, 1, base=0))


def test_errors_are_a_breach() -> None:
    health = judge(GOOD, period([0.2] * 100, errors=10), LIMITS)
    assert (health.ok, health.judged) == (False, True)
    assert health.text == "10 of 100 requests failed (10 %, allowed: 2 %)"


def test_errors_within_what_chance_can_do_are_none() -> None:
    assert judge(GOOD, period([0.2] * 100, errors=3), LIMITS).ok
    assert not judge(GOOD, period([0.2] * 10_000, errors=300), LIMITS).ok


def test_slow_first_tokens_are_a_breach() -> None:
    health = judge(GOOD, period([0.2] * 90 + [0.9] * 10), LIMITS)
    assert not health.ok
    assert health.text.startswith("10 % of the first tokens took longer than 0.5 s; 99 % came within 0.248 s before")


def test_slower_within_the_bound_is_none() -> None:
    assert judge(GOOD, period([0.4] * 100), LIMITS).ok
    assert judge(GOOD, period([0.2] * 98 + [0.9] * 2), LIMITS).ok


@pytest.mark.parametrize("before", [[], period([0.1] * 10)])
def test_without_enough_before_latency_is_not_judged(before: list[Sample]) -> None:
    assert judge(before, period([2.0] * 100), LIMITS).ok
    assert not judge(before, period([2.0] * 100, errors=50), LIMITS).ok


def test_too_few_requests_are_not_judged() -> None:
    health = judge(GOOD, period([2.0] * 49, errors=49), LIMITS)
    assert (health.ok, health.judged) == (True, False)
    assert health.text == "49 requests since the switch; 50 are needed to judge by"
    assert judge(GOOD, [], LIMITS).judged is False


def test_wrong_answers_are_a_breach_however_few() -> None:
    health = judge(GOOD, [], LIMITS, ["prompt 1: a", "prompt 2: b", "prompt 3: c", "prompt 4: d"])
    assert (health.ok, health.judged) == (False, True)
    assert health.text == "wrong answers: prompt 1: a; prompt 2: b; prompt 3: c; and 1 more"


def test_a_new_haproxy_counts_from_nothing() -> None:
    samples = [Sample("a", 0, 100, 9, since=1), Sample("a", 1, 120, 9, since=1), Sample("a", 2, 125, 4, since=2)]
    assert (traffic(samples).requests, traffic(samples).errors) == (20 + 125, 4)
    # Also where nothing says that it is new.
    samples = [Sample("a", 0, 100, 9), Sample("a", 1, 30, 9)]
    assert (traffic(samples).requests, traffic(samples).errors) == (30, 9)


def test_series_of_dead_replicas_that_are_dropped_make_no_requests() -> None:
    one, two = histogram([0.2] * 50), histogram([0.2] * 60)
    less = histogram([0.2] * 20)
    samples = [Sample("a", at, 0, 0, ttft) for at, ttft in enumerate([one, two, less, {}, histogram([0.2] * 25)])]
    assert traffic(samples).ttft[math.inf] == 10 + 5


def test_pods_come_and_go() -> None:
    samples = [*period([0.2] * 10), *period([0.2] * 5, 2, pod="b"), Sample("c", 60, 7, 7)]
    assert (traffic(samples).requests, traffic(samples).errors) == (15, 2)
    assert judge([], samples, LIMITS).figures["in_flight"] == 0
    assert (
        judge([], [Sample("a", 0, 0, 0, in_flight=9), Sample("b", 1, 0, 0, in_flight=2)], LIMITS).figures["in_flight"]
        == 2
    )  # a is gone


@given(st.lists(st.floats(0.001, 3), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_it_is_of(times: list[float], q: float) -> None:
    value = sorted(times)[math.ceil(q * len(times)) - 1]
    high = min(bound for bound in BOUNDS if value <= bound)
    low = max((bound for bound in (0.0, *BOUNDS) if bound < high), default=0.0)
    found = quantile(histogram(times), q)
    assert low <= found <= (high if math.isfinite(high) else low)


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert math.isnan(quantile({}, 0.99))
    assert math.isnan(quantile(histogram([]), 0.99))


@given(st.integers(0, 500), st.integers(1, 500))
def test_what_is_shown_is_never_more_than_what_was_seen(count: int, more: int) -> None:
    of = count + more
    assert 0 <= at_least(count, of) <= count / of
    assert at_least(count, of) <= at_least(10 * count, 10 * of) + 1e-12


@given(st.integers(1, 500), st.integers(0, 500))
def test_what_is_shown_is_wilsons_lower_bound(count: int, more: int) -> None:
    """The share from which what was seen is 1.645 standard deviations away: its definition."""
    share, bound = count / (count + more), at_least(count, count + more)
    assert share - bound == pytest.approx(1.6448536 * math.sqrt(bound * (1 - bound) / (count + more)), rel=1e-6)


def counts(samples: Mapping[float, float]) -> list[float]:
    return [samples[bound] for bound in sorted(samples)]


def test_what_a_real_service_says() -> None:
    """HAProxy 2.8.25, Ray 2.60, vLLM 0.32: two replicas were killed, each with four streams; a third one runs."""
    sample = sampling.read("pod", 7, (DATA / "haproxy.txt").read_text(), (DATA / "ray.txt").read_text())
    assert (sample.pod, sample.at, sample.since) == ("pod", 7, 1795339718)
    assert (sample.requests, sample.errors, sample.in_flight) == (8, 4, 1)
    for buckets in (sample.ttft_buckets, sample.e2e_buckets):
        assert buckets[math.inf] == 371  # 366 of a replica that is dead by now, 5 of the one that was alive
        assert counts(buckets) == sorted(counts(buckets))


def test_without_rays_metrics_requests_are_counted_all_the_same() -> None:
    sample = sampling.read("pod", 0, (DATA / "haproxy.txt").read_text(), "")
    assert (sample.requests, sample.ttft_buckets) == (8, {})


def test_the_formats_odd_lines() -> None:
    text = '# HELP a b\na 1\nb{x="1",y="a \\"b\\" {c}, d"} 2.5e+00\nc{le="+Inf"} +Inf\nd NaN\ne x\n\nbroken{ 1 2 3\n'
    assert list(sampling.parse(text)) == [
        ("a", {}, 1.0),
        ("b", {"x": "1", "y": 'a \\"b\\" {c}, d'}, 2.5),
        ("c", {"le": "+Inf"}, math.inf),
    ]


class Pods:
    """An API server whose pods' ports are reached at an address, where they are reached at all."""

    def __init__(self, urls: Mapping[tuple[str, int], str]) -> None:
        self.urls = urls

    @contextlib.contextmanager
    def forward(self, pod: str, port: int, namespace: str) -> Iterator[Any]:
        if (pod, port) not in self.urls:
            raise NotFound(f"no pod {pod} in {namespace}")
        yield SimpleNamespace(url=self.urls[pod, port])


@contextlib.contextmanager
def telling(text: str, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_pods_that_do_not_answer_are_left_out() -> None:
    haproxy, ray = (DATA / "haproxy.txt").read_text(), (DATA / "ray.txt").read_text()
    with telling(haproxy) as proxy, telling(ray) as exporter, telling("", 503) as ill:
        pods: Any = Pods(
            {
                ("a", 9101): proxy,
                ("a", 8080): exporter,
                ("b", 9101): proxy,
                ("c", 9101): ill,
                ("d", 9101): "http://127.0.0.1:1",
            }
        )
        found = sampling.sample(pods, "default", ["a", "b", "c", "d", "gone"], at=5)
    assert [(item.pod, item.at, item.requests, bool(item.ttft_buckets)) for item in found] == [
        ("a", 5, 8, True),
        ("b", 5, 8, False),
    ]


def test_samples_survive_being_kept_with_a_revision() -> None:
    buckets = {0.1: 3.0, math.inf: 4.0}
    samples = [Sample("a", 1.5, 10, 1, buckets, buckets, 2, 99.5), Sample("b", 2, 0, 0)]
    assert slo.samples_from(slo.samples_text(samples)) == samples
    for text in ("", "{}", "[1]", '[{"pod": "a"}]', "not JSON"):
        assert slo.samples_from(text) == []
