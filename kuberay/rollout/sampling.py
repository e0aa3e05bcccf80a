"""Reads what the pods of a cluster have counted, through the API server. Edge: HTTP.

Each pod has an HAProxy, which counts the requests that came to this pod, and Ray's exporter, which has vLLM's
histograms of the replica in this pod (up to about 10 s late). ``/metrics`` of the service itself would be those of any
replica: HAProxy chooses. Seen on HAProxy 2.8 and Ray 2.60:

* A replica that is killed breaks its streams off: ``server_aborts_total`` goes up, the responses stay 2xx.
* A client that leaves, or gives up waiting, is no error of the server and is in no count here.
* After a change of the replicas Ray starts a new HAProxy, which counts from 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2

from kuberay.api.client import Api
from kuberay.errors import ApiError
from kuberay.rollout.slo import Sample

HAPROXY_PORT = 9101
RAY_PORT = 8080
_READ_S = 5.0
_AT_A_TIME = 8

_LINE = re.compile(r"^(\w[\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def sample(api: Api, namespace: str, pods: Iterable[str], *, at: float) -> list[Sample]:
    """One sample a pod; pods whose HAProxy does not answer are left out.

    Args:
        pods: names of the pods that get the service's traffic.
        at: the time to write down, s.
    """

    def one(pod: str) -> Sample | None:
        proxy = _scrape(api, namespace, pod, HAPROXY_PORT)
        return None if proxy is None else read(pod, at, proxy, _scrape(api, namespace, pod, RAY_PORT) or "")

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return [found for found in pool.map(one, pods) if found is not None]


def read(pod: str, at: float, haproxy: str, ray: str) -> Sample:
    """A sample out of the two texts in Prometheus' format.

    The backends named ``http-...`` are Serve's applications; probes and requests that match no application are not in
    them. Without vLLM's metrics in ``ray`` (``serving.ray_metrics: false``) the histograms are empty.
    """
    requests = errors = in_flight = since = 0.0
    for name, labels, value in parse(haproxy):
        if name == "haproxy_process_start_time_seconds":
            since = value
        if not labels.get("proxy", "").startswith("http-"):
            continue
        if name == "haproxy_backend_http_responses_total" and labels.get("code") != "1xx":
            requests += value
            errors += value if labels.get("code") == "5xx" else 0
        elif name == "haproxy_backend_server_aborts_total":
            errors += value  # a stream that broke off was counted as 2xx when it began
        elif name == "haproxy_backend_current_sessions":
            in_flight += value
    ttft: dict[float, float] = {}
    e2e: dict[float, float] = {}
    buckets = {
        "ray_vllm_time_to_first_token_seconds_bucket": ttft,
        "ray_vllm_e2e_request_latency_seconds_bucket": e2e,
    }
    for name, labels, value in parse(ray):
        if (histogram := buckets.get(name)) is not None:
            bound = float(labels.get("le", "inf"))
            histogram[bound] = histogram.get(bound, 0.0) + value
    return Sample(pod, at, requests, errors, ttft, e2e, in_flight, since)


def parse(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """The metrics in a text of Prometheus' format: name, labels, value. Lines of another form are passed over."""
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        name, labels, number = found.groups()
        try:
            value = float(number)
        except ValueError:
            continue
        if not math.isnan(value):
            yield name, dict(_LABEL.findall(labels or "")), value


def _scrape(api: Api, namespace: str, pod: str, port: int) -> str | None:
    try:
        with api.forward(pod, port, namespace) as forward:
            answer = httpx2.get(f"{forward.url}/metrics", timeout=_READ_S)
    except (ApiError, OSError, httpx2.HTTPError):
        return None
    return answer.text if answer.status_code == httpx2.codes.OK else None
