"""Texts: the RayService, its operator, its Services, upgrades."""

from __future__ import annotations

from kuberay.findings import Cause, Ranks, Severity

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
        "spec.suspend is set: KubeRay deleted its clusters and Services, and keeps only the RayService.",
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
        "serve-config-refused",
        Ranks.CRASH + 5,
        "Ray Serve refuses the Serve config: {what}",
        "KubeRay sends it again every two seconds, and the applications are never deployed.",
        (
            (
                "Look at what is sent",
                "{kubectl} get rayservice {name} -o jsonpath='{{.spec.serveConfigV2}}'",
            ),
            (
                "Deploy with the manifests of this version",
                "switchyard deploy -f {file}",
            ),
        ),
    ),
    Cause(
        "dashboard-unreachable",
        Ranks.CRASH + 6,
        "The operator cannot reach the dashboard of {cluster}",
        "It deploys the applications through the head's port 8265 and asks there whether they run. A "
        "NetworkPolicy that does not let the operator in has this effect.",
        (
            (
                "See the policies",
                "{kubectl} get networkpolicies",
            ),
            (
                "Try the port",
                "{kubectl} port-forward service/{cluster}-head-svc 8265:8265",
            ),
        ),
    ),
    Cause(
        "gateway-missing",
        Ranks.SPEC,
        "The incremental upgrade needs the Gateway API, which fails: {what}",
        "With NewClusterWithIncrementalUpgrade KubeRay moves traffic by a Gateway and an HTTPRoute.",
        (
            (
                "See whether the kinds are there",
                "kubectl api-resources --api-group=gateway.networking.k8s.io",
            ),
            (
                "Or use the strategy NewCluster",
                "switchyard deploy -f {file}",
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
    Cause(
        "upgrade-stuck",
        Ranks.TRAFFIC,
        "The new cluster {cluster} does not become ready ({minutes} minutes by now)",
        "KubeRay has no limit for this: the old cluster serves on, and the new one keeps its GPUs.",
        (
            (
                "See the new cluster",
                "{kubectl} describe raycluster {cluster}",
            ),
            (
                "Give it up: apply the previous release again",
                "switchyard deploy -f {file}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "start-stuck",
        Ranks.TRAFFIC,
        "The service has been starting for {minutes} minutes",
        "KubeRay has no limit for this, and goes on trying; nothing that is known to stop it was seen.",
        (
            (
                "See what the replica does",
                "{kubectl} exec {pod} -c {container} -- sh -c "
                "'tail -n 40 /tmp/ray/session_latest/logs/serve/replica_*.log'",
            ),
            (
                "See the cluster",
                "{kubectl} describe raycluster {cluster}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "stale-serve-service",
        Ranks.SERVE + 5,
        "Service {serve_service} sends requests to {selected}, a cluster that is gone",
        "Its selector was not moved when the cluster changed (#5148), so it has no endpoints and connections are "
        "refused.",
        (
            (
                "Point it to the active cluster now",
                "{kubectl} patch service {serve_service} --type=merge -p "
                '\'{{"spec":{{"selector":{{"ray.io/cluster":"{active}"}}}}}}\'',
            ),
            (
                "Deleting it makes KubeRay write it anew (not with the incremental strategy, which has its own "
                "Services)",
                "{kubectl} delete service {serve_service}",
            ),
        ),
    ),
    Cause(
        "no-serve-endpoints",
        Ranks.TRAFFIC + 1,
        "Service {serve_service} has no ready endpoint",
        "No pod of {selected} passes its readiness probe, so requests are refused although the applications may run.",
        (
            (
                "See the pods",
                "{kubectl} get pods -l ray.io/cluster={selected} -o wide",
            ),
            (
                "See the endpoints",
                "{kubectl} get endpointslices -l kubernetes.io/service-name={serve_service}",
            ),
        ),
        symptom=True,
    ),
    Cause(
        "scaling-edit-not-propagated",
        Ranks.WARNING,
        "{group}: {field} is {wanted} in the RayService but {actual} in {cluster}",
        "KubeRay leaves minReplicas and maxReplicas out of the hash that decides on updates, so an edit of only "
        "these reaches no cluster (#2331, #4568).",
        (
            (
                "Tell the cluster",
                "{kubectl} patch raycluster {cluster} --type=json -p '{patch}'",
            ),
            (
                "switchyard deploy does both",
                "switchyard deploy -f {file}",
            ),
        ),
        severity=Severity.DEGRADED,
    ),
    Cause(
        "deletion-delay-short",
        Ranks.WARNING + 1,
        "A switch would cut streams: the old cluster lives {delay} s longer, a request may take {longest} s",
        "KubeRay deletes the old cluster rayClusterDeletionDelaySeconds after a switch, and its pods do not wait "
        "for their streams (no preStop hook, or terminationGracePeriodSeconds of {grace}).",
        (
            (
                "Let the manifests set both",
                "switchyard deploy -f {file}",
            ),
            (
                "Or only the delay",
                "{kubectl} patch rayservice {name} --type=merge -p "
                '\'{{"spec":{{"rayClusterDeletionDelaySeconds":{enough}}}}}\'',
            ),
        ),
        severity=Severity.RISK,
    ),
)
