"""Alert policies, the dashboard, the notification channel and the budget. Pure.

Metric names: Ray Serve 2.60 and vLLM 0.32 as Ray exports them (``ray_``, colons become underscores), KubeRay 1.7, and
NVIDIA's DCGM exporter as GKE runs it. Managed Service for Prometheus answers the queries.
"""

from __future__ import annotations

from typing import Any

from cluster.config import ClusterConfig
from cluster.model import NAME_LABEL, Key, Wanted, labels_of


def monitoring(config: ClusterConfig) -> list[Wanted]:
    """What watches the service, and what it may cost."""
    items: list[Wanted] = []
    channel = Key("channel", f"{config.name}-email")
    if config.alerts.email:
        spec = {
            "type": "email",
            "displayName": f"{config.name} alerts",
            "labels": {"email_address": config.alerts.email},
            "userLabels": {**labels_of(config.name), NAME_LABEL: channel.name},
        }
        items.append(Wanted(channel, spec))
    for name, title, query, minutes, text in _alerts(config):
        key = Key("alert", f"{config.name}-{name}")
        policy = _policy(config, key.name, title=title, query=query, minutes=minutes, text=text)
        if config.alerts.email:
            policy["notificationChannels"] = [channel.name]
        items.append(Wanted(key, policy, (channel,) if config.alerts.email else ()))
    items.append(Wanted(Key("dashboard", config.name), _dashboard(config)))
    if config.budget_usd:
        items.append(Wanted(Key("budget", config.name), _budget(config)))
    return items


def _alerts(config: ClusterConfig) -> list[tuple[str, str, str, int, str]]:
    """(name, title, PromQL, minutes it must hold, what to do)."""
    alerts, here = config.alerts, f'cluster="{config.name}"'
    return [
        (
            "error-rate",
            f"more than {alerts.error_rate:.1%} of requests fail",
            f"sum(rate(ray_serve_num_http_error_requests_total{{{here}}}[5m])) "
            f"/ sum(rate(ray_serve_num_http_requests_total{{{here}}}[5m])) > {alerts.error_rate}",
            5,
            "Look at the replicas' logs and at the last rollout.",
        ),
        (
            "latency",
            f"one request in twenty takes longer than {alerts.latency_p95_s:g} s",
            f"histogram_quantile(0.95, sum by (le) (rate(ray_vllm_e2e_request_latency_seconds_bucket{{{here}}}[10m]))) "
            f"> {alerts.latency_p95_s}",
            10,
            "Waiting requests mean too few replicas: scaling.max_replicas, or the pool's max_nodes.",
        ),
        (
            "gpu-idle",
            "a GPU is paid for and idle",
            f"max by (Hostname, gpu) (max_over_time(DCGM_FI_DEV_GPU_UTIL{{{here}}}[5m])) < 5",
            alerts.gpu_idle_minutes,
            "Lower scaling.min_replicas, or set a schedule: switchyard cluster schedule.",
        ),
        (
            "rollout-stuck",
            f"a rollout has been under way for {alerts.rollout_minutes} minutes",
            f'max by (namespace, name) (kuberay_service_condition_upgrade_in_progress{{{here},condition="true"}}) > 0',
            alerts.rollout_minutes,
            "Green does not become ready, or the gate holds it. KubeRay never gives up by itself.",
        ),
    ]


def _policy(config: ClusterConfig, name: str, *, title: str, query: str, minutes: int, text: str) -> dict[str, Any]:
    return {
        "displayName": f"{config.name}: {title}",
        "combiner": "OR",
        "enabled": True,
        "userLabels": {**labels_of(config.name), NAME_LABEL: name},
        "documentation": {"content": text, "mimeType": "text/markdown"},
        "conditions": [
            {
                "displayName": title,
                "conditionPrometheusQueryLanguage": {
                    "query": query,
                    "duration": f"{minutes * 60}s",
                    "evaluationInterval": "60s",
                    # The metrics appear with the first replica; the policy is made before.
                    "disableMetricValidation": True,
                },
            }
        ],
    }


def _dashboard(config: ClusterConfig) -> dict[str, Any]:
    here = f'cluster="{config.name}"'
    charts = [
        ("Requests a second", f"sum(rate(ray_serve_num_http_requests_total{{{here}}}[5m]))"),
        ("Failed requests a second", f"sum(rate(ray_serve_num_http_error_requests_total{{{here}}}[5m]))"),
        (
            "Time to first token, p95 (s)",
            f"histogram_quantile(0.95, sum by (le) (rate(ray_vllm_time_to_first_token_seconds_bucket{{{here}}}[5m])))",
        ),
        (
            "Whole request, p95 (s)",
            f"histogram_quantile(0.95, sum by (le) (rate(ray_vllm_e2e_request_latency_seconds_bucket{{{here}}}[5m])))",
        ),
        ("Generated tokens a second", f"sum(rate(ray_vllm_generation_tokens_total{{{here}}}[5m]))"),
        ("Waiting requests", f"sum(ray_vllm_num_requests_waiting{{{here}}})"),
        ("KV cache in use", f"max by (ReplicaId) (ray_vllm_kv_cache_usage_perc{{{here}}})"),
        ("GPU utilization (%)", f"avg by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL{{{here}}})"),
    ]
    tiles = [
        {
            "xPos": 24 * (number % 2),
            "yPos": 16 * (number // 2),
            "width": 24,
            "height": 16,
            "widget": {
                "title": title,
                "xyChart": {"dataSets": [{"timeSeriesQuery": {"prometheusQuery": query}, "plotType": "LINE"}]},
            },
        }
        for number, (title, query) in enumerate(charts)
    ]
    # A position of zero is left out, as the API leaves it out in its answers.
    tiles = [{key: value for key, value in tile.items() if value != 0} for tile in tiles]
    return {
        "displayName": f"Switchyard {config.name}",
        "labels": labels_of(config.name),
        "mosaicLayout": {"columns": 48, "tiles": tiles},
    }


def _budget(config: ClusterConfig) -> dict[str, Any]:
    return {
        "displayName": f"switchyard {config.project} {config.name}",
        "budgetFilter": {"projects": [f"projects/{config.project}"]},
        "amount": {"specifiedAmount": {"currencyCode": "USD", "units": str(config.budget_usd)}},
        "thresholdRules": [{"thresholdPercent": percent} for percent in (0.5, 0.9, 1.0)],
    }
