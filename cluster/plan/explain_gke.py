"""gcloud's words for GKE's two resources, the cluster and its node pools, and what all commands share. Pure."""

from __future__ import annotations

import json
import shlex

from cluster.config import ClusterConfig
from cluster.model import Key, Spec


def line(command: str, *words: str) -> str:
    """A command as a shell takes it."""
    return " ".join(["gcloud", command, *(shlex.quote(word) for word in words if word)])


def labels(pairs: Spec) -> str:
    """Labels as gcloud's flags take them."""
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def cluster(config: ClusterConfig, spec: Spec) -> list[str]:
    """The commands that make the cluster with its system pool; ``spec`` is the REST API's body."""
    system = spec["nodePools"][0]
    # gcloud switches off what this does not list; the API leaves the two that are on by default as they are.
    addons = ["HttpLoadBalancing", "HorizontalPodAutoscaling", *_addons(spec)]
    flags = [
        "--enable-ip-alias",
        f"--network={config.name}",
        f"--subnetwork={config.name}",
        "--cluster-secondary-range-name=pods",
        "--services-secondary-range-name=services",
        "--enable-dataplane-v2",
        *(flag for group in cluster_flags(spec).values() for flag in group),
        f"--addons={','.join(addons)}",
        f"--labels={labels(spec['resourceLabels'])}",
        "--num-nodes=1",
        *_machine_flags(system["config"]),
    ]
    if _ray(spec):
        flags += ["--enable-ray-cluster-logging", "--enable-ray-cluster-monitoring"]
    place = [f"--location={config.location}", f"--project={config.project}"]
    return [
        f"# gcloud has no flag for the cluster's description ({spec['description']}); its labels are what counts.",
        line("container clusters create", config.name, *flags, *place),
        "# gcloud calls a cluster's first pool default-pool; ours is called system.",
        *pool(config, Key("node-pool", system["name"]), system),
        line("container node-pools delete", "default-pool", f"--cluster={config.name}", *place),
    ]


def cluster_flags(spec: Spec) -> dict[str, list[str]]:
    """Field of a cluster -> its flags, for those that ``create`` and ``update`` say alike."""
    found: dict[str, list[str]] = {}
    if "maintenancePolicy" in spec:
        window = spec["maintenancePolicy"]["window"]["recurringWindow"]
        found["maintenancePolicy"] = [
            f"--maintenance-window-start={window['window']['startTime']}",
            f"--maintenance-window-end={window['window']['endTime']}",
            f"--maintenance-window-recurrence={window['recurrence']}",
        ]
    return found | {
        "releaseChannel": [f"--release-channel={spec['releaseChannel']['channel'].lower()}"],
        "monitoringConfig": ["--monitoring=SYSTEM,DCGM", "--enable-managed-prometheus"],
        "loggingConfig": ["--logging=SYSTEM,WORKLOAD"],
        "costManagementConfig": ["--enable-cost-allocation"],
        "controlPlaneEndpointsConfig": ["--enable-dns-access", "--no-enable-ip-access"],
        "networkConfig.gatewayApiConfig": ["--gateway-api=standard"],
        "networkConfig.defaultEnablePrivateNodes": ["--enable-private-nodes"],
        "workloadIdentityConfig": [f"--workload-pool={spec['workloadIdentityConfig']['workloadPool']}"],
        "shieldedNodes": ["--enable-shielded-nodes"],
        "autoscaling": ["--autoscaling-profile=optimize-utilization"],
        "nodePoolDefaults": ["--enable-image-streaming"],
    }


def addon_updates(spec: Spec) -> str:
    """The add-ons as ``clusters update`` takes them: those it does not name stay as they are."""
    ray = [] if _ray(spec) else ["RayOperator=DISABLED"]
    return "--update-addons=" + ",".join([*(f"{name}=ENABLED" for name in _addons(spec)), *ray])


def pool(config: ClusterConfig, key: Key, spec: Spec) -> list[str]:
    """The command that makes a node pool, after what it cannot say."""
    node = spec["config"]
    notes: list[str] = []
    flags = [
        f"--cluster={config.name}",
        f"--location={config.location}",
        f"--num-nodes={spec['initialNodeCount']}",
        *(flag for group in pool_flags(spec).values() for flag in group),
        *_machine_flags(node),
    ]
    for gpu in node.get("accelerators", ()):
        kind, driver = gpu["acceleratorType"], gpu["gpuDriverInstallationConfig"]["gpuDriverVersion"].lower()
        flags.append(f"--accelerator=type={kind},count={gpu['acceleratorCount']},gpu-driver-version={driver}")
        if not spec.get("locations"):
            zones = f"gcloud compute accelerator-types list --filter=name={kind} --project={config.project}"
            notes.append(
                f"# {key}: zones are not known before the APIs are enabled. Run this again then, or add "
                f"--node-locations=ZONE,... with those of {config.region} in: {zones}"
            )
    if node.get("spot"):
        flags.append("--spot")
    if ssds := node.get("ephemeralStorageLocalSsdConfig"):
        flags.append(f"--ephemeral-storage-local-ssd=count={ssds['localSsdCount']}")
    if "placementPolicy" in spec:
        flags.append("--placement-type=COMPACT")
    if "networkConfig" in spec:
        flags.append("--accelerator-network-profile=auto")
    if grace := {name: value for name, value in node["kubeletConfig"].items() if name.startswith("shutdownGrace")}:
        notes.append(f"# {key}: gcloud has no flag for config.kubeletConfig: {json.dumps(grace)}")
    return [*notes, line("container node-pools create", key.name, *flags, f"--project={config.project}")]


def pool_flags(spec: Spec) -> dict[str, list[str]]:
    """Field of a node pool -> its flags, for those that ``create`` and ``update`` say alike."""
    bounds, node = spec["autoscaling"], spec["config"]
    found = {
        "autoscaling": [
            "--enable-autoscaling",
            f"--total-min-nodes={bounds['totalMinNodeCount']}",
            f"--total-max-nodes={bounds['totalMaxNodeCount']}",
            f"--location-policy={bounds['locationPolicy']}",
        ],
        "management": ["--enable-autorepair", "--enable-autoupgrade"],
        "config.resourceLabels": [f"--labels={labels(node['resourceLabels'])}"],
        "config.tags": [f"--tags={','.join(node['tags'])}"],
        "config.gcfsConfig": ["--enable-image-streaming"],
        "config.gvnic": ["--enable-gvnic"],
        "config.workloadMetadataConfig": ["--workload-metadata=GKE_METADATA"],
        "config.kubeletConfig.insecureKubeletReadonlyPortEnabled": ["--no-enable-insecure-kubelet-readonly-port"],
    }
    if upgrade := spec.get("upgradeSettings"):
        found["upgradeSettings"] = [
            f"--max-surge-upgrade={upgrade['maxSurge']}",
            f"--max-unavailable-upgrade={upgrade['maxUnavailable']}",
        ]
    if zones := spec.get("locations"):
        found["locations"] = [f"--node-locations={','.join(zones)}"]
    if taints := node.get("taints"):
        effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
        pairs = ",".join(f"{taint['key']}={taint['value']}:{effects[taint['effect']]}" for taint in taints)
        found["config.taints"] = [f"--node-taints={pairs}"]
    return found


def _addons(spec: Spec) -> list[str]:
    return ["GcePersistentDiskCsiDriver", "GcsFuseCsiDriver", *(["RayOperator"] if _ray(spec) else [])]


def _ray(spec: Spec) -> bool:
    return bool(spec["addonsConfig"].get("rayOperatorConfig", {}).get("enabled"))


def _machine_flags(node: Spec) -> list[str]:
    flags = [
        f"--machine-type={node['machineType']}",
        f"--disk-type={node['diskType']}",
        f"--disk-size={node['diskSizeGb']}",
        f"--service-account={node['serviceAccount']}",
        f"--scopes={','.join(node['oauthScopes'])}",
        "--image-type=COS_CONTAINERD",
        "--shielded-integrity-monitoring",
    ]
    if node["shieldedInstanceConfig"].get("enableSecureBoot"):
        flags.append("--shielded-secure-boot")
    return flags
