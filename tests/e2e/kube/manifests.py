"""Objects every cluster starts with: DNS, and KubeRay's operator. Pure."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.kube import layout

Object = dict[str, Any]

OPERATOR_NAMESPACE = "kuberay-system"
OPERATOR = "kuberay-operator"
GATEWAY_NAMESPACE = "traefik"
GATEWAY_CLASS = "traefik"
GATEWAY_CRDS = tuple(f"{kind}.gateway.networking.k8s.io" for kind in ("gatewayclasses", "gateways", "httproutes"))


def dns() -> str:
    """The kube-dns Service, whose one endpoint is the CoreDNS that runs beside the API server."""
    system = {"namespace": "kube-system", "name": "kube-dns"}
    ports = [
        {"name": name, "port": 53, "protocol": protocol} for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": system,
        "spec": {"clusterIP": layout.DNS_SERVICE, "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**system, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [layout.NODE_ADDRESS], "conditions": {"ready": True}}],
        "ports": ports,
    }
    read = ["list", "watch"]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "coredns"}],
    }
    return _documents([service, endpoints, role, binding])


def gpus() -> str:
    """A patch of the node's status: GPUs for the scheduler to count. The kubelet leaves alone what it does not know."""
    count = {"nvidia.com/gpu": str(layout.GPUS)}
    return json.dumps({"status": {"capacity": count, "allocatable": count}})


def operator(config: str, image: str) -> dict[str, str]:
    """A kustomization over the operator's own manifests in the folder ``config``, as files by name."""
    name, _, tag = image.rpartition(":")
    container = {
        "name": OPERATOR,
        # The incremental strategy is off by default before KubeRay 1.7.
        "args": ["--feature-gates=RayServiceIncrementalUpgrade=true"],
        # Upstream's 100 millicores make it a bystander of everything that happens on two busy cores.
        "resources": {"limits": {"cpu": "1"}},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 30},
    }
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": OPERATOR_NAMESPACE,
        "resources": ["namespace.json", *(f"{config}/{part}" for part in ("crd", "rbac", "manager"))],
        "images": [{"name": "kuberay/operator", "newName": name, "newTag": tag}],
        "patches": [{"path": "patch.json", "target": {"kind": "Deployment", "name": OPERATOR}}],
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}
    named = {"kustomization.yaml": kustomization, "namespace.json": namespace, "patch.json": patch}
    return {file: json.dumps(content, indent=1) for file, content in named.items()}


def gateway(image: str) -> str:
    """Traefik as an implementation of the Gateway API: a class of Gateways, all of them served by one pod."""
    name = "traefik"
    labels = {"app.kubernetes.io/name": name}
    own = {"name": name, "namespace": GATEWAY_NAMESPACE}
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "args": [
            # A Gateway's listeners are matched with entry points by port.
            "--entrypoints.web.address=:80",
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.statusaddress.ip={layout.GATEWAY_SERVICE}",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        "ports": [{"name": "web", "containerPort": 80}],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"serviceAccountName": name, "containers": [container]}}
    api = "gateway.networking.k8s.io"
    watched = ["get", "list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "services", "secrets", "configmaps"], "verbs": watched},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": watched},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watched},
        {"apiGroups": [api], "resources": ["*"], "verbs": [*watched, "update", "patch"]},
    ]
    role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    return _documents(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY_NAMESPACE}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": role_ref,
                "subjects": [{"kind": "ServiceAccount", **own}],
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": own,
                "spec": {
                    "clusterIP": layout.GATEWAY_SERVICE,
                    "selector": labels,
                    "ports": [{"name": "web", "port": 80, "targetPort": 80}],
                },
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": own,
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
            },
            {
                "apiVersion": f"{api}/v1",
                "kind": "GatewayClass",
                "metadata": {"name": GATEWAY_CLASS},
                "spec": {"controllerName": "traefik.io/gateway-controller"},
            },
        ]
    )


def _documents(objects: list[Object]) -> str:
    return "\n---\n".join(json.dumps(item) for item in objects)
