"""What may change in place, by kind of resource, and why the rest may not. Pure: tables, and the comparison they steer.

A path is a field of the spec, dotted (``config.machineType``); a path in a table covers everything below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from cluster.model import Change


@dataclass(frozen=True)
class Kind:
    """The rules for one kind of resource.

    Attributes:
        mutable: paths that the API changes in place.
        fixed: path -> why it cannot change; ``""`` is for all others.
        ignored: paths that only matter when the resource is made.
        open_lists: lists to which Google adds elements of its own.
        replaceable: whether ``--replace`` may delete it and make it anew.
        keeps_data: never deleted because the file no longer mentions it.
    """

    mutable: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict[str, str])
    ignored: tuple[str, ...] = ()
    open_lists: tuple[str, ...] = ()
    replaceable: bool = True
    keeps_data: bool = False

    def may_change(self, path: str) -> bool:
        return _covers(self.mutable, path)

    def why_fixed(self, path: str) -> str:
        """The reason, as half a sentence."""
        for prefix, reason in self.fixed.items():
            if prefix and _covers((prefix,), path):
                return reason
        return self.fixed.get("", "Google cannot change it in place")


_NETWORKED = "everything inside it would lose its address"

KINDS: dict[str, Kind] = {
    "apis": Kind(mutable=("services",)),
    "network": Kind(fixed={"": _NETWORKED}, replaceable=False),
    "subnetwork": Kind(
        mutable=("privateIpGoogleAccess",),
        fixed={"": "ranges that nodes and pods use cannot move", "description": "it carries the mark of its owner"},
        replaceable=False,
    ),
    "router": Kind(mutable=("nats", "description"), fixed={"network": "a router belongs to one network"}),
    "firewall": Kind(
        mutable=("sourceRanges", "targetTags", "allowed", "description"),
        fixed={"": "direction and network of a rule are fixed"},
    ),
    "service-account": Kind(mutable=("displayName", "description")),
    "grant": Kind(),
    "bucket": Kind(
        mutable=("labels", "iamConfiguration", "versioning", "lifecycle", "storageClass"),
        fixed={"location": "a bucket cannot move; make another (cluster.bucket.name) and copy the weights"},
        replaceable=False,
        keeps_data=True,
    ),
    "repository": Kind(
        mutable=("labels", "description", "cleanupPolicies"),
        fixed={"format": "a repository's format is fixed"},
        keeps_data=True,
    ),
    "secret": Kind(mutable=("labels",), fixed={"replication": "a secret's replication is fixed"}, keeps_data=True),
    "secret-version": Kind(mutable=("source",)),
    "cluster": Kind(
        mutable=(
            "resourceLabels",
            "releaseChannel",
            "addonsConfig",
            "monitoringConfig",
            "loggingConfig",
            "costManagementConfig",
            "controlPlaneEndpointsConfig",
            "networkConfig.gatewayApiConfig",
            "networkConfig.defaultEnablePrivateNodes",
            "workloadIdentityConfig",
            "shieldedNodes",
            "autoscaling",
            "nodePoolDefaults",
            "maintenancePolicy",
        ),
        fixed={
            "network": "a cluster cannot change its network",
            "subnetwork": "a cluster cannot change its subnetwork",
            "ipAllocationPolicy": "a cluster's ranges are fixed",
            "networkConfig.datapathProvider": "the data plane is chosen when the cluster is made",
            "location": "a control plane cannot move; a second cluster needs another cluster.name",
        },
        # gcloud cannot set a cluster's description and GKE cannot change it; the labels are the mark.
        ignored=("nodePools", "name", "description"),
    ),
    "node-pool": Kind(
        mutable=(
            "autoscaling",
            "management",
            "upgradeSettings",
            "locations",
            "config.labels",
            "config.taints",
            "config.resourceLabels",
            "config.tags",
            "config.gcfsConfig",
            "config.gvnic",
            "config.kubeletConfig",
            "config.workloadMetadataConfig",
        ),
        fixed={
            "config.machineType": "a node cannot become another machine; its pods would have to move",
            "config.accelerators": "GPUs belong to the machine type of the pool",
            "config.spot": "a pool is spot or it is not",
            "config.diskType": "boot disks are made with the nodes",
            "config.diskSizeGb": "boot disks are made with the nodes",
            "config.ephemeralStorageLocalSsdConfig": "local SSDs are made with the nodes",
            "placementPolicy": "nodes are placed when they are made",
            "networkConfig": "a node's network cards are made with it",
        },
        ignored=("initialNodeCount", "name"),
        open_lists=("config.taints", "config.tags"),
    ),
    "channel": Kind(mutable=("displayName", "labels", "userLabels"), fixed={"type": "a channel has one type"}),
    "alert": Kind(
        mutable=(
            *("displayName", "combiner", "enabled", "userLabels", "documentation", "conditions"),
            "notificationChannels",
        ),
        open_lists=("notificationChannels",),
    ),
    "dashboard": Kind(mutable=("displayName", "labels", "mosaicLayout")),
    "budget": Kind(mutable=("displayName", "budgetFilter", "amount", "thresholdRules")),
    "disk": Kind(keeps_data=True),
}
"""Every kind. The order is the one in which they are made; destroying goes backwards."""


def differences(kind: str, want: Mapping[str, Any], have: Mapping[str, Any]) -> tuple[Change, ...]:
    """The wanted fields that ``have`` does not have so. Fields that are not wanted are Google's business."""
    rules = KINDS[kind]
    found: list[Change] = []
    for name, value in want.items():
        if name not in rules.ignored:
            _compare(name, value, have.get(name), rules, found)
    return tuple(found)


def _compare(path: str, want: Any, have: Any, rules: Kind, found: list[Change]) -> None:
    if isinstance(want, Mapping):
        below: Mapping[str, Any] = cast("Mapping[str, Any]", have) if isinstance(have, Mapping) else {}
        for name, value in cast("Mapping[str, Any]", want).items():
            _compare(f"{path}.{name}", value, below.get(name), rules, found)
    elif isinstance(want, Sequence) and not isinstance(want, str):
        if not _same_list(cast("Sequence[Any]", want), have, rules, exact=path not in rules.open_lists):
            found.append(Change(path, have, want))
    elif _plain(want) != _plain(have):
        found.append(Change(path, have, want))


def _same_list(want: Sequence[Any], have: Any, rules: Kind, *, exact: bool) -> bool:
    there: list[Any] = list(cast("Sequence[Any]", have)) if isinstance(have, Sequence) else []
    if exact and len(want) != len(there):
        return False
    for item in want:
        for number, candidate in enumerate(there):
            differing: list[Change] = []
            _compare("", item, candidate, rules, differing)
            if not differing:
                del there[number]
                break
        else:
            return False
    return True


def _plain(value: Any) -> Any:
    """Comparable: 64-bit integers come back as strings, unset fields not at all, resources as URLs."""
    if value is None or value is False or value in ("", 0):
        return ""
    text = str(value)
    if text.startswith("https://") and "/projects/" in text:
        return text[text.index("projects/") :]
    try:
        return float(text)
    except ValueError:
        return text


def _covers(prefixes: Sequence[str], path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)
