"""The application that holds a switch until it is decided. It has no route and takes no CPU.

KubeRay moves traffic to a new cluster when each of its Serve applications is RUNNING. This one's only replica does not
leave its constructor before the decision about the release is there, so the application stays DEPLOYING. A refusal is
an exception: DEPLOY_FAILED, with the reason in the RayService's status. Where nothing else serves, it opens by itself.

It sits on the head, which has the right to read three things and nothing more: the decisions, the RayService, and the
pods of its namespace. What it makes of them: :func:`serve_app.decision.answer`.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ray import serve

from serve_app.decision import Answer, Decision, Seen, answer, config_map, parse
from serve_app.environment import RELEASE_VARIABLE
from serve_app.load import load

logger = logging.getLogger("ray.serve")

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CLUSTER_VARIABLE = "RAY_CLUSTER_NAME"
"""KubeRay sets it in each pod."""
HEAD_RESOURCE = "node:__internal_head__"
POLL_S = 1.0
REMIND_S = 60.0


class SwitchRefused(Exception):
    """The release was refused: this cluster gets no traffic."""


class KubernetesView:
    """What the gate sees of its cluster, read with the pod's own account.

    Args:
        service: the RayService's name.
        address: of the API server, with ``https://``.
        account: folder with the account's ``token``, ``ca.crt`` and ``namespace``. The token is read anew each time: it
            changes within the hour.
    """

    def __init__(self, service: str, cluster: str, release: str, address: str, account: Path = ACCOUNT) -> None:
        self._service, self._cluster, self._release = service, cluster, release
        self._address, self._account = address, account
        self._namespace = (account / "namespace").read_text().strip()
        trusted = account / "ca.crt"
        tls = ssl.create_default_context(cafile=str(trusted)) if address.startswith("https") else None
        # No proxy: one that is set for downloads knows nothing of the cluster's own addresses.
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)]
        self._open = urllib.request.build_opener(*handlers).open

    def look(self) -> Seen:
        """The world as it is now.

        Raises:
            OSError: the API server does not answer, or does not let us read.
        """
        service = self._get(f"/apis/ray.io/v1/namespaces/{self._namespace}/rayservices/{self._service}") or {}
        active = ((service.get("status") or {}).get("activeServiceStatus") or {}).get("rayClusterName") or ""
        return Seen(self._cluster, active, self._decision(), self._ready())

    def _decision(self) -> Decision | None:
        found = self._get(f"/api/v1/namespaces/{self._namespace}/configmaps/{config_map(self._service)}") or {}
        return parse((found.get("data") or {}).get(self._release))

    def _ready(self) -> int:
        wanted = urllib.parse.quote(f"ray.io/cluster={self._cluster},ray.io/serve=true")
        pods = (self._get(f"/api/v1/namespaces/{self._namespace}/pods?labelSelector={wanted}") or {}).get("items") or []
        return sum(
            any(one.get("type") == "Ready" and one.get("status") == "True" for one in _conditions(pod))
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]  # one that leaves gets no traffic any more
        )

    def _get(self, path: str) -> dict[str, Any] | None:
        """An object; None where there is none."""
        token = (self._account / "token").read_text().strip()
        request = urllib.request.Request(self._address + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with self._open(request, timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


def view() -> KubernetesView | None:
    """From the pod's environment; None outside Kubernetes, where there is no switch to hold."""
    host, cluster = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get(CLUSTER_VARIABLE)
    if not host or not cluster:
        return None
    host = f"[{host}]" if ":" in host else host
    address = f"https://{host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    return KubernetesView(load().name, cluster, os.environ.get(RELEASE_VARIABLE, ""), address)


def hold(seen_by: KubernetesView | None, *, poll_s: float = POLL_S) -> str:
    """Return, with the reason, when the gate may open.

    Raises:
        SwitchRefused: it never may.
    """
    said, said_at = "", 0.0
    while seen_by is not None:
        try:
            what, why = answer(seen_by.look())
        except (OSError, ValueError, HTTPException) as error:  # the API server is away, or says half of it: ask again
            what, why = Answer.WAIT, f"the decision cannot be read: {error}"
        if what is Answer.REFUSE:
            raise SwitchRefused(why)
        if what is Answer.OPEN:
            return why
        if why != said or time.monotonic() - said_at > REMIND_S:
            said, said_at = why, time.monotonic()
            logger.info("The gate holds: %s. `switchyard promote` opens it, `switchyard abort` refuses.", why)
        time.sleep(poll_s)
    return "not on Kubernetes"


@serve.deployment(
    name="Gate",
    num_replicas=1,
    # A refusal is final for this cluster: trying again would only delay the answer.
    max_constructor_retry_count=1,
    graceful_shutdown_timeout_s=0,
)
class Gate:
    """The one replica."""

    def __init__(self) -> None:
        logger.info("The gate opens: %s.", hold(view()))

    def __call__(self) -> str:
        return "open"


def build(args: dict[str, Any]) -> serve.Application:
    """The application, for Serve, which calls it with ``args`` (none). On the head: there no worker is kept for it."""
    del args
    here = {"num_cpus": 0, "resources": {HEAD_RESOURCE: 0.001}} if view() else {"num_cpus": 0}
    return Gate.options(ray_actor_options=here).bind()


def _conditions(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return (pod.get("status") or {}).get("conditions") or []
