"""Texts: pods that are not made, or get no node."""

from __future__ import annotations

from kuberay.doctor.causes.texts.steps import BIGGER, FREE, POOLS, WHY
from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "gpu-quota",
        Ranks.SCHEDULING,
        "The Google Cloud project's quota for {gpu} in {region} is used up",
        "GKE's autoscaler asked for a node for {pod} and Compute Engine refused: the quota is exceeded.",
        (
            (
                "See the quota and what uses it",
                "gcloud compute regions describe {region} --project {project} --flatten=quotas "
                "--format='table(quotas.metric,quotas.usage,quotas.limit)'",
            ),
            (
                "Ask for more",
                "open 'https://console.cloud.google.com/iam-admin/quotas?project={project}'",
            ),
            WHY,
        ),
    ),
    Cause(
        "gpu-stockout",
        Ranks.SCHEDULING,
        "Google Cloud has no free {gpu} in {zone} just now",
        "The quota allows the node that {pod} needs, but the zone has no such machine left. It retries by itself.",
        (
            (
                "Let the pool use more zones of the region",
                "gcloud container node-pools update {pool} --cluster {gke_cluster} --location {location} "
                "--project {project} --node-locations {region}-a,{region}-b,{region}-c",
            ),
            (
                "Or use a reservation, or another accelerator (engine.accelerator)",
                "",
            ),
            WHY,
        ),
    ),
    Cause(
        "node-pool-at-maximum",
        Ranks.SCHEDULING,
        "No node with a free {gpu}, and the node pool cannot grow: it is at its maximum",
        "The autoscaler may not add a node for {pod}. During an upgrade the old and the new cluster need GPUs at once.",
        (
            POOLS,
            BIGGER,
            FREE,
            WHY,
        ),
    ),
    Cause(
        "no-free-gpu",
        Ranks.SCHEDULING,
        "No node with a free {gpu}, and nothing adds one",
        "{pod} asks for {gpus} GPU(s); {room}, and no autoscaler reacts to it. During "
        "an upgrade the old and the new cluster need GPUs at once.",
        (
            FREE,
            POOLS,
            WHY,
        ),
    ),
    Cause(
        "gpu-driver-missing",
        Ranks.SCHEDULING,
        "Node {node} has a {gpu} but offers no GPU: its driver or device plugin is not there",
        "Pods that ask for nvidia.com/gpu cannot go to it until the device plugin reports the GPU.",
        (
            (
                "See the driver installer and the device plugin",
                "{kubectl} get pods -n kube-system -o wide --field-selector spec.nodeName={node}",
            ),
            (
                "Let GKE install the driver",
                "gcloud container node-pools update {pool} --cluster {gke_cluster} --location {location} "
                "--project {project} --accelerator type={gpu},count=1,gpu-driver-version=default",
            ),
        ),
    ),
    Cause(
        "no-matching-node",
        Ranks.SCHEDULING,
        "No node or node pool is what the pods ask for: {selector}",
        "The node selector of {pod} matches no node, and no pool could grow one that it would match.",
        (
            (
                "See which labels the nodes have",
                "{kubectl} get nodes -L cloud.google.com/gke-accelerator",
            ),
            POOLS,
            (
                "Or set engine.accelerator to what the cluster has",
                "",
            ),
        ),
    ),
    Cause(
        "untolerated-taint",
        Ranks.SCHEDULING,
        "The nodes that fit have a taint the pods do not tolerate: {taint}",
        "{pod} may not go there. GKE adds the GPU's toleration only to pods that ask for nvidia.com/gpu.",
        (
            (
                "See the taints",
                "{kubectl} get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints",
            ),
            (
                "Add the toleration to the service's kubernetes section, or take the taint off",
                "",
            ),
        ),
    ),
    Cause(
        "node-too-small",
        Ranks.SCHEDULING,
        "No node has the {resource} that {pod} asks for",
        "It asks for {asked}; every node that fits otherwise is too small or too full, and none is added.",
        (
            (
                "Compare with the nodes",
                "{kubectl} describe nodes",
            ),
            (
                "Lower the resources in the service file, or add a pool of larger machines",
                "",
            ),
            WHY,
        ),
    ),
    Cause(
        "claim-pending",
        Ranks.SCHEDULING,
        "The volume claim {claim} is not bound, so {pod} cannot be placed",
        "The pod waits for its volume: no storage class makes one, or none fits.",
        (
            (
                "See why",
                "{kubectl} describe pvc {claim}",
            ),
            (
                "See the storage classes",
                "kubectl get storageclass",
            ),
        ),
    ),
    Cause(
        "claim-missing",
        Ranks.SCHEDULING,
        "There is no volume claim {claim}, which {pod} mounts",
        "A pod is not placed before the claims it names exist.",
        (
            (
                "Make it, or correct the name",
                "{kubectl} get pvc",
            ),
        ),
    ),
    Cause(
        "unschedulable",
        Ranks.SCHEDULING + 5,
        "{pod} gets no node",
        "The scheduler finds no node that fits.",
        (WHY,),
        symptom=True,
    ),
    Cause(
        "namespace-quota",
        Ranks.ADMISSION,
        "The namespace's ResourceQuota {quota} does not allow more pods ({requested} asked, {used} of {limited} used)",
        "The API server refuses the pods KubeRay makes. During an upgrade two clusters count.",
        (
            (
                "See the quota",
                "{kubectl} describe resourcequota {quota}",
            ),
            (
                "Raise it, or lower scaling.max_replicas",
                "{kubectl} edit resourcequota {quota}",
            ),
        ),
    ),
    Cause(
        "service-account-missing",
        Ranks.ADMISSION,
        "There is no ServiceAccount {account}",
        "The pods name it, and the API server makes no pod (KubeRay no autoscaler) without it.",
        (
            (
                "Make it",
                "{kubectl} create serviceaccount {account}",
            ),
            (
                "For Google Cloud's APIs, give that identity its roles again",
                "",
            ),
        ),
    ),
    Cause(
        "pod-security",
        Ranks.ADMISSION,
        "The namespace's Pod Security level '{level}' refuses the pods",
        "The pods do not meet the level set on the namespace.",
        (
            (
                "See the level",
                "{kubectl} get namespace {namespace} --show-labels",
            ),
            (
                "Lower it for this namespace, or correct what the message names",
                "{kubectl} label namespace {namespace} pod-security.kubernetes.io/enforce=baseline --overwrite",
            ),
        ),
    ),
    Cause(
        "pod-refused",
        Ranks.ADMISSION + 5,
        "The API server refuses the pods of {cluster}",
        "KubeRay cannot make them, so nothing can start.",
        (
            (
                "Read what KubeRay was told",
                "{kubectl} describe raycluster {cluster}",
            ),
        ),
    ),
    Cause(
        "namespace-terminating",
        Ranks.PLATFORM,
        "The namespace {namespace} is being deleted",
        "Nothing new can be made in it, and what is there goes away.",
        (
            (
                "See what holds it up",
                "kubectl get namespace {namespace} -o yaml",
            ),
            (
                "Deploy into another namespace",
                "",
            ),
        ),
    ),
)
