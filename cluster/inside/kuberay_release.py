"""KubeRay's released manifests at pinned versions: where they are, what they must hash to, and what is made of them.

Pure. The files are not kept here (the CRDs are four megabytes): they are fetched from the release's tag, or read from a
folder, and refused when a digest differs.

Law (freeze): while any RayService of the cluster has the condition ``UpgradeInProgress=True``, neither the operator nor
its CRDs are touched. An operator that starts rewrites the active cluster's spec in the middle of the switch (KubeRay
1.7.0, ``rayservice_controller.go``, ``shouldUpdateCluster``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from cluster.errors import ConfigError
from cluster.model import MANAGED_BY

NAMESPACE = "kuberay-operator"
IMAGE = "quay.io/kuberay/operator"
DEFAULT_VERSION = "1.7.0"
VERSION_LABEL = "app.kubernetes.io/version"
BASE = "https://raw.githubusercontent.com/ray-project/kuberay/v{version}/ray-operator/config/{path}"

_SAME = {
    "rbac/service_account.yaml": "af7a391873b7cbfe7adfd6737b40bfcb482c5e337dba5f0aacde246532f1c028",
    "rbac/role_binding.yaml": "e7ec0b5f3a7842dce935f9518c05112d7b41af12310d0efa33bc10d04bd57bf8",
    "rbac/leader_election_role.yaml": "8d30c19e1579500e86a41650490e91ce9bc9898b103ac6bff1e94b00c6c31ed3",
    "rbac/leader_election_role_binding.yaml": "4a5b55a8f4921db0a0640dc3372a84769f4a718446a993636473f73b555600ac",
    "manager/manager.yaml": "f7c20d516af6100899f17d8b0e17eb2aa0f922d7b66e1db9c342ff2368ca0715",
    "manager/service.yaml": "567b70c25070ef707253f3593689682c4616aa6520e1761377e6fc2bf252c835",
}

RELEASES: dict[str, dict[str, str]] = {
    "1.6.1": {
        "crd/bases/ray.io_rayclusters.yaml": "1d51d8c4ce065b22c2069af0ebd72ae25f4a6968e5c5f93a3106ba6fc35bcc1d",
        "crd/bases/ray.io_rayservices.yaml": "95c639acc20ecc3cfa425d5ad0f8a7c152a336bc16d2e0deec17b62005e67fda",
        "crd/bases/ray.io_rayjobs.yaml": "ecae45d9a5dc1be68f1074ba784c495ef9d439d295253b61e1bd51f7b08522f5",
        "crd/bases/ray.io_raycronjobs.yaml": "6d0ae6c24a2b2a6c0796c6775cd72f3e894831ff3b89379613e93c4d55965cd5",
        "rbac/role.yaml": "8f432284c45cee4f6809d55c3ca96ecdfb576647ea7d8678ddc63e1a7e681b2e",
        **_SAME,
    },
    "1.7.0": {
        "crd/bases/ray.io_rayclusters.yaml": "c44704442eef0c6721ad40c1d66782c8bd3fdab9d3344306a5820910a679baa1",
        "crd/bases/ray.io_rayservices.yaml": "0a8fc325e6e22b9231c1f282b309555e2ecf94227ca20a03df3d1d9a403907ab",
        "crd/bases/ray.io_rayjobs.yaml": "01a5cf3b17c1769fda44af7e82debcd98722f0c27b9ab84d084681c6649121f5",
        "crd/bases/ray.io_raycronjobs.yaml": "31c2c753bba01f7e8e89cb8e8c504131b58ee42090ca536d87f5ac27605a568e",
        "rbac/role.yaml": "e490717a0f1832899616cb1602f434782685439bc518d842f666517d3cdb93fe",
        **_SAME,
    },
}
"""Version -> file -> SHA-256. CRDs come first: the operator's controllers need them when it starts."""


@dataclass(frozen=True)
class Installed:
    """The operator that a cluster has.

    Attributes:
        version: from its image's tag; empty when it has none.
        namespace: where it runs.
        ours: Switchyard applied it.
    """

    version: str = ""
    namespace: str = ""
    ours: bool = True


@dataclass(frozen=True)
class Verdict:
    """Whether to apply, and why (not)."""

    apply: bool
    refused: bool
    text: str


def decide(
    installed: Installed, version: str, upgrading: Iterable[str], *, downgrade: bool = False, again: bool = False
) -> Verdict:
    """What to do about the operator.

    Args:
        upgrading: RayServices with ``UpgradeInProgress=True``, as ``namespace/name``.
        downgrade: an older version may be put in.
        again: apply although the version is there already.
    """
    if not installed.ours:
        return Verdict(
            False,
            True,
            f"a KubeRay operator {installed.version or 'of unknown version'} runs in namespace {installed.namespace}, "
            "and Switchyard did not install it. Remove it first, or keep it and do without install-operator",
        )
    if installed.version == version and not again:
        return Verdict(False, False, f"KubeRay {version} is installed")
    if busy := sorted(upgrading):
        return Verdict(
            False,
            True,
            f"a rollout is running ({', '.join(busy)}: UpgradeInProgress=True); the operator and its CRDs stay as they "
            "are until it has ended. Finish or abort the rollout, then try again",
        )
    if installed.version and _numbers(installed.version) > _numbers(version) and not downgrade:
        return Verdict(
            False,
            True,
            f"KubeRay {installed.version} is installed, {version} is older: its CRDs would drop fields that objects "
            "have. Say --downgrade to do it all the same",
        )
    if not installed.version:
        return Verdict(True, False, f"install KubeRay {version}")
    return Verdict(True, False, f"upgrade KubeRay {installed.version} to {version}, CRDs first")


Pins = Mapping[str, Mapping[str, str]]


def files(version: str, pins: Pins = RELEASES) -> Mapping[str, str]:
    """The release's files and their digests.

    Raises:
        ConfigError: a version that is not pinned here.
    """
    if version not in pins:
        raise ConfigError(
            f"KubeRay {version} is not known here (cluster.kuberay_version, --version); known: {', '.join(pins)}."
        )
    return pins[version]


def verify(version: str, path: str, content: bytes, pins: Pins = RELEASES) -> bytes:
    """The content, if it is the released file.

    Raises:
        ConfigError: another digest.
    """
    found = hashlib.sha256(content).hexdigest()
    expected = files(version, pins)[path]
    if found != expected:
        raise ConfigError(
            f"{path} is not KubeRay {version}'s: SHA-256 {found[:12]}..., expected {expected[:12]}.... "
            "Nothing was applied."
        )
    return content


def crds(contents: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """(name, manifest) of each CRD. They are sent as they are: parsing a megabyte of YAML helps nobody."""
    return [
        (f"{path.rsplit('_', 1)[-1].removesuffix('.yaml')}.ray.io", content)
        for path, content in contents.items()
        if path.startswith("crd/")
    ]


def operator(version: str, contents: Mapping[str, bytes], *, image: str = "") -> list[dict[str, Any]]:
    """The objects besides the CRDs, in the order to apply them, with namespace, image and version put in."""
    objects: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for path, content in contents.items():
        if not path.startswith("crd/"):
            documents = cast("Iterable[dict[str, Any] | None]", yaml.safe_load_all(content))
            objects += [item for item in documents if item]
    for item in objects:
        meta = item["metadata"]
        meta["labels"] = {
            **meta.get("labels", {}),
            "app.kubernetes.io/managed-by": MANAGED_BY,
            VERSION_LABEL: version,
        }
        if item["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
            meta["namespace"] = NAMESPACE
        for subject in item.get("subjects", ()):
            subject["namespace"] = NAMESPACE
        if item["kind"] == "Deployment":
            pod = item["spec"]["template"]["spec"]
            pod["containers"][0]["image"] = image or f"{IMAGE}:v{version}"
    order = ("Namespace", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Service")
    rank = {kind: number for number, kind in enumerate(order)}
    return sorted(objects, key=lambda item: rank.get(item["kind"], len(order)))


def installed(deployments: Iterable[Mapping[str, Any]]) -> Installed:
    """What the deployments labelled as KubeRay's operator tell."""
    for item in deployments:
        meta = cast("Mapping[str, Any]", item["metadata"])
        image = str(item["spec"]["template"]["spec"]["containers"][0]["image"])
        labels = cast("Mapping[str, str]", meta.get("labels") or {})
        version = labels.get(VERSION_LABEL) or image.split("@", maxsplit=1)[0].rpartition(":")[2]
        ours = labels.get("app.kubernetes.io/managed-by") == MANAGED_BY
        return Installed(version.removeprefix("v"), str(meta.get("namespace", "")), ours)
    return Installed()


def upgrading(services: Iterable[Mapping[str, Any]]) -> list[str]:
    """RayServices in the middle of a switch, as ``namespace/name``."""
    found: list[str] = []
    for item in services:
        status: Mapping[str, Any] = item.get("status") or {}
        conditions: list[Mapping[str, Any]] = status.get("conditions") or []
        if any(one.get("type") == "UpgradeInProgress" and one.get("status") == "True" for one in conditions):
            found.append(f"{item['metadata'].get('namespace', 'default')}/{item['metadata']['name']}")
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".") if part.isdigit())
