"""Somebody who has exactly the rights that docs/rollouts.md lists, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from kuberay.api import kinds
from kuberay.api.client import Api
from tests.e2e.conftest import Kube

DOCUMENT = Path(__file__).parents[2] / "docs" / "rollouts.md"


def documented() -> dict[str, Any]:
    """The Role of the section *The rights it takes*."""
    section = DOCUMENT.read_text().split("\n## The rights it takes\n")[1]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found, "the section shows no Role"
    return yaml.safe_load(found[1])


def somebody(kube: Kube, api: Api, namespace: str, folder: Path, name: str, rules: list[dict[str, Any]]) -> Path:
    """The kubeconfig of a new service account with these rules in the namespace."""
    where = {"name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    parts: list[tuple[kinds.Kind, dict[str, Any]]] = [
        (kinds.SERVICEACCOUNT, {}),
        (kinds.ROLE, {"rules": rules}),
        (kinds.ROLEBINDING, {"roleRef": reference, "subjects": [{"kind": "ServiceAccount", **where}]}),
    ]
    for kind, content in parts:
        api.apply({"apiVersion": kind.version, "kind": kind.name, "metadata": where, **content})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token = kube.core.create_namespaced_service_account_token(name, namespace, request).status.token
    content = yaml.safe_load(kube.kubeconfig.read_text())
    content["users"] = [{"name": one["name"], "user": {"token": token}} for one in content["users"]]
    path = folder / f"{name}.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path
