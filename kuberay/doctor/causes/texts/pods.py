"""Texts: pods that have a node and do not run."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import DEPLOY, DESCRIBE, LAST_LOG
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "ray-token-missing",
        Ranks.STARTING,
        "The Secret {secret} with Ray's token is not there",
        "Head, workers and autoscaler authenticate to each other with its key auth_token and do not start without it.",
        (
            (
                "Make it again (all pods of the service must then be replaced)",
                "{kubectl} create secret generic {secret} --from-literal=auth_token=$(openssl rand -hex 32)",
            ),
        ),
    ),
    Cause(
        "secret-missing",
        Ranks.STARTING,
        "The Secret {secret} that {pod} needs is not there",
        "The kubelet does not start a container whose variables or files come from a Secret that is missing.",
        (
            (
                "See which there are",
                "{kubectl} get secrets",
            ),
            (
                "Make it with the keys the service needs (hf-secret: hf_api_token)",
                "{kubectl} create secret generic {secret} --from-literal={key}=VALUE",
            ),
        ),
    ),
    Cause(
        "secret-key-missing",
        Ranks.STARTING,
        "The {kind} {secret} has no key {key}",
        "{pod} takes a variable or a file from it, and the kubelet does not start the container without it.",
        (
            (
                "See its keys",
                "{kubectl} describe {kind} {secret}",
            ),
            (
                "Add the key",
                "{kubectl} edit {kind} {secret}",
            ),
        ),
    ),
    Cause(
        "configmap-missing",
        Ranks.STARTING,
        "The ConfigMap {configmap} that {pod} needs is not there",
        "A release's configuration comes from its ConfigMap; without it no pod of that release starts.",
        (
            (
                "See which there are",
                "{kubectl} get configmaps",
            ),
            (
                "Deploy the release again: it makes the ConfigMap first",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "volume-not-mounted",
        Ranks.STARTING,
        "A volume of {pod} cannot be mounted: {what}",
        "The container is not created before all its volumes are there.",
        (
            DESCRIBE,
            (
                "See the claims",
                "{kubectl} get pvc",
            ),
        ),
    ),
    Cause(
        "sandbox-failed",
        Ranks.STARTING,
        "Node {node} cannot set up the pod's network or sandbox",
        "No container of {pod} is created before that.",
        (
            DESCRIBE,
            (
                "See the node's own pods",
                "{kubectl} get pods -n kube-system -o wide --field-selector spec.nodeName={node}",
            ),
        ),
    ),
    Cause(
        "head-out-of-memory",
        Ranks.MEMORY,
        "The head pod {pod} runs out of memory (limit {limit})",
        "Container {container} was killed. While the head is down nothing is scheduled and KubeRay waits for it.",
        (
            (
                "Raise the head's memory in the service file's kubernetes section",
                "",
            ),
            DEPLOY,
            LAST_LOG,
        ),
    ),
    Cause(
        "out-of-memory",
        Ranks.MEMORY,
        "Worker {pod} runs out of memory (limit {limit})",
        "Container {container} was killed. Loading weights needs room for them in main memory, not only on the GPU.",
        (
            (
                "Raise the workers' memory in the service file's kubernetes section",
                "",
            ),
            DEPLOY,
            LAST_LOG,
        ),
    ),
    Cause(
        "disk-full",
        Ranks.NODE,
        "The disk is full: {what}",
        "Weights, images and Ray's files share the node's disk; when it is full, downloads fail and pods are evicted.",
        (
            (
                "See how full it is",
                "{kubectl} exec {pod} -c {container} -- df -h / /tmp",
            ),
            (
                "Use larger boot disks in the node pool, raise the ephemeral-storage limit, or load weights from "
                "a bucket",
                "",
            ),
        ),
    ),
    Cause(
        "node-pressure",
        Ranks.NODE,
        "Node {node} is short of {resource} and evicts pods",
        "The kubelet ends pods to keep the node alive, and takes no new ones.",
        (
            (
                "See the node",
                "kubectl describe node {node}",
            ),
            (
                "Give the pods requests equal to their limits, or use larger nodes",
                "",
            ),
        ),
    ),
    Cause(
        "node-lost",
        Ranks.NODE,
        "Node {node} under {pod} is gone or not ready{spot}",
        "The pods on it are lost; KubeRay makes new ones, which need a new node and load the model again.",
        (
            (
                "See the node",
                "kubectl get node {node}",
            ),
            (
                "For fewer of these keep an on-demand group beside spot",
                "",
            ),
        ),
    ),
    Cause(
        "liveness-kills",
        Ranks.CRASH,
        "The kubelet restarts {container} of {pod} because its liveness probe fails",
        "A busy or frozen Ray process does not answer in time, and is killed for it.",
        (
            LAST_LOG,
            (
                "Give it more CPU, or a longer probe timeout",
                "",
            ),
        ),
    ),
    Cause(
        "container-crash",
        Ranks.CRASH,
        "Container {container} of {pod} ends again and again (exit code {code})",
        "Nothing known is in its log's end; what stands there is the best hint.",
        (
            LAST_LOG,
            DESCRIBE,
        ),
        symptom=True,
    ),
    Cause(
        "container-waits",
        Ranks.CRASH,
        "Container {container} of {pod} does not start: {what}",
        "The kubelet cannot create it.",
        (DESCRIBE,),
        symptom=True,
    ),
    Cause(
        "readiness-failing",
        Ranks.TRAFFIC,
        "{pod} runs but is not ready: its readiness probe fails",
        "The Service sends no requests to it. HAProxy on the pod answers /-/healthz only once a replica can serve.",
        (
            (
                "Ask it yourself",
                '{kubectl} exec {pod} -c {container} -- python3 -c "import urllib.request as u; '
                "print(u.urlopen('http://localhost:8000/-/healthz').read())\"",
            ),
            DESCRIBE,
        ),
        symptom=True,
    ),
)
