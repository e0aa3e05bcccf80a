"""A few entries of the Billing Catalog, in its words. The prices are invented: a refresh is seen to take them."""

SKUS: list[tuple[str, str, str, list[str], str, float]] = [
    ("G2 Instance Core running in Iowa", "CPU", "OnDemand", ["us-central1"], "h", 0.0301),
    ("G2 Instance Ram running in Iowa", "RAM", "OnDemand", ["us-central1"], "GiBy.h", 0.0031),
    ("Nvidia L4 GPU running in Iowa", "GPU", "OnDemand", ["us-central1"], "h", 0.6001),
    ("Spot Preemptible G2 Instance Core running in Iowa", "CPU", "Preemptible", ["us-central1"], "h", 0.0101),
    ("Spot Preemptible G2 Instance Ram running in Iowa", "RAM", "Preemptible", ["us-central1"], "GiBy.h", 0.0011),
    (
        "Nvidia L4 GPU attached to Spot Preemptible VMs running in Iowa",
        "GPU",
        "Preemptible",
        ["us-central1"],
        "h",
        0.2001,
    ),
    ("E2 Instance Core running in Americas", "CPU", "OnDemand", ["us-central1", "us-east1"], "h", 0.0221),
    ("E2 Instance Ram running in Americas", "RAM", "OnDemand", ["us-central1", "us-east1"], "GiBy.h", 0.0029),
    ("Balanced PD Capacity", "SSD", "OnDemand", ["us-central1"], "GiBy.mo", 0.101),
    ("Commitment v1: G2 Cpu in Iowa for 1 Year", "CPU", "Commit1Yr", ["us-central1"], "h", 0.0151),
    ("G2 Custom Extended Instance Ram running in Iowa", "RAM", "OnDemand", ["us-central1"], "GiBy.h", 9.9),
]
