"""Texts: Ray's nodes, autoscaler and Serve."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import AUTOSCALER_LOG
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "autoscaler-forbidden",
        Ranks.RAY,
        "Ray's autoscaler may not change the RayCluster: its service account lacks rights",
        "Without get and patch on pods and rayclusters it cannot ask KubeRay for workers, so replicas wait for ever.",
        (
            (
                "See what it may do",
                "{kubectl} auth can-i patch rayclusters.ray.io --as "
                "system:serviceaccount:{namespace}:{service_account}",
            ),
            (
                "KubeRay binds the Role {cluster} to it; see whether that is still so",
                "{kubectl} get role,rolebinding {cluster} -o yaml",
            ),
        ),
    ),
    Cause(
        "autoscaler-crash",
        Ranks.RAY + 1,
        "Ray's autoscaler in the head pod {head} does not run",
        "It is what turns waiting replicas into worker pods; without it no cluster grows or shrinks.",
        (
            AUTOSCALER_LOG,
            (
                "A new head pod starts it anew",
                "{kubectl} delete pod {head}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "resources-infeasible",
        Ranks.RAY,
        "No worker group can hold a replica: it asks for {request}",
        "Ray's autoscaler knows every group's resources, and none has this in one node.",
        (
            (
                "Compare with the groups",
                "{kubectl} get raycluster {cluster} -o "
                "jsonpath='{{.spec.workerGroupSpecs[*].template.spec.containers[0].resources}}'",
            ),
            (
                "Lower engine.cpus_per_worker or the number of GPUs, or give the workers more in the kubernetes "
                "section",
                "",
            ),
        ),
    ),
    Cause(
        "worker-group-at-maximum",
        Ranks.RAY,
        "All {wanted} workers that {group} may have are there, and another replica waits",
        "Serve wants more replicas than the worker group's maxReplicas lets Ray's autoscaler place.",
        (
            (
                "Raise scaling.max_replicas, or lower the load a replica is meant for",
                "",
            ),
            (
                "See the group",
                "{kubectl} get raycluster {cluster} -o yaml",
            ),
        ),
    ),
    Cause(
        "head-unreachable",
        Ranks.RAY + 1,
        "The workers cannot reach the head's GCS on port 6379",
        "They start once it answers; the head itself is ready. A NetworkPolicy or the network is between them.",
        (
            (
                "See the policies",
                "{kubectl} get networkpolicies",
            ),
            (
                "See what the worker says",
                "{kubectl} logs {pod} -c wait-gcs-ready --tail 20",
            ),
            (
                "Allow pods of the same ray.io/cluster to reach each other on all ports",
                "",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "dns-failing",
        Ranks.RAY,
        "The pods cannot resolve names: {what}",
        "Workers find the head by the name of its Service; without DNS no Ray cluster forms.",
        (
            (
                "See the cluster's DNS",
                "kubectl get pods -n kube-system -l k8s-app=kube-dns",
            ),
            (
                "A NetworkPolicy must allow port 53 to kube-system",
                "{kubectl} get networkpolicies",
            ),
        ),
    ),
    Cause(
        "ray-token-mismatch",
        Ranks.RAY,
        "Ray's token is not the same in all pods of {cluster}",
        "Ray refuses what comes with another token. It was changed while pods ran: each reads the Secret at its start.",
        (
            (
                "Let all pods start anew with the present one",
                "{kubectl} delete pods -l ray.io/cluster={cluster}",
            ),
            (
                "Never edit {name}-ray-token while a service runs",
                "",
            ),
        ),
    ),
    Cause(
        "ray-version-mismatch",
        Ranks.RAY,
        "Head and workers run different versions of Ray or Python",
        "Ray nodes join only where both are the same: the pods use different images.",
        (
            (
                "See the images",
                "{kubectl} get pods -l ray.io/cluster={cluster} -o "
                "custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image",
            ),
            (
                "Deploy with one image for all",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "ray-memory-monitor",
        Ranks.MEMORY,
        "Ray ended the replica because {pod}'s memory was nearly full",
        "Its memory monitor acts before the kernel would. Loading weights needs room for them in main memory.",
        (
            (
                "Raise the workers' memory in the service file's kubernetes section",
                "",
            ),
            (
                "See what uses it",
                "{kubectl} top pod {pod} --containers",
            ),
        ),
    ),
    Cause(
        "replica-unplaced",
        Ranks.SERVE,
        "Serve finds no place for a replica of {app}",
        "It waits for a Ray node with {required}; the cluster has {available} free.",
        (
            (
                "See what the autoscaler does",
                "{kubectl} logs {head} -c autoscaler --tail 40",
            ),
            (
                "See the worker pods",
                "{kubectl} get pods -l ray.io/cluster={cluster}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "replica-failing",
        Ranks.SERVE,
        "A replica of {app} fails to start",
        "Serve tries again; the exception it gives is the best hint.",
        (
            (
                "See all of it",
                "{kubectl} exec {head} -c ray-head -- serve status",
            ),
            (
                "Read the replica's log",
                "{kubectl} exec {pod} -c {container} -- sh -c 'tail -n 80 "
                "/tmp/ray/session_latest/logs/serve/replica_*.log'",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "application-unhealthy",
        Ranks.SERVE + 1,
        "Serve application {app} is {status}",
        "Replicas fail their health check, or could not be deployed.",
        (
            (
                "See all of it",
                "{kubectl} exec {head} -c ray-head -- serve status",
            ),
        ),
        symptom=True,
    ),
)
