"""gcloud's words for GKE's two resources, the cluster and its node pools, and what all commands share. Pure."""

from __future__ import annotations

import shlex

from cluster.config import ClusterConfig
from cluster.model import Key, Spec


def line(command: str, *words: str) -> str:
    """A command as a shell takes it."""
    return " ".join(["gcloud", command, *(shlex.quote(word) for word in words if word)])


def labels(pairs: Spec) -> str:
    """Labels as gcloud's flags take them."""
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def cluster(config: ClusterConfig, spec: Spec) -> str:
    """The command that makes the cluster with its first pool; ``spec`` is the REST API's body."""
    system = spec["nodePools"][0]
    bounds, node = system["autoscaling"], system["config"]
    flags = [
        f"--location={config.location}",
        f"--release-channel={spec['releaseChannel']['channel'].lower()}",
        f"--network={config.name}",
        f"--subnetwork={config.name}",
        "--enable-ip-alias",
        "--cluster-secondary-range-name=pods",
        "--services-secondary-range-name=services",
        "--enable-private-nodes",
        "--enable-dns-access",
        "--no-enable-ip-access",
        "--enable-dataplane-v2",
        "--gateway-api=standard",
        f"--workload-pool={spec['workloadIdentityConfig']['workloadPool']}",
        "--enable-managed-prometheus",
        "--monitoring=SYSTEM,DCGM",
        "--logging=SYSTEM,WORKLOAD",
        "--enable-cost-allocation",
        "--enable-image-streaming",
        "--enable-shielded-nodes",
        "--autoscaling-profile=optimize-utilization",
        "--addons=GcePersistentDiskCsiDriver,GcsFuseCsiDriver"
        + (",RayOperator" if "rayOperatorConfig" in spec["addonsConfig"] else ""),
        f"--labels={labels(spec['resourceLabels'])}",
        "--num-nodes=1",
        "--enable-autoscaling",
        f"--total-min-nodes={bounds['totalMinNodeCount']}",
        f"--total-max-nodes={bounds['totalMaxNodeCount']}",
        *_node_flags(node),
    ]
    if "rayOperatorConfig" in spec["addonsConfig"]:
        flags += ["--enable-ray-cluster-logging", "--enable-ray-cluster-monitoring"]
    return line("container clusters create", config.name, *flags, f"--project={config.project}") + (
        "  # its pool is called default-pool there; ours is called system"
    )


def pool(config: ClusterConfig, key: Key, spec: Spec) -> str:
    """The command that makes a node pool."""
    bounds, node = spec["autoscaling"], spec["config"]
    flags = [
        f"--cluster={config.name}",
        f"--location={config.location}",
        f"--num-nodes={spec['initialNodeCount']}",
        "--enable-autoscaling",
        f"--total-min-nodes={bounds['totalMinNodeCount']}",
        f"--total-max-nodes={bounds['totalMaxNodeCount']}",
        f"--location-policy={bounds['locationPolicy']}",
        *_node_flags(node),
    ]
    for gpu in node.get("accelerators", ()):
        driver = gpu["gpuDriverInstallationConfig"]["gpuDriverVersion"].lower()
        flags.append(
            f"--accelerator=type={gpu['acceleratorType']},count={gpu['acceleratorCount']},gpu-driver-version={driver}"
        )
    if taints := node.get("taints"):
        effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
        flags.append("--node-taints=" + ",".join(f"{t['key']}={t['value']}:{effects[t['effect']]}" for t in taints))
    if zones := spec.get("locations"):
        flags.append(f"--node-locations={','.join(zones)}")
    flags.append(f"--labels={labels(node['resourceLabels'])}")  # of the machines; clusters create has it as well
    if node.get("spot"):
        flags.append("--spot")
    if ssds := node.get("ephemeralStorageLocalSsdConfig"):
        flags.append(f"--ephemeral-storage-local-ssd=count={ssds['localSsdCount']}")
    if "placementPolicy" in spec:
        flags.append("--placement-type=COMPACT")
    if "networkConfig" in spec:
        flags.append("--accelerator-network-profile=auto")
    if upgrade := spec.get("upgradeSettings"):
        flags += [
            f"--max-surge-upgrade={upgrade['maxSurge']}",
            f"--max-unavailable-upgrade={upgrade['maxUnavailable']}",
        ]
    command = line("container node-pools create", key.name, *flags, f"--project={config.project}")
    if grace := node["kubeletConfig"].get("shutdownGracePeriodSeconds"):
        command += f"  # and --system-config-from-file with kubeletConfig.shutdownGracePeriodSeconds: {grace}"
    return command


def _node_flags(node: Spec) -> list[str]:
    flags = [
        f"--machine-type={node['machineType']}",
        f"--disk-type={node['diskType']}",
        f"--disk-size={node['diskSizeGb']}",
        f"--service-account={node['serviceAccount']}",
        f"--scopes={','.join(node['oauthScopes'])}",
        f"--tags={','.join(node['tags'])}",
        "--image-type=COS_CONTAINERD",
        "--enable-gvnic",
        "--workload-metadata=GKE_METADATA",
        "--shielded-integrity-monitoring",
        "--no-enable-insecure-kubelet-readonly-port",
    ]
    if node["shieldedInstanceConfig"].get("enableSecureBoot"):
        flags.append("--shielded-secure-boot")
    return flags
