"""Environment variables Ray and vLLM read when their processes start. Pure: values and reasons, nothing is set here.

The same values go to a laptop (``switchyard serve``, ``serve run``) and into the pods of a RayService, so that what is
tried at home is what runs on GKE. Ray reads them once, at import, in every process; they must be there before ``ray``
starts.
"""

from __future__ import annotations

import math

SERVE_ENV: dict[str, str] = {
    # HAProxy in front, each replica listening on a port of its own: no Python proxy process in a request's way.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # User code on the replica's own event loop, gRPC between deployments, buffered request log, frozen GC heap.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # That also puts a handle's router on its caller's event loop; a Ray task here that waits with `.result()` has none.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    # Ray starts workers at nice 15 (`worker_niceness`), which starves the engine beside anything at nice 0.
    "RAY_worker_niceness": "0",
    # Ray would log to stdout what Serve has in its log files already.
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What Ray does when there is nothing to do takes cores from the engine: the controller looks ten times a second,
    # a replica exports its metrics as often, and each node's agent describes all its processes every 5 s.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
}

ENGINE_ENV: dict[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # Bounds a client could otherwise ask for (vLLM's defaults: 16384, 1024, 128).
    "VLLM_MAX_N_SEQUENCES": "4",
    "VLLM_MAX_COMPLETION_PROMPTS": "16",
    "VLLM_MAX_NUM_BAD_WORDS": "32",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
}

RELEASE_VARIABLE = "SWITCHYARD_RELEASE"
"""In pods: the release's name, which stands for the image and every setting, in place of the config's own hash."""

HANDLE_ENV: dict[str, str] = {
    # Calls go straight to the replica over gRPC, not as actor tasks whose every event is an object of Ray's: a fifth
    # faster for whole answers, half as fast again for streams (docs/performance.md). What runs in the cluster has it.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
}
"""For a Ray driver that asks through a handle from outside of the cluster's processes."""

LAPTOP_ENV: dict[str, str] = {
    # Nothing deregisters replicas from a load balancer here, so a stop need not wait for one.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
}


KEEP_ALIVE_S = 620
"""For so long a client's connection may be without a request (``http_options.keep_alive_timeout_s``).

Who keeps connections must be the first to close them, or sends a request into one that is being closed. Google's load
balancers keep them for 600 s and ask for more than that (https://cloud.google.com/load-balancing/docs/https), the API
server for 90 s, which is Serve's own default.
"""


def haproxy_env(max_request_s: float, keep_alive_s: int = KEEP_ALIVE_S) -> dict[str, str]:
    """What HAProxy must be told so that it does not end a request before the service itself would.

    A change of the replicas is a reload: a new HAProxy takes over, and the old one goes on with the connections it has,
    for as long as this (Ray's default: 120 s), then cuts them. On each it takes one more request: a stream that was
    running comes to its end, its connection waits, and the last request begins. Its ``timeout client`` (3600 s) needs
    nothing: measured, HAProxy 2.8 counts it only while it waits for the client, and Ray sets no ``timeout server``.
    """
    return {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(math.ceil(2 * max_request_s) + keep_alive_s + 5)}
