"""Why Ray's nodes do not find each other, why a replica gets no place. Texts of Ray 2.60, with their paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from kuberay.doctor.causes.patterns import Pattern, pattern
from kuberay.doctor.findings import Evidence, Hit
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts
from kuberay.look.objects import items, number, text
from kuberay.look.redact import shown
from kuberay.names import GATE

PLACING = timedelta(minutes=5)
"""A replica waits so long for a worker pod that the autoscaler has just asked for."""

HEAD_WAIT = timedelta(minutes=3)
"""A worker waits for the head's GCS as long as the head's image is pulled and Ray starts."""


PATTERNS: tuple[Pattern, ...] = (
    # ray/autoscaler/_private/kuberay/node_provider.py KubernetesHttpApiClient, through requests' raise_for_status
    pattern("autoscaler-forbidden", r"403 Client Error: Forbidden for url: \S{1,300}/(?:rayclusters|pods)\S{0,200}"),
    # ray/autoscaler/v2/event_logger.py log_cluster_scheduling_update
    pattern(
        "resources-infeasible",
        r"No available node types can fulfill (?:resource requests|placement group requests[^{]{0,200})"
        r"(?:\{\}[^{]{0,80})? (?P<request>\{[^}\n]{1,200}\})",
    ),
    # gcs_server's and raylet's own; ray/_private/authentication/authentication_constants.py
    pattern(
        "ray-token-mismatch",
        r"InvalidAuthToken|Authentication token is missing or incorrect|authentication token is invalid or incorrect",
    ),
    # ray/_private/utils.py check_version_info
    pattern("ray-version-mismatch", r"Version mismatch: The cluster was started with"),
    # ray/_private (raylet memory_monitor): ray.exceptions.OutOfMemoryError
    pattern("ray-memory-monitor", r"killed due to the node running low on memory|exceeds the memory usage threshold"),
    # glibc, as Python, curl and gRPC print it, about the head's Service
    pattern(
        "dns-failing",
        r"(?P<what>(?:Temporary failure in name resolution|Name or service not known|DNS resolution failed)[^\n]{0,100}"
        r"|Could not (?:resolve host|contact DNS servers)[^\n]{0,100})",
    ),
    # errno ENOSPC as Python prints it; huggingface_hub/file_download.py; raylet file_system_monitor
    pattern("disk-full", r"(?P<what>No space left on device|Not enough free disk space to download)"),
    pattern("disk-full", r"file_system_monitor[^\n]{0,200}(?P<what>is over [\d.]+% full)"),
)  # fmt: skip


def autoscaler(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """The sidecar in the head pod."""
    head = cluster.head
    if head is None:
        return
    for one in head.containers:
        if one.name == "autoscaler" and one.crashed and not one.out_of_memory:
            words = f"{one.reason or one.state} {one.message}, exit code {one.exit_code or one.last_exit_code}"
            evidence = [Evidence(f"Pod {head.name}, container autoscaler", shown(words))]
            for key, log in facts.logs_of(head.name, "autoscaler")[-1:]:
                evidence.append(Evidence(f"log {key}", shown(" / ".join(log.strip().splitlines()[-2:]))))
            yield Hit("autoscaler-crash", cluster.name, head.name, evidence=tuple(evidence))


def joining(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Workers that wait for a head that is there."""
    head = cluster.head
    if head is None or not head.ready:
        return
    for pod in cluster.pods:
        waiting = next((one for one in pod.containers if one.name == "wait-gcs-ready" and one.state == "running"), None)
        if pod.head or waiting is None or facts.age(waiting.since) < HEAD_WAIT:
            continue
        logs = facts.logs_of(pod.name, "wait-gcs-ready")
        # controllers/ray/common/pod.go of KubeRay: what the init container prints
        said = logs[-1][1].strip().splitlines()[-1:] if logs else []
        minutes = int(facts.age(waiting.since).total_seconds() // 60)
        evidence = [Evidence(f"Pod {pod.name}, container wait-gcs-ready", f"running for {minutes} minutes")]
        evidence += [Evidence(f"log {logs[-1][0]}", shown(line)) for line in said]
        yield Hit("head-unreachable", cluster.name, pod.name, {"pod": pod.name}, tuple(evidence))


def replicas(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """What Serve itself says of its replicas: symptoms, mostly."""
    for app in cluster.apps:
        if app.name == GATE or app.healthy:
            continue
        for deployment in app.deployments:
            source = f"Serve deployment {app.name}/{deployment.name} on {cluster.name}"
            evidence = (Evidence(source, shown(f"{deployment.status}: {deployment.message}")),)
            # ray/serve/_private/deployment_state.py check_and_update_replicas
            unplaced = re.search(
                r"to be scheduled\..*Resources required for each replica: (\{.*?\}), total resources available: "
                r"(\{.*?\})",
                deployment.message,
                re.DOTALL,
            )
            values = {"app": f"{app.name}/{deployment.name}"}
            if unplaced:
                values |= {"required": shown(unplaced[1], 120), "available": shown(unplaced[2], 120)}
                evidence += tuple(_demands(facts, cluster))
                early = facts.age(cluster.created) < PLACING or any(pod.pending for pod in cluster.pods)
                yield Hit("replica-unplaced", cluster.name, values=values, evidence=evidence, supporting=early)
                yield from _full_group(cluster, values, evidence)
            # the same file: record_replica_startup_failure, _replica_startup_failing
            elif re.search(r"failed to start|Exception when allocating", deployment.message):
                yield Hit("replica-failing", cluster.name, values=values, evidence=evidence)
        if app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            said = Evidence(f"Serve application {app.name} on {cluster.name}", shown(f"{app.status}: {app.message}"))
            yield Hit(
                "application-unhealthy", cluster.name, values={"app": app.name, "status": app.status}, evidence=(said,)
            )


def _demands(facts: Facts, cluster: Cluster) -> Iterator[Evidence]:
    """What Ray's autoscaler says it has not met: ray/autoscaler/v2/utils.py ClusterStatusFormatter."""
    for key, report in facts.logs_of(cluster.name, "autoscaler"):
        wanted = re.findall(r"^ *(\{[^}\n]{1,200}\}: \d+\+? (?:pending|from)[^\n]{0,80})", report, re.MULTILINE)
        yield from (Evidence(f"Ray's autoscaler ({key}), pending demands", shown(one)) for one in wanted[:2])


def _full_group(cluster: Cluster, values: dict[str, str], evidence: tuple[Evidence, ...]) -> Iterator[Hit]:
    full: list[tuple[str, int]] = []
    for spec in items(cluster.object, "spec", "workerGroupSpecs"):
        name, most = text(spec, "groupName"), number(spec, "maxReplicas")
        ready = [one for one in cluster.pods if one.group == name and one.ready and not one.head]
        if not most or len(ready) < most * number(spec, "numOfHosts", default=1):
            return
        full.append((name, most))
    if full:
        more = {"group": " and ".join(name for name, _ in full), "wanted": str(sum(most for _, most in full))}
        yield Hit("worker-group-at-maximum", cluster.name, values={**values, **more}, evidence=evidence)
