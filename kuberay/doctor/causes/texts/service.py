"""Texts: the RayService, its operator, its Services, upgrades."""

from __future__ import annotations

from kuberay.doctor.findings import Cause, Ranks

CAUSES: tuple[Cause, ...] = (
    Cause(
        "crd-missing",
        Ranks.PLATFORM,
        "KubeRay is not installed in this cluster: it has no RayService",
        "The API server does not know the kind, so nothing of the service can exist.",
        (
            (
                "Install KubeRay with its CRDs",
                "helm install kuberay-operator kuberay/kuberay-operator --namespace kuberay-system --create-namespace",
            ),
            (
                "Check that this is the cluster you mean",
                "kubectl config current-context",
            ),
        ),
    ),
    Cause(
        "service-absent",
        Ranks.PLATFORM + 1,
        "There is no RayService {name} in namespace {namespace}",
        "It was never deployed here, was deleted, or lies in another namespace or cluster.",
        (
            (
                "Look where there are some",
                "kubectl get rayservices -A",
            ),
            (
                "Deploy it",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "operator-missing",
        Ranks.PLATFORM,
        "No KubeRay operator runs in this cluster",
        "The RayService is there, but nobody acts on it: {what}.",
        (
            (
                "Look for it in all namespaces",
                "kubectl get deployments -A -l app.kubernetes.io/name=kuberay-operator",
            ),
            (
                "Install it",
                "helm install kuberay-operator kuberay/kuberay-operator --namespace kuberay-system --create-namespace",
            ),
        ),
    ),
    Cause(
        "operator-not-running",
        Ranks.PLATFORM,
        "The KubeRay operator {operator} is down",
        "What serves goes on serving, but no change, no repair and no switch happens until it is back.",
        (
            (
                "See why",
                "kubectl -n {operator_namespace} describe deployment {operator}",
            ),
            (
                "Read what it said last",
                "kubectl -n {operator_namespace} logs deployment/{operator} --previous --tail 50",
            ),
            (
                "If it was scaled down",
                "kubectl -n {operator_namespace} scale deployment {operator} --replicas 1",
            ),
        ),
    ),
    Cause(
        "finalizer-stuck",
        Ranks.PLATFORM + 2,
        "{kind} {object} is being deleted, and its finalizer holds it",
        "The operator takes the finalizer off once it has cleaned up; it does not come to that{what}.",
        (
            (
                "See the operator",
                "kubectl -n {operator_namespace} get deployment {operator}",
            ),
            (
                "Only if it cannot be brought back: take the finalizers off, and delete what is left yourself",
                '{kubectl} patch {kind_lower} {object} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\'',
            ),
        ),
    ),
    Cause(
        "spec-invalid",
        Ranks.SPEC,
        "KubeRay refuses the {kind} {object}: {what}",
        "Its own validation failed, so it does nothing further with this version of the object.",
        (
            (
                "Correct the service file, and look at what would be sent",
                "switchyard render -f {file}",
            ),
            (
                "Apply it again",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "suspended",
        Ranks.SPEC,
        "The service is suspended",
        "Its clusters and Services were deleted on request; what is needed to make them again is kept.",
        (
            (
                "Start it again (a cold start)",
                "switchyard resume {name}",
            ),
        ),
    ),
    Cause(
        "initializing-timeout",
        Ranks.SPEC + 1,
        "The first start took longer than its limit, and KubeRay gave it up for good",
        "The annotation ray.io/initializing-timeout makes this state final: it deleted the clusters, and a "
        "corrected spec does not revive it.",
        (
            (
                "Delete the service",
                "switchyard delete {name}",
            ),
            (
                "Deploy it again, once the cause is gone or with a longer limit",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "managed-elsewhere",
        Ranks.SPEC,
        "Another controller manages this RayService: {what}",
        "spec.managedBy is set, so KubeRay leaves the object alone.",
        (
            (
                "Ask that controller, or deploy again without managedBy (it cannot be changed)",
                "{kubectl} get rayservice {name} -o jsonpath='{{.spec.managedBy}}'",
            ),
        ),
    ),
    Cause(
        "head-pod-missing",
        Ranks.CRASH,
        "The head pod of {cluster} is missing",
        "KubeRay stops its whole reconcile of the service while any head pod is missing, also that of the other "
        "cluster.",
        (
            (
                "See what KubeRay says of the cluster",
                "{kubectl} describe raycluster {cluster}",
            ),
            (
                "See the operator's log",
                "kubectl -n {operator_namespace} logs deployment/{operator} --tail 50",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "cluster-missing",
        Ranks.SPEC + 2,
        "The {role} RayCluster {cluster} does not exist",
        "The RayService's status names it, but it was deleted by hand or by another controller.",
        (
            (
                "See which there are",
                "{kubectl} get rayclusters",
            ),
            (
                "KubeRay makes a new one when it looks next; see its log otherwise",
                "kubectl -n {operator_namespace} logs deployment/{operator} --tail 50",
            ),
        ),
    ),
)
