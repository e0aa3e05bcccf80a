"""Texts: upgrades, and where requests go."""

from __future__ import annotations

from kuberay.doctor.findings import Cause, Ranks, Severity

CAUSES: tuple[Cause, ...] = (
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
        "gateway-not-ready",
        Ranks.SPEC,
        "The Gateway {gateway} is not served by anything (class {class})",
        "All the traffic goes through it. Until it is Programmed, clients reach nothing, and a new cluster gets no "
        "capacity.",
        (
            ("See what its controller says of it", "{kubectl} describe gateway {gateway}"),
            ("See whether its class has a controller", "kubectl describe gatewayclass {class}"),
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
        "incremental-gate-off",
        Ranks.WARNING,
        "No new release will be taken over: the operator does not know the incremental strategy",
        "With its feature gate RayServiceIncrementalUpgrade off, which before KubeRay 1.7 is the default, the operator "
        "treats every strategy but NewCluster as none.",
        (
            (
                "Start the operator with the gate (Helm: featureGates); to the flags that are there add "
                "--feature-gates=RayServiceIncrementalUpgrade=true",
                "kubectl -n {operator_namespace} edit deployment {operator}",
            ),
            (
                "Or set kubernetes.upgrade.strategy to NewCluster in the service file, and deploy",
                "switchyard deploy -f {file}",
            ),
        ),
        severity=Severity.RISK,
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
