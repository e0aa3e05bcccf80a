"""The only way to a Ray cluster's dashboard: through the API server, so that it works from wherever kubectl does.

The API server takes the ``Authorization`` header for itself, hence Ray's second one:
https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/authentication/http_token_authentication.py
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kuberay.api.client import Api
from kuberay.api.kinds import SECRET
from kuberay.errors import ApiError, NotFound
from kuberay.snapshot import Object, dig

PORT = "dashboard"
"""The name KubeRay gives to 8265 on the head's Service."""
TOKEN_HEADER = "x-ray-authorization"
TOKEN_KEY = "auth_token"


@dataclass(frozen=True)
class Dashboard:
    """The dashboard of one RayCluster.

    Attributes:
        cluster: the RayCluster's name.
        token: of clusters with token authentication; never shown.
        read_s: how long an answer may take, in seconds.
    """

    api: Api
    namespace: str
    cluster: str
    token: str = field(default="", repr=False)
    read_s: float = 5.0

    @classmethod
    def of(cls, api: Api, cluster: Object) -> Dashboard:
        """The dashboard of a RayCluster object, with its token where it wants one.

        Raises:
            ApiError: the token's Secret cannot be read.
        """
        about = cluster["metadata"]
        return cls(api, about["namespace"], about["name"], _token(api, cluster))

    def applications(self) -> Mapping[str, Any]:
        """Serve's own report: applications, deployments, replicas, proxies.

        Raises:
            ApiError: the head is not there yet, does not answer, or wants another token.
        """
        return self._json("/api/serve/applications/")

    def autoscaler(self) -> str:
        """What Ray's autoscaler last reported: nodes, demands it cannot meet, failed launches. Empty before its first.

        Raises:
            ApiError: as for :meth:`applications`.
        """
        data = self._json("/api/cluster_status", {"format": "1"}).get("data") or {}
        return str(data.get("clusterStatus") or data.get("cluster_status") or "")

    def actor_log(self, actor_id: str, *, stream: str = "err", lines: int = 200) -> str:
        """The end of what a Serve replica, dead or alive, wrote to stdout (``out``) or stderr (``err``).

        Raises:
            ApiError: its node is gone, or as for :meth:`applications`.
        """
        query = {"actor_id": actor_id, "suffix": stream, "lines": str(lines), "filter_ansi_code": "true"}
        return self._get("/api/v0/logs/file", query).decode("utf-8", "replace")

    def _json(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        body = self._get(path, query)
        try:
            said = json.loads(body)
        except ValueError as error:
            raise ApiError(f"The dashboard of RayCluster {self.cluster} answered {path} with no JSON.") from error
        return said if isinstance(said, dict) else {}

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        headers = {TOKEN_HEADER: f"Bearer {self.token}"} if self.token else {}
        return self.api.via_service(
            "GET",
            head_service(self.cluster),
            PORT,
            path,
            self.namespace,
            query=query,
            headers=headers,
            read_s=self.read_s,
        ).body


def head_service(cluster: str) -> str:
    """The name of the Service of a RayCluster's head (KubeRay 1.6 and 1.7: ``GenerateHeadServiceName``)."""
    return f"{cluster}-head-svc"


def token_secret(cluster: Object) -> str:
    """The name of the Secret with a RayCluster's token; empty where it wants none."""
    options = dig(cluster, "spec", "authOptions", default={})
    if options.get("mode") != "token":
        return ""
    return str(options.get("secretName") or cluster["metadata"]["name"])


def _token(api: Api, cluster: Object) -> str:
    name, namespace = token_secret(cluster), cluster["metadata"]["namespace"]
    if not name:
        return ""
    content = dig(api.get(SECRET, name, namespace), "data", TOKEN_KEY, default="")
    try:
        token = base64.b64decode(content, validate=True).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        token = ""
    if not token:
        raise NotFound(f"The Secret {name} in namespace {namespace} has no usable token under the key {TOKEN_KEY}.")
    return token
