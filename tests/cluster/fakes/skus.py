"""A few entries of the Billing Catalog, in its words. The prices are invented: a refresh is seen to take them."""

Entry = tuple[str, str, str, list[str], str, float]
"""Description, resource group, usage type, regions, unit, USD."""

HERE = ["us-central1"]

COMPUTE: list[Entry] = [
    ("G2 Instance Core running in Iowa", "CPU", "OnDemand", HERE, "h", 0.0301),
    ("G2 Instance Ram running in Iowa", "RAM", "OnDemand", HERE, "GiBy.h", 0.0031),
    ("Nvidia L4 GPU running in Iowa", "GPU", "OnDemand", HERE, "h", 0.6001),
    ("Spot Preemptible G2 Instance Core running in Iowa", "CPU", "Preemptible", HERE, "h", 0.0101),
    ("Spot Preemptible G2 Instance Ram running in Iowa", "RAM", "Preemptible", HERE, "GiBy.h", 0.0011),
    ("Nvidia L4 GPU attached to Spot Preemptible VMs running in Iowa", "GPU", "Preemptible", HERE, "h", 0.2001),
    ("E2 Instance Core running in Americas", "CPU", "OnDemand", ["us-central1", "us-east1"], "h", 0.0221),
    ("E2 Instance Ram running in Americas", "RAM", "OnDemand", ["us-central1", "us-east1"], "GiBy.h", 0.0029),
    ("Balanced PD Capacity", "SSD", "OnDemand", HERE, "GiBy.mo", 0.101),
    ("Regional Balanced PD Capacity", "SSD", "OnDemand", HERE, "GiBy.mo", 9.9),
    ("Hyperdisk Balanced Capacity in Iowa", "SSD", "OnDemand", HERE, "GiBy.mo", 0.081),
    ("Commitment v1: G2 Cpu in Iowa for 1 Year", "CPU", "Commit1Yr", HERE, "h", 0.0151),
    ("G2 Custom Extended Instance Ram running in Iowa", "RAM", "OnDemand", HERE, "GiBy.h", 9.9),
]

SKUS: dict[str, list[Entry]] = {
    "6F81-5844-456A": COMPUTE,
    "CCD8-9BF1-090E": [
        ("Regional Kubernetes Clusters", "Kubernetes", "OnDemand", ["global"], "h", 0.11),
        ("Zonal Kubernetes Clusters", "Kubernetes", "OnDemand", ["global"], "h", 0.11),
        ("Autopilot Kubernetes Clusters", "Kubernetes", "OnDemand", ["global"], "h", 9.9),
        ("GKE Extended Period Cluster Fee", "Kubernetes", "OnDemand", ["global"], "h", 9.9),
    ],
    "E505-1604-58F8": [
        ("Networking Cloud Nat Gateway Uptime", "Nat", "OnDemand", ["global"], "h", 0.0015),
        ("Networking Cloud Nat Data Processing", "Nat", "OnDemand", ["global"], "GiBy", 9.9),
        ("Networking Cloud NAT IP Usage", "Nat", "OnDemand", ["global"], "h", 0.006),
        ("Private Nat Gateway Uptime", "Nat", "OnDemand", ["global"], "h", 9.9),
    ],
    "95FF-2EF5-5EA1": [
        ("Standard Storage US Regional", "RegionalStorage", "OnDemand", [*HERE, "us-east1"], "GiBy.mo", 0.021),
        ("Standard Storage Iowa/South Carolina Dual-region", "DRStorage", "OnDemand", HERE, "GiBy.mo", 9.9),
        ("Standard Storage US Multi-region", "MultiRegionalStorage", "OnDemand", HERE, "GiBy.mo", 9.9),
        ("Regional Standard Class A Operations", "RegionalOps", "OnDemand", HERE, "count", 9.9),
        ("Nearline Storage Iowa", "NearlineStorage", "OnDemand", HERE, "GiBy.mo", 9.9),
    ],
    "149C-F9EC-3994": [("Artifact Registry Storage", "Storage", "OnDemand", ["global"], "GiBy.mo", 0.11)],
    "EE82-7A5E-871C": [
        ("Secret version replica storage", "SecretManager", "OnDemand", ["global"], "mo", 0.061),
        ("Secret access operations", "SecretManager", "OnDemand", ["global"], "count", 9.9),
    ],
}
