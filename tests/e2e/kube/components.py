"""Every program of the node, with its arguments and configuration. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.kube import layout

PKI = layout.RUN / "pki"
CONFIG = layout.RUN / "config"
EPHEMERAL = Path("/run")
"""A tmpfs in the node's own mount namespace."""

PAUSE_IMAGE = "docker.io/library/switchyard-pause:local"


@dataclass(frozen=True)
class Component:
    """One program. ``after_api``: it is started once the API server answers."""

    name: str
    arguments: tuple[str, ...]
    after_api: bool = True


def components() -> list[Component]:
    """In the order in which they are started."""
    return [
        Component("etcd", _flags(_etcd()), after_api=False),
        Component("containerd", ("--config", str(CONFIG / "containerd.toml")), after_api=False),
        Component("kube-apiserver", _flags(_api_server()), after_api=False),
        Component("kubelet", _flags(_kubelet())),
        Component("kube-controller-manager", _flags(_controller_manager())),
        Component("kube-scheduler", _flags(_client("kube-scheduler"))),
        Component("kube-proxy", _flags({"config": CONFIG / "kube-proxy.json"})),
        Component("coredns", ("-conf", str(CONFIG / "Corefile"))),
    ]


def files() -> dict[str, str]:
    """Configuration files, by their names in :data:`CONFIG`."""
    return {
        "containerd.toml": CONTAINERD,
        "cni/10-switchyard.conflist": json.dumps(CNI, indent=1),
        "kubelet.json": json.dumps(KUBELET, indent=1),
        "kube-proxy.json": json.dumps(KUBE_PROXY, indent=1),
        "Corefile": COREFILE,
        # Not the machine's: its search list and servers are of no use in a pod that reaches nothing outside.
        "resolv.conf": f"nameserver {layout.NODE_ADDRESS}\n",
    }


def _flags(options: dict[str, object]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in options.items())


def _etcd() -> dict[str, object]:
    # In memory: nothing has to outlive the node, and waiting for a disk is what makes API servers slow.
    return {
        "data-dir": EPHEMERAL / "etcd",
        "listen-client-urls": "http://127.0.0.1:2379",
        "advertise-client-urls": "http://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "logger": "zap",
        "log-level": "warn",
    }


def _api_server() -> dict[str, object]:
    return {
        "etcd-servers": "http://127.0.0.1:2379",
        "advertise-address": layout.NODE_ADDRESS,
        "secure-port": layout.API_PORT,
        "service-cluster-ip-range": layout.SERVICE_RANGE,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "client-ca-file": PKI / "ca.crt",
        "tls-cert-file": PKI / "kube-apiserver.crt",
        "tls-private-key-file": PKI / "kube-apiserver.key",
        "kubelet-certificate-authority": PKI / "ca.crt",
        "kubelet-client-certificate": PKI / "kubelet-client.crt",
        "kubelet-client-key": PKI / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": f"https://kubernetes.default.svc.{layout.DOMAIN}",
        "service-account-key-file": PKI / "service-accounts.pub",
        "service-account-signing-key-file": PKI / "service-accounts.key",
        "profiling": "false",
    }


def _client(name: str) -> dict[str, object]:
    return {
        "kubeconfig": PKI / f"{name}.kubeconfig",
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "profiling": "false",
    }


def _controller_manager() -> dict[str, object]:
    return {
        **_client("kube-controller-manager"),
        "root-ca-file": PKI / "ca.crt",
        "service-account-private-key-file": PKI / "service-accounts.key",
        "use-service-account-credentials": "true",
    }


def _kubelet() -> dict[str, object]:
    return {
        "config": CONFIG / "kubelet.json",
        "kubeconfig": PKI / "kubelet.kubeconfig",
        "hostname-override": layout.NODE,
        "node-ip": layout.NODE_ADDRESS,
        "node-labels": ",".join(f"{key}={value}" for key, value in layout.NODE_LABELS.items()),
        "root-dir": layout.RUN / "kubelet",
    }


KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": f"unix://{layout.SOCKET}",
    "podLogsDir": str(layout.LOGS / "pods"),
    "volumePluginDir": str(layout.RUN / "volume-plugins"),
    "resolvConf": str(CONFIG / "resolv.conf"),
    "clusterDNS": [layout.DNS_SERVICE],
    "clusterDomain": layout.DOMAIN,
    "tlsCertFile": str(PKI / "kubelet.crt"),
    "tlsPrivateKeyFile": str(PKI / "kubelet.key"),
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": False},
        "x509": {"clientCAFile": str(PKI / "ca.crt")},
    },
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{layout.CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "systemReserved": {"memory": "1Gi"},
    # A developer's disk is rather full; neither pods nor images should be thrown out for that.
    "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
}

KUBE_PROXY: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clientConnection": {"kubeconfig": str(PKI / "kube-proxy.kubeconfig")},
    "hostnameOverride": layout.NODE,
    "mode": "iptables",
    "clusterCIDR": layout.POD_RANGE,
    # These are settings of the whole machine, which a node in a network namespace of its own cannot change.
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
}

# Point to point, so that traffic between two pods is routed: over a bridge it would pass iptables, and with that
# kube-proxy, only where the machine has br_netfilter.
CNI: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "switchyard",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": str(EPHEMERAL / "cni"),
                "ranges": [[{"subnet": layout.POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}

# restrict_oom_score_adj: in a container or sandbox, root often lacks CAP_SYS_RESOURCE, and every pod would fail.
# no_sync: the worst that a power cut can do is to have the images loaded again.
CONTAINERD = f"""version = 3
root = '{layout.CONTAINERD}'
state = '{EPHEMERAL}/containerd'
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri']

[grpc]
address = '{layout.SOCKET}'

[plugins.'io.containerd.metadata.v1.bolt']
no_sync = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni', '/opt/cni/bin']
conf_dir = '{CONFIG}/cni'
"""

COREFILE = f"""{layout.DOMAIN}:53 in-addr.arpa:53 {{
    bind {layout.NODE_ADDRESS}
    errors
    kubernetes {layout.DOMAIN} in-addr.arpa {{
        kubeconfig {PKI}/coredns.kubeconfig
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    bind {layout.NODE_ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
