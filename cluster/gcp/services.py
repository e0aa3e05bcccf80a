"""The project's APIs, the image repository and the secret with the Hugging Face token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import Busy, Denied, NotFound
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Steps, mask, message, operation, spec_of
from cluster.model import TOKEN_SOURCE, Action, Found, Key, Spec, bears_labels


class Apis:
    """Enables APIs; never disables one."""

    kinds = ("apis",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._parent = f"projects/{config.project}"
        self._project = config.project
        self._call = clients.call
        self._clients = clients

    def observe(self, services: Iterable[str]) -> Found:
        """Which of them are enabled: one call.

        Raises:
            Denied: the project does not exist, or is not ours to see; Google does not tell which.
        """
        request = {"parent": self._parent, "names": [f"{self._parent}/services/{name}" for name in services]}
        try:
            got = self._call.read("serviceusage.BatchGetServices", self._api.batch_get_services, request, lag=False)
        except (NotFound, Denied) as error:
            if type(error) not in (NotFound, Denied):
                raise
            raise Denied(
                f"Google does not show the project {self._project!r} to these credentials: it does not exist, or you "
                f"lack the role Viewer on it. Check cluster.project, and who you are with: gcloud auth list ({error})"
            ) from error
        enabled = [service.name.rsplit("/", 1)[-1] for service in got.services if service.state.name == "ENABLED"]
        return Found(Key("apis", self._project), {"services": sorted(enabled)})

    def read(self, key: Key, spec: Spec) -> Found | None:
        """The APIs as they are now."""
        return self.observe(spec["services"])

    def create(self, key: Key, spec: Spec) -> Steps:
        request = {"parent": self._parent, "service_ids": list(spec["services"])}
        done = self._call.write("serviceusage.BatchEnableServices", self._api.batch_enable_services, request)
        yield from operation(self._clients, self._api, done, str(key))

    def update(self, action: Action) -> Steps:
        enabled = (action.found.spec if action.found else {}).get("services", [])
        missing = [name for name in action.spec["services"] if name not in enabled]
        yield from self.create(action.key, {"services": missing})

    def delete(self, key: Key, found: Found | None) -> Steps:
        yield from ()

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.service_usage_v1", "ServiceUsageClient")


class Registry:
    """The Artifact Registry repository."""

    kinds = ("repository",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._parent = f"projects/{config.project}/locations/{config.region}"
        self._call = clients.call
        self._clients = clients

    def read(self, key: Key) -> Found | None:
        """The repository as it is now."""
        request = {"name": f"{self._parent}/repositories/{key.name}"}
        got = self._call.maybe("artifactregistry.GetRepository", self._api.get_repository, request)
        return None if got is None else self._found(got)

    def observe(self) -> list[Found]:
        """All of the region: one call."""
        request = {"parent": self._parent}
        pages = self._call.read("artifactregistry.ListRepositories", self._api.list_repositories, request)
        return [self._found(item) for item in pages]

    def create(self, key: Key, spec: Spec) -> Steps:
        from google.cloud import artifactregistry_v1 as api

        request = {
            "parent": self._parent,
            "repository_id": key.name,
            "repository": message(api.Repository, spec),
        }
        done = self._call.write("artifactregistry.CreateRepository", self._api.create_repository, request)
        yield from operation(self._clients, self._api, done, str(key))

    def update(self, action: Action) -> Steps:
        from google.cloud import artifactregistry_v1 as api

        changed = {change.path.split(".")[0] for change in action.changes}
        paths = {"labels": "labels", "description": "description", "cleanupPolicies": "cleanup_policies"}
        spec: dict[str, Any] = {"name": f"{self._parent}/repositories/{action.key.name}"}
        spec |= {part: action.spec[part] for part in changed}
        if "labels" in changed and action.found:
            spec["labels"] = {**action.found.spec.get("labels", {}), **action.spec["labels"]}
        request = {
            "repository": message(api.Repository, spec),
            "update_mask": mask(*(paths[part] for part in sorted(changed))),
        }
        self._call.write("artifactregistry.UpdateRepository", self._api.update_repository, request)
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        request = {"name": f"{self._parent}/repositories/{key.name}"}
        try:
            done = self._call.write("artifactregistry.DeleteRepository", self._api.delete_repository, request)
        except NotFound:
            return
        yield from operation(self._clients, self._api, done, str(key))

    def _found(self, item: Any) -> Found:
        ours = bears_labels(item.labels, self._config.name)
        return Found(_key("repository", item), spec_of(item), ours, facts={"bytes": item.size_bytes})

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.artifactregistry_v1", "ArtifactRegistryClient")


class Secrets:
    """The secret and its newest version. The token itself is in no plan, no log and no error.

    Args:
        token: the Hugging Face token, where there is one at hand.
    """

    kinds = ("secret", "secret-version")

    def __init__(self, config: ClusterConfig, clients: Clients, token: str) -> None:
        self._config = config
        self._parent = f"projects/{config.project}"
        self._call = clients.call
        self._clients = clients
        self._token = token

    def read(self, key: Key) -> Found | None:
        """The secret, or its newest version."""
        if key.kind == "secret-version":
            return self._version(key)
        request = {"name": f"{self._parent}/secrets/{key.name}"}
        got = self._call.maybe("secretmanager.GetSecret", self._api.get_secret, request)
        return None if got is None else self._found(got)

    def observe(self) -> list[Found]:
        """All of the project: one call."""
        pages = self._call.read("secretmanager.ListSecrets", self._api.list_secrets, {"parent": self._parent})
        return [self._found(item) for item in pages]

    def _found(self, item: Any) -> Found:
        return Found(_key("secret", item), spec_of(item), bears_labels(item.labels, self._config.name))

    def _version(self, key: Key) -> Found | None:
        """The newest one. Who may not read it is taken to have brought the same token."""
        if self._token:
            with contextlib.suppress(Denied):
                there = self.token(key.name)
                source = TOKEN_SOURCE if there == self._token else "another token"
                return Found(key, {"source": source}) if there else None
        request = {"name": f"{self._parent}/secrets/{key.name}/versions/latest"}
        got = self._call.maybe("secretmanager.GetSecretVersion", self._api.get_secret_version, request)
        return None if got is None or got.state.name != "ENABLED" else Found(key, {"source": TOKEN_SOURCE})

    def token(self, name: str) -> str:
        """The token that Secret Manager has; empty where it has none, or where the newest version is disabled."""
        request = {"name": f"{self._parent}/secrets/{name}/versions/latest"}
        try:
            got = self._call.maybe("secretmanager.AccessSecretVersion", self._api.access_secret_version, request)
        except Busy:  # FAILED_PRECONDITION: disabled or destroyed
            return ""
        return "" if got is None else got.payload.data.decode()

    def create(self, key: Key, spec: Spec) -> Steps:
        from google.cloud import secretmanager_v1 as api

        if key.kind == "secret-version":
            self._add_version(key)
        else:
            request = {"parent": self._parent, "secret_id": key.name, "secret": message(api.Secret, spec)}
            self._call.write("secretmanager.CreateSecret", self._api.create_secret, request)
        yield from ()

    def _add_version(self, key: Key) -> None:
        request = {"parent": f"{self._parent}/secrets/{key.name}", "payload": {"data": self._token.encode()}}
        self._call.write("secretmanager.AddSecretVersion", self._api.add_secret_version, request)

    def update(self, action: Action) -> Steps:
        from google.cloud import secretmanager_v1 as api

        if action.key.kind == "secret-version":
            self._add_version(action.key)
            return
        labels = {**(action.found.spec.get("labels", {}) if action.found else {}), **action.spec["labels"]}
        secret = message(api.Secret, {"name": f"{self._parent}/secrets/{action.key.name}", "labels": labels})
        self._call.write(
            "secretmanager.UpdateSecret", self._api.update_secret, {"secret": secret, "update_mask": mask("labels")}
        )
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        try:
            request = {"name": f"{self._parent}/secrets/{key.name}"}
            self._call.write("secretmanager.DeleteSecret", self._api.delete_secret, request)
        except NotFound:
            pass
        yield from ()

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.secretmanager_v1", "SecretManagerServiceClient")


def _key(kind: str, item: Any) -> Key:
    return Key(kind, item.name.rsplit("/", 1)[-1])
