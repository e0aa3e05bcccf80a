"""Steps that several causes share."""

from __future__ import annotations

POOLS = (
    "See the pools and their limits",
    "gcloud container node-pools list --cluster {gke_cluster} --location {location} --project {project}",
)
WHY = (
    "Read the autoscaler's own reasons",
    "{kubectl} describe pod {pod}",
)
BIGGER = (
    "Raise the pool's limit",
    "gcloud container clusters update {gke_cluster} --location {location} --project {project} "
    "--enable-autoscaling --node-pool {pool} --max-nodes {more}",
)
FREE = (
    "Free a GPU: see which pods hold them",
    "{kubectl} get pods -A -o wide --field-selector status.phase=Running",
)
DESCRIBE = (
    "Read the kubelet's words",
    "{kubectl} describe pod {pod}",
)
DEPLOY = (
    "Then apply it as a new release of {name}",
    "switchyard deploy -f {file}",
)
LAST_LOG = (
    "Read what it said last",
    "{kubectl} logs {pod} -c {container}{previous} --tail 80",
)
AUTOSCALER_LOG = (
    "Read the autoscaler's log",
    "{kubectl} logs {head} -c autoscaler --tail 80",
)
LOG = (
    "Read the engine's own log",
    "{kubectl} exec {pod} -c {container} -- sh -c 'tail -n 80 /tmp/ray/session_latest/logs/worker-*.err'",
)
TOKEN = (
    "Give the service a token that may read it",
    "{kubectl} create secret generic hf-secret --from-literal=hf_api_token=$HF_TOKEN --dry-run=client -o yaml | "
    "{kubectl} apply -f -",
)
