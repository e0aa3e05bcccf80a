"""Service Usage, Artifact Registry, Secret Manager, and google.longrunning.Operations."""

from __future__ import annotations

from typing import Any

from google.cloud import artifactregistry_v1 as registry
from google.cloud import secretmanager_v1 as secrets
from google.cloud import service_usage_v1 as usage
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2

from tests.cluster.fakes.project import NUMBER, FakeGoogle, Fault


def services(fake: FakeGoogle) -> dict[str, Any]:
    """The methods."""
    made = _Services(fake)
    api = "/google.api.serviceusage.v1.ServiceUsage/"
    images = "/google.devtools.artifactregistry.v1.ArtifactRegistry/"
    secret = "/google.cloud.secretmanager.v1.SecretManagerService/"
    return {
        "/google.longrunning.Operations/GetOperation": (operations_pb2.GetOperationRequest, made.operation),
        f"{api}BatchGetServices": (usage.BatchGetServicesRequest, made.get_services),
        f"{api}BatchEnableServices": (usage.BatchEnableServicesRequest, made.enable),
        f"{images}GetRepository": (registry.GetRepositoryRequest, made.get_repository),
        f"{images}ListRepositories": (registry.ListRepositoriesRequest, made.list_repositories),
        f"{images}CreateRepository": (registry.CreateRepositoryRequest, made.create_repository),
        f"{images}UpdateRepository": (registry.UpdateRepositoryRequest, made.update_repository),
        f"{images}DeleteRepository": (registry.DeleteRepositoryRequest, made.delete_repository),
        f"{secret}GetSecret": (secrets.GetSecretRequest, made.get_secret),
        f"{secret}ListSecrets": (secrets.ListSecretsRequest, made.list_secrets),
        f"{secret}CreateSecret": (secrets.CreateSecretRequest, made.create_secret),
        f"{secret}UpdateSecret": (secrets.UpdateSecretRequest, made.update_secret),
        f"{secret}DeleteSecret": (secrets.DeleteSecretRequest, made.delete_secret),
        f"{secret}AddSecretVersion": (secrets.AddSecretVersionRequest, made.add_version),
        f"{secret}GetSecretVersion": (secrets.GetSecretVersionRequest, made.get_version),
        f"{secret}AccessSecretVersion": (secrets.AccessSecretVersionRequest, made.access_version),
    }


class _Services:
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake = fake

    def _started(self, seconds: float, finish: Any) -> Any:
        running = self._fake.start(seconds, finish)
        return operations_pb2.Operation(name=f"operations/{running.name}", done=False)

    def operation(self, request: Any) -> Any:
        running = self._fake.operations.get(request.name.rsplit("/", 1)[-1])
        if running is None:
            raise Fault(404, "no such operation")
        done = operations_pb2.Operation(name=request.name, done=running.over)
        if running.over:
            packed = any_pb2.Any()
            packed.Pack(empty_pb2.Empty())
            done.response.CopyFrom(packed)
        return done

    # Service Usage

    def get_services(self, request: Any) -> Any:
        if request.parent != f"projects/{self._fake.project}":
            raise Fault(
                403, f"Permission denied on resource project {request.parent.split('/')[1]}.", "CONSUMER_INVALID"
            )
        return usage.BatchGetServicesResponse(
            services=[
                usage.Service(
                    name=f"projects/{NUMBER}/services/{name.rsplit('/', 1)[-1]}",
                    state="ENABLED" if name.rsplit("/", 1)[-1] in self._fake.services else "DISABLED",
                )
                for name in request.names
            ]
        )

    def enable(self, request: Any) -> Any:
        names = list(request.service_ids)

        def finish() -> None:
            for name in names:
                self._fake.services[name] = self._fake.clock.now() + self._fake.lag_s

        return self._started(20, finish)

    # Artifact Registry

    def get_repository(self, request: Any) -> Any:
        self._fake.need_api("artifactregistry.googleapis.com")
        if request.name not in self._fake.repositories:
            raise Fault(404, f"Requested entity was not found: {request.name}")
        return self._fake.repositories[request.name]

    def list_repositories(self, request: Any) -> Any:
        self._fake.need_api("artifactregistry.googleapis.com")
        return registry.ListRepositoriesResponse(repositories=list(self._fake.repositories.values()))

    def create_repository(self, request: Any) -> Any:
        self._fake.need_api("artifactregistry.googleapis.com")
        name = f"{request.parent}/repositories/{request.repository_id}"
        if name in self._fake.repositories:
            raise Fault(409, "the repository already exists")
        repository = request.repository
        repository.name = name
        # As Google does: it can be read before its operation has ended.
        self._fake.repositories[name] = repository
        return self._started(5, lambda: None)

    def update_repository(self, request: Any) -> Any:
        found = self._fake.repositories[request.repository.name]
        for path in request.update_mask.paths:
            setattr(found, path, getattr(request.repository, path))
        return found

    def delete_repository(self, request: Any) -> Any:
        if self._fake.repositories.pop(request.name, None) is None:
            raise Fault(404, f"Requested entity was not found: {request.name}")
        self._fake.policies.pop(request.name, None)
        return self._started(5, lambda: None)

    # Secret Manager

    def get_secret(self, request: Any) -> Any:
        self._fake.need_api("secretmanager.googleapis.com")
        if request.name not in self._fake.secrets:
            raise Fault(404, f"Secret [{request.name}] not found.")
        return self._fake.secrets[request.name]

    def list_secrets(self, request: Any) -> Any:
        self._fake.need_api("secretmanager.googleapis.com")
        return secrets.ListSecretsResponse(secrets=list(self._fake.secrets.values()))

    def create_secret(self, request: Any) -> Any:
        self._fake.need_api("secretmanager.googleapis.com")
        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self._fake.secrets:
            raise Fault(409, f"Secret [{name}] already exists.")
        request.secret.name = name
        self._fake.secrets[name] = request.secret
        return request.secret

    def update_secret(self, request: Any) -> Any:
        found = self._fake.secrets[request.secret.name]
        found.labels = dict(request.secret.labels)
        return found

    def delete_secret(self, request: Any) -> Any:
        if self._fake.secrets.pop(request.name, None) is None:
            raise Fault(404, f"Secret [{request.name}] not found.")
        self._fake.versions.pop(request.name, None)
        self._fake.policies.pop(request.name, None)
        return empty_pb2.Empty()

    def add_version(self, request: Any) -> Any:
        if request.parent not in self._fake.secrets:
            raise Fault(404, f"Secret [{request.parent}] not found.")
        versions = self._fake.versions.setdefault(request.parent, [])
        versions.append(request.payload.data)
        self._fake.disabled_secrets.discard(request.parent)
        return secrets.SecretVersion(name=f"{request.parent}/versions/{len(versions)}", state="ENABLED")

    def get_version(self, request: Any) -> Any:
        versions = self._fake.versions.get(request.name.split("/versions/")[0], [])
        if not versions:
            raise Fault(404, f"Secret Version [{request.name}] not found.")
        disabled = request.name.split("/versions/")[0] in self._fake.disabled_secrets
        return secrets.SecretVersion(name=request.name, state="DISABLED" if disabled else "ENABLED")

    def access_version(self, request: Any) -> Any:
        versions = self._fake.versions.get(request.name.split("/versions/")[0], [])
        if not versions:
            raise Fault(404, f"Secret Version [{request.name}] not found.")
        if request.name.split("/versions/")[0] in self._fake.disabled_secrets:
            raise Fault(412, f"Secret Version [{request.name}] is in DISABLED state.")
        return secrets.AccessSecretVersionResponse(name=request.name, payload={"data": versions[-1]})
