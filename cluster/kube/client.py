"""The cluster's own API server: server-side apply, reads, deletes. The only file that speaks to Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from cluster.errors import KubernetesFailed
from cluster.gcp.clients import Clients
from cluster.inside.objects import FIELD_MANAGER, path_of, path_of_object

TIMEOUT_S = 60


class Kube:
    """One API server."""

    def __init__(self, api: Any, where: str) -> None:
        self._api = api
        self.where = where

    def apply(self, item: Mapping[str, Any]) -> None:
        """Server-side apply. Fields that others manage are taken over: the objects are ours by name."""
        self.apply_raw(path_of_object(item), json.dumps(item).encode())

    def apply_raw(self, path: str, manifest: bytes) -> None:
        """Server-side apply of a manifest as it is (YAML or JSON)."""
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        self._call("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml")

    def merge(self, path: str, patch: Mapping[str, Any]) -> None:
        """A JSON merge patch."""
        self._call("PATCH", path, body=dict(patch), content_type="application/merge-patch+json")

    def get(self, path: str) -> dict[str, Any] | None:
        """An object; None where there is none, or no such kind."""
        return self._call("GET", path)

    def items(self, path: str, labels: str = "") -> list[dict[str, Any]]:
        """A list; empty where there is no such kind."""
        found = self._call("GET", path, query=[("labelSelector", labels)] if labels else ())
        return list(found.get("items") or []) if found else []

    def delete(self, path: str) -> bool:
        """Delete an object; False where there was none."""
        return self._call("DELETE", path) is not None

    def can_suspend(self) -> bool:
        """Whether the RayService CRD of the cluster has ``spec.suspend`` (KubeRay 1.7).

        An API server drops fields that a CRD does not have, without a word: a schedule would run and do nothing.
        """
        crd = self.get(path_of("CustomResourceDefinition", name="rayservices.ray.io"))
        for version in (crd or {}).get("spec", {}).get("versions", ()):
            schema = version.get("schema", {}).get("openAPIV3Schema", {}).get("properties", {})
            if version.get("name") == "v1" and "suspend" in schema.get("spec", {}).get("properties", {}):
                return True
        return False

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        content_type: str = "",
    ) -> dict[str, Any] | None:
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        url = f"{self._api.configuration.host.rstrip('/')}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        with translated(self.where):
            self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = self._api.rest_client.request(method, url, headers, body, _request_timeout=TIMEOUT_S)
            text = answer.read()
        if answer.status == 404 and method in ("GET", "DELETE"):
            return None
        if answer.status >= 300:
            raise KubernetesFailed(f"{self.where}: {path}: {answer.status} {_words(text) or answer.reason}")
        return json.loads(text or b"{}")


def from_kubeconfig(path: str | None, context: str | None = None) -> Kube:
    """The API server that a kubeconfig names.

    Raises:
        KubernetesFailed: there is none, or not such a context.
    """
    from kubernetes import client, config

    try:
        api = cast(client.ApiClient, config.new_client_from_config(config_file=path, context=context))
    except (config.ConfigException, OSError) as error:
        where = path or "$KUBECONFIG or ~/.kube/config"
        raise KubernetesFailed(
            f"No cluster in {where}: {str(error).rstrip('. ')}. Write it with: switchyard cluster kubeconfig"
        ) from error
    return Kube(api, api.configuration.host)


def from_gke(endpoint: str, clients: Clients) -> Kube:
    """The API server behind a GKE cluster's DNS endpoint, with the same Google credentials as everything else."""
    from kubernetes import client

    configuration = client.Configuration()
    if clients.endpoints.stand_in:
        configuration.host = f"http://{endpoint}"
    else:
        import google.auth.transport.requests

        credentials = clients.credentials()
        with translated(endpoint):
            credentials.refresh(google.auth.transport.requests.Request())
        configuration.host = f"https://{endpoint}"  # a public certificate: no CA of the cluster's own
        configuration.api_key = {"authorization": credentials.token}
        configuration.api_key_prefix = {"authorization": "Bearer"}
    configuration.retries = 2
    return Kube(client.ApiClient(configuration), endpoint)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise our error for the libraries'."""
    import urllib3.exceptions
    from google.auth import exceptions as auth
    from kubernetes.client.exceptions import ApiException

    try:
        yield
    except (urllib3.exceptions.HTTPError, ApiException) as error:  # ApiException: TLS failures
        raise KubernetesFailed(
            f"The API server {where} does not answer ({type(error).__name__}). Is the cluster up? "
            "See: switchyard cluster status"
        ) from error
    except auth.GoogleAuthError as error:
        raise KubernetesFailed(f"{where}: no usable Google credentials: {error}") from error


def _words(text: bytes) -> str:
    """The message of the API server's Status object."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def read_release(folder: str, paths: Mapping[str, str]) -> dict[str, bytes]:
    """A release's files from a folder that is laid out like KubeRay's ``config/``.

    Raises:
        KubernetesFailed: one is missing.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        file = Path(folder) / path
        if not file.is_file():
            raise KubernetesFailed(f"There is no {file}; --manifests is KubeRay's folder ray-operator/config.")
        found[path] = file.read_bytes()
    return found


def fetch_release(urls: Mapping[str, str]) -> dict[str, bytes]:
    """A release's files from where they are published.

    Raises:
        KubernetesFailed: one could not be fetched.
    """
    import requests

    found: dict[str, bytes] = {}
    for path, url in urls.items():
        try:
            answer = requests.get(url, timeout=TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise KubernetesFailed(
                f"{url} cannot be fetched ({type(error).__name__}). Offline, give the files: --manifests FOLDER"
            ) from error
        found[path] = answer.content
    return found
