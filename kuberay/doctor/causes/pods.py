"""Why pods that have a node do not run: images, secrets, volumes, memory, probes, the node itself. The kubelet's texts.

Paths are those of k8s.io/kubernetes 1.36 and containerd 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from kuberay.doctor.findings import Evidence, Hit
from kuberay.look.clusters import Cluster
from kuberay.look.facts import Facts
from kuberay.look.objects import Container, Pod, items, label, text
from kuberay.look.redact import shown
from kuberay.names import GATE
from kuberay.snapshot import Object, condition_of

PATIENCE = timedelta(seconds=60)


# pkg/kubelet/images/types.go: the reasons of a container that waits for its image.
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")

# containerd core/remotes/docker: what a registry's refusal looks like. In the order they are tried in: the text for
# a wrong architecture ends with "not found" too.
_PULLS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("image-wrong-architecture", re.compile(r"no match for platform in manifest|no matching manifest for")),
    ("image-name-invalid", re.compile(r"InvalidImageName|couldn't parse image|invalid reference format")),
    ("image-not-preloaded", re.compile(r"ErrImageNeverPull|not present with pull policy of Never")),
    (
        "image-unauthorized",
        re.compile(r"\b40[13]\b|unauthorized|denied|authorization failed|no basic auth credentials", re.IGNORECASE),
    ),
    ("image-not-found", re.compile(r"not found|NotFound|manifest unknown|name unknown", re.IGNORECASE)),
    (
        "image-registry-unreachable",
        re.compile(
            r"no such host|i/o timeout|connection refused|TLS handshake|deadline exceeded|network is unreachable"
        ),
    ),
)


def starting(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Containers that were never created."""
    for pod in cluster.pods:
        if pod.settled or pod.failed:
            continue
        for container in pod.containers:
            if container.reason in _IMAGE_REASONS:
                yield _image(facts, cluster, pod, container)
            elif container.reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
                yield _configuration(cluster, pod, container)
        if all(one.state in ("waiting", "") and one.reason not in _IMAGE_REASONS for one in pod.containers):
            yield from _mounts(facts, cluster, pod)


def pull_cause(words: str) -> str:
    """Why an image was not pulled, by what the kubelet and the registry say."""
    return next((cause for cause, regex in _PULLS if regex.search(words)), "image-pull-failing")


def _image(facts: Facts, cluster: Cluster, pod: Pod, container: Container) -> Hit:
    # A pod that backs off no longer says why; another with the same image may.
    alike = [pod, *(one for one in cluster.pods if any(each.image == container.image for each in one.containers))]
    told = [
        one
        for each in alike
        for one in reversed(facts.events("Pod", each.name, "Failed", "ErrImageNeverPull"))
        if container.image in one.note
    ][:1]
    words = "\n".join([container.reason, container.message, *(one.note for one in told)])
    cause = pull_cause(words)
    evidence = [_state(pod, container), *(Evidence(one.source, shown(one.note)) for one in told)]
    values = {"image": container.image, "repository": container.image.split("@")[0].rsplit(":", 1)[0],
              "arch": _architecture(facts, pod)}  # fmt: skip
    return Hit(cause, cluster.name, pod.name, {**_who(pod, container), **values}, tuple(evidence))


def _configuration(cluster: Cluster, pod: Pod, container: Container) -> Hit:
    words, values = container.message, _who(pod, container)
    evidence = (_state(pod, container),)
    # pkg/kubelet/kubelet_pods.go makeEnvironmentVariables
    if key := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) [^/\s]+/(\S+)", words):
        kind = key[2].lower()
        return Hit("secret-key-missing", cluster.name, pod.name,
                   {**values, "key": key[1], "kind": kind, "secret": key[3]}, evidence)  # fmt: skip
    if missing := re.search(r'secret "([^"]+)" not found', words):
        return Hit(_secret_cause(missing[1]), cluster.name, pod.name,
                   {**values, "secret": missing[1], "key": "hf_api_token" if missing[1] == "hf-secret" else "KEY"},
                   evidence)  # fmt: skip
    if missing := re.search(r'configmap "([^"]+)" not found', words):
        return Hit("configmap-missing", cluster.name, pod.name, {**values, "configmap": missing[1]}, evidence)
    if "exec format error" in words:
        return Hit("image-wrong-architecture", cluster.name, pod.name,
                   {**values, "image": container.image}, evidence)  # fmt: skip
    return Hit("container-waits", cluster.name, pod.name, {**values, "what": shown(words, 120)}, evidence)


def _mounts(facts: Facts, cluster: Cluster, pod: Pod) -> Iterator[Hit]:
    for one in facts.events("Pod", pod.name, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")[-1:]:
        values, evidence = {"pod": pod.name, "node": pod.node}, (Evidence(one.source, shown(one.note)),)
        secret = re.search(r'secret "([^"]+)" not found|secret \S*?/?([\w.-]+) not registered', one.note)
        configmap = re.search(r'configmap "([^"]+)" not found', one.note)
        # pkg/volume/secret/secret.go, pkg/volume/configmap/configmap.go
        absent = re.search(r'volume "([^"]+)" : references non-existent (secret|config) key: (\S+)', one.note)
        if one.reason == "FailedCreatePodSandBox":
            cause, more = "sandbox-failed", {}
        elif absent:
            kind = "secret" if absent[2] == "secret" else "configmap"
            named = _volume(pod, absent[1])
            whose = text(named, "secret", "secretName") or text(named, "configMap", "name") or kind.upper()
            cause, more = "secret-key-missing", {"key": absent[3], "kind": kind, "secret": whose}
        elif secret and secret[1]:
            cause, more = _secret_cause(secret[1]), {"secret": secret[1], "key": "KEY"}
        elif configmap:
            cause, more = "configmap-missing", {"configmap": configmap[1]}
        else:
            cause, more = "volume-not-mounted", {"what": shown(one.note, 120)}
        kept = text(facts.named("ConfigMap" if configmap else "Secret", (configmap or secret or ["", ""])[1]), "kind")
        if facts.age(pod.created) < PATIENCE or (kept and facts.age(one.last) > PATIENCE):
            return  # it came after the pod; the kubelet tries again
        yield Hit(cause, cluster.name, pod.name, {**values, **more}, evidence)


def _volume(pod: Pod, name: str) -> Object | None:
    return next((one for one in items(pod.object, "spec", "volumes") if text(one, "name") == name), None)


def _secret_cause(secret: str) -> str:
    return "ray-token-missing" if secret.endswith("-ray-token") else "secret-missing"


# ray-operator controllers/ray/raycluster_controller.go shouldDeletePod. With Ray's autoscaler v2 pods have the restart
# policy Never; KubeRay deletes one whose Ray container ended and makes another, so that this event is all that is left.
_REPLACED = re.compile(
    r"Deleted (?P<role>head|worker) Pod \S{1,70}/(?P<pod>[\w.-]{1,253});.{0,300}Ray container terminated status: "
    r"&ContainerStateTerminated\{ExitCode:(?P<code>\d{1,4}),.{0,200}?Reason:(?P<reason>\w{0,60}),"
)
REMEMBERED = timedelta(minutes=15)


def replaced(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Containers that ended, and took their pods with them."""
    told: set[str] = set()
    for one in reversed(facts.events("RayCluster", cluster.name, "DeletedHeadPod", "DeletedWorkerPod")):
        found = _REPLACED.search(one.note)
        if found is None or found["code"] == "0" or facts.age(one.last) > REMEMBERED:
            continue
        head, killed = found["role"] == "head", found["reason"] == "OOMKilled"
        container = f"ray-{found['role']}"
        alike = next((pod for pod in cluster.pods if pod.head == head), None)
        limit = _limit(alike, container) if alike else "unknown"
        cause = ("head-out-of-memory" if head else "out-of-memory") if killed else "container-crash"
        # Commands are about the one that is there now: of the other there is no log any more.
        shows = alike.name if alike else found["pod"]
        values = {"pod": shows, "container": container, "code": found["code"], "limit": limit}
        unseen = () if killed else (f"the log of {found['pod']}, which went with it",)
        ended = f"KubeRay deleted {found['pod']}: its container ended, {found['reason']}, exit code {found['code']}"
        # The newest is enough to read; the others are counted.
        evidence = () if cause in told else (Evidence(one.source, ended),)
        told.add(cause)
        yield Hit(cause, cluster.name, found["pod"], values, evidence, unseen)


def failing(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """Containers that ran and ended, and pods whose probes fail."""
    for pod in cluster.pods:
        if pod.settled:
            continue
        for container in pod.containers:
            values = _who(pod, container)
            evidence = (_state(pod, container), *_last_words(facts, pod, container))
            if container.out_of_memory:
                cause = "head-out-of-memory" if pod.head and container.name != "autoscaler" else "out-of-memory"
                yield Hit(cause, cluster.name, pod.name, {**values, "limit": _limit(pod, container.name)}, evidence)
            elif container.crashed:
                if any("exec format error" in one.text for one in evidence):
                    values["arch"] = _architecture(facts, pod)
                    yield Hit("image-wrong-architecture", cluster.name, pod.name, values, evidence)
                    continue
                # pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodActions
                kills = [one for one in facts.events("Pod", pod.name, "Killing") if "liveness probe" in one.note]
                cause = "liveness-kills" if kills else "container-crash"
                told = tuple(Evidence(one.source, shown(one.note)) for one in kills[-1:])
                code = container.exit_code or container.last_exit_code
                unseen = () if len(evidence) > 1 else (f"the log of {pod.name}, container {container.name}",)
                yield Hit(cause, cluster.name, pod.name, {**values, "code": str(code)}, (*told, *evidence), unseen)
        probes = [one for one in facts.events("Pod", pod.name, "Unhealthy") if "Readiness" in one.note]
        if probes and pod.phase == "Running" and not pod.ready and facts.age(pod.created) > PATIENCE:
            # Until the model is loaded this is how it should be.
            loading = not pod.head and not any(app.name != GATE and app.healthy for app in cluster.apps)
            told = (Evidence(probes[-1].source, shown(probes[-1].note)),)
            yield Hit("readiness-failing", cluster.name, pod.name, {"pod": pod.name}, told, supporting=loading)


def nodes(facts: Facts, cluster: Cluster) -> Iterator[Hit]:
    """What the node did to a pod."""
    for pod in cluster.pods:
        node = facts.named("Node", pod.node) if pod.node else None
        values = {"pod": pod.name, "node": pod.node, "spot": _spot(facts, pod)}
        ended = Evidence(f"Pod {pod.name}, {pod.reason or pod.phase}", shown(pod.message or pod.reason or pod.phase))
        disruption = condition_of(pod.object, "DisruptionTarget")
        # pkg/kubelet/eviction/helpers.go
        if pod.failed and pod.reason == "Evicted":
            if re.search(r"ephemeral.storage|EmptyDir|inodes", pod.message):
                yield Hit("disk-full", cluster.name, pod.name, {**values, "what": shown(pod.message, 120)}, (ended,))
            else:
                resource = (re.search(r"low on resource: (\w+)", pod.message) or ["", "memory"])[1]
                yield Hit("node-pressure", cluster.name, pod.name, {**values, "resource": resource}, (ended,))
        # pkg/kubelet/nodeshutdown; GKE's spot preemption arrives as a shutdown
        elif pod.failed and (
            pod.reason in ("NodeShutdown", "Terminated", "Shutdown", "NodeLost", "Preempting")
            or disruption.get("status") == "True"
        ):
            yield Hit("node-lost", cluster.name, pod.name, values, (ended,))
        elif pod.node and not pod.settled:
            ready = condition_of(node, "Ready")
            if node is not None and ready and ready.get("status") != "True":
                why = Evidence(f"Node {pod.node}, condition Ready", shown(text(ready, "message") or "not ready"))
                yield Hit("node-lost", cluster.name, pod.name, values, (why,))
    for name in sorted({one.node for one in cluster.pods if one.node}):
        for kind, resource in (("DiskPressure", "disk"), ("MemoryPressure", "memory"), ("PIDPressure", "processes")):
            found = condition_of(facts.named("Node", name), kind)
            if found.get("status") == "True":
                pod = next(one for one in cluster.pods if one.node == name)
                told = Evidence(f"Node {name}, condition {kind}", shown(text(found, "message") or "True"))
                cause = "disk-full" if resource == "disk" else "node-pressure"
                values = {"pod": pod.name, "node": name, "resource": resource, "what": f"node {name}"}
                yield Hit(cause, cluster.name, name, values, (told,))


def _who(pod: Pod, container: Container) -> dict[str, str]:
    return {"pod": pod.name, "container": container.name, "node": pod.node or "its node", "image": container.image,
            "previous": " --previous" if container.restarts else ""}  # fmt: skip


def _state(pod: Pod, container: Container) -> Evidence:
    words = [container.reason or container.state, container.message]
    if container.last_reason:
        words.append(
            f"(last: {container.last_reason}, exit code {container.last_exit_code}, {container.restarts} restarts)"
        )
    elif container.exit_code:
        words.append(f"(exit code {container.exit_code})")
    return Evidence(f"Pod {pod.name}, container {container.name}", shown(" ".join(one for one in words if one)))


def _last_words(facts: Facts, pod: Pod, container: Container) -> list[Evidence]:
    for key, log in reversed(facts.logs_of(pod.name, container.name)):
        if lines := [line for line in log.splitlines() if line.strip()]:
            return [Evidence(f"log {key}", shown(" / ".join(lines[-3:])))]
    return []


def _limit(pod: Pod, container: str) -> str:
    found = (one for one in items(pod.object, "spec", "containers") if text(one, "name") == container)
    return next((limit for one in found if (limit := text(one, "resources", "limits", "memory"))), "none")


def _architecture(facts: Facts, pod: Pod) -> str:
    return label(facts.named("Node", pod.node), "kubernetes.io/arch") or "unknown"


def _spot(facts: Facts, pod: Pod) -> str:
    node = facts.named("Node", pod.node)
    selector = text(pod.object, "spec", "nodeSelector", "cloud.google.com/gke-spot")
    return " (a spot machine)" if "true" in (label(node, "cloud.google.com/gke-spot"), selector) else ""
