"""What the service file wants, apart from GKE and monitoring: APIs, network, identities, storage. Pure.

``wanted`` is the list of everything, each resource after those it needs.
"""

from __future__ import annotations

from cluster.config import ClusterConfig
from cluster.model import TOKEN_SOURCE, Key, Stock, Wanted, labels_of, mark_of
from cluster.wanted.alerts import monitoring
from cluster.wanted.gke import gke

BASE_APIS = (
    "artifactregistry.googleapis.com",
    "cloudquotas.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "container.googleapis.com",
    "iam.googleapis.com",
    "monitoring.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
)
BUDGET_APIS = ("billingbudgets.googleapis.com", "cloudbilling.googleapis.com")

HEALTH_CHECK_RANGES = ("130.211.0.0/22", "35.191.0.0/16")
"""Where Google's load balancers probe from (Cloud Load Balancing, "Firewall rules")."""

SERVE_PORT = "8000"


def apis(config: ClusterConfig) -> tuple[str, ...]:
    """The APIs that must be enabled."""
    return tuple(sorted(BASE_APIS + (BUDGET_APIS if config.budget_usd else ())))


def wanted(config: ClusterConfig, *, stock: Stock | None = None, token: bool = False) -> list[Wanted]:
    """Everything the section asks for, in an order in which it can be made.

    Args:
        stock: zones of accelerators and the GKE version; needed where pools are to be made.
        token: a Hugging Face token is at hand, so that the secret gets a first version.
    """
    enabled = Key("apis", config.project)
    items = _network(config)
    items += _identities(config)
    items += _storage(config, token=token)
    items += gke(config, stock)
    items += _workload_identity(config)
    items += monitoring(config)
    return [
        Wanted(enabled, {"services": list(apis(config))}),
        *(Wanted(item.key, item.spec, (enabled, *item.after), item.within) for item in items),
    ]


_API_OF_KIND = {
    "network": "compute",
    "subnetwork": "compute",
    "router": "compute",
    "firewall": "compute",
    "disk": "compute",
    "service-account": "iam",
    "grant": "cloudresourcemanager",
    "bucket": "storage",
    "repository": "artifactregistry",
    "secret": "secretmanager",
    "secret-version": "secretmanager",
    "cluster": "container",
    "node-pool": "container",
    "channel": "monitoring",
    "alert": "monitoring",
    "dashboard": "monitoring",
    "budget": "billingbudgets",
}


def api_of(kind: str) -> str:
    """The API a kind of resource belongs to."""
    return f"{_API_OF_KIND[kind]}.googleapis.com"


def _network(config: ClusterConfig) -> list[Wanted]:
    name, mark = config.name, mark_of(config.name)
    network = Key("network", name)
    path = f"projects/{config.project}/global/networks/{name}"
    return [
        Wanted(network, {"autoCreateSubnetworks": False, "description": mark}),
        Wanted(
            Key("subnetwork", name),
            {
                "description": mark,
                "ipCidrRange": config.network.nodes,
                "network": path,
                # Nodes have no public address; Google's APIs (buckets, registry) must not go through NAT.
                "privateIpGoogleAccess": True,
                "secondaryIpRanges": [
                    {"rangeName": "pods", "ipCidrRange": config.network.pods},
                    {"rangeName": "services", "ipCidrRange": config.network.services},
                ],
            },
            (network,),
        ),
        Wanted(
            Key("router", name),
            {
                "description": mark,
                "network": path,
                "nats": [
                    {
                        "name": "nat",
                        "natIpAllocateOption": "AUTO_ONLY",
                        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
                    }
                ],
            },
            (network,),
        ),
        Wanted(
            Key("firewall", f"{name}-health-checks"),
            {
                "description": mark,
                "network": path,
                "direction": "INGRESS",
                "sourceRanges": list(HEALTH_CHECK_RANGES),
                "targetTags": [name],
                "allowed": [{"IPProtocol": "tcp", "ports": [SERVE_PORT]}],
            },
            (network,),
        ),
    ]


def _identities(config: ClusterConfig) -> list[Wanted]:
    mark = mark_of(config.name)
    nodes, serve = Key("service-account", f"{config.name}-nodes"), Key("service-account", f"{config.name}-serve")
    return [
        Wanted(nodes, {"displayName": f"{config.name} nodes", "description": mark}),
        Wanted(serve, {"displayName": f"{config.name} serving pods", "description": mark}),
        # What a node's own agents need (logs, metrics, image pulls of GKE's), and nothing of the project besides.
        grant("project", config.project, "roles/container.defaultNodeServiceAccount", config.nodes_email, (nodes,)),
    ]


def grant(on: str, resource: str, role: str, email: str, after: tuple[Key, ...]) -> Wanted:
    """One role for one member on one resource: nothing else in that resource's policy is touched."""
    account = email.split("@", maxsplit=1)[0]
    if email.endswith("]"):  # PROJECT.svc.id.goog[NAMESPACE/SERVICE-ACCOUNT]
        account = email.split("[")[1].rstrip("]")
    return Wanted(
        Key("grant", f"{on}:{role.removeprefix('roles/')}:{account}"),
        {"on": on, "resource": resource, "role": role, "member": f"serviceAccount:{email}"},
        after,
    )


def _storage(config: ClusterConfig, *, token: bool) -> list[Wanted]:
    labels = labels_of(config.name)
    serve, nodes = Key("service-account", f"{config.name}-serve"), Key("service-account", f"{config.name}-nodes")
    bucket, secret = Key("bucket", config.bucket_name), Key("secret", f"{config.name}-hf-token")
    items = [
        Wanted(
            bucket,
            {
                "location": config.region.upper(),
                "storageClass": "STANDARD",
                "labels": labels,
                "iamConfiguration": {
                    "uniformBucketLevelAccess": {"enabled": True},
                    "publicAccessPrevention": "enforced",
                },
                "versioning": {"enabled": True},
                "lifecycle": {
                    "rule": [
                        {
                            "action": {"type": "Delete"},
                            "condition": {"daysSinceNoncurrentTime": config.bucket.old_versions_days},
                        },
                        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
                    ]
                },
            },
        ),
        grant("bucket", bucket.name, "roles/storage.objectViewer", config.workload_email, (bucket, serve)),
        Wanted(secret, {"labels": labels, "replication": {"automatic": {}}}),
        grant("secret", secret.name, "roles/secretmanager.secretAccessor", config.workload_email, (secret, serve)),
    ]
    if token:
        items.append(Wanted(Key("secret-version", secret.name), {"source": TOKEN_SOURCE}, (secret,)))
    if config.registry:
        repository = Key("repository", config.name)
        items += [
            Wanted(
                repository,
                {
                    "format": "DOCKER",
                    "description": mark_of(config.name),
                    "labels": labels,
                    "cleanupPolicies": {
                        "delete-untagged": {
                            "id": "delete-untagged",
                            "action": "DELETE",
                            "condition": {"tagState": "UNTAGGED", "olderThan": "2592000s"},
                        },
                        "keep-recent": {
                            "id": "keep-recent",
                            "action": "KEEP",
                            "mostRecentVersions": {"keepCount": 10},
                        },
                    },
                },
            ),
            grant(
                "repository", repository.name, "roles/artifactregistry.reader", config.nodes_email, (repository, nodes)
            ),
        ]
    return items


def _workload_identity(config: ClusterConfig) -> list[Wanted]:
    """The pods' Kubernetes service account may act as the Google one. The pool exists once the cluster does."""
    serve = Key("service-account", f"{config.name}-serve")
    member = f"{config.project}.svc.id.goog[{config.namespace}/{config.service_account}]"
    cluster = Key("cluster", config.name)
    return [grant("service-account", serve.name, "roles/iam.workloadIdentityUser", member, (serve, cluster))]
