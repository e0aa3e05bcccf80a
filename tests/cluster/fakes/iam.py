"""google.iam.admin.v1.IAM, Cloud Resource Manager, and the policies that every kind of resource has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.cloud import iam_admin_v1 as api
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2

from tests.cluster.fakes.project import FakeGoogle, Fault

API = "iam.googleapis.com"


def iam(fake: FakeGoogle) -> dict[str, Any]:
    """The methods."""
    made = _Iam(fake)
    service = "/google.iam.admin.v1.IAM/"
    methods: dict[str, Any] = {
        f"{service}ListServiceAccounts": (api.ListServiceAccountsRequest, made.list),
        f"{service}GetServiceAccount": (api.GetServiceAccountRequest, made.get),
        f"{service}CreateServiceAccount": (api.CreateServiceAccountRequest, made.create),
        f"{service}PatchServiceAccount": (api.PatchServiceAccountRequest, made.patch),
        f"{service}DeleteServiceAccount": (api.DeleteServiceAccountRequest, made.delete),
    }
    for name, exists in (
        (service, made.account_exists),
        ("/google.cloud.resourcemanager.v3.Projects/", made.project_exists),
        ("/google.cloud.secretmanager.v1.SecretManagerService/", lambda path: path in fake.secrets),
        ("/google.devtools.artifactregistry.v1.ArtifactRegistry/", lambda path: path in fake.repositories),
    ):
        methods[f"{name}GetIamPolicy"] = (iam_policy_pb2.GetIamPolicyRequest, policy_getter(fake, exists))
        methods[f"{name}SetIamPolicy"] = (iam_policy_pb2.SetIamPolicyRequest, policy_setter(fake, exists))
    return methods


def policy_getter(fake: FakeGoogle, exists: Callable[[str], bool]) -> Any:
    """GetIamPolicy of things that ``exists`` knows."""

    def get(request: Any) -> Any:
        if not exists(request.resource):
            raise Fault(404, f"{request.resource} does not exist.")
        return fake.policies.setdefault(request.resource, policy_pb2.Policy(etag=b"0"))

    return get


def policy_setter(fake: FakeGoogle, exists: Callable[[str], bool]) -> Any:
    """SetIamPolicy: a stale etag is refused, an unknown member too."""

    def put(request: Any) -> Any:
        if not exists(request.resource):
            raise Fault(404, f"{request.resource} does not exist.")
        check_policy(fake, request.resource, request.policy)
        kept = policy_pb2.Policy()
        kept.CopyFrom(request.policy)
        kept.etag = str(fake.new_id()).encode()
        fake.policies[request.resource] = kept
        return kept

    return put


def check_policy(fake: FakeGoogle, resource: str, policy: Any) -> None:
    """What Google checks before it takes a policy."""
    now = fake.policies.get(resource)
    if now is not None and policy.etag and policy.etag != now.etag:
        raise Fault(409, "There were concurrent policy changes. Please retry.", grpc="ABORTED")
    before = {member for binding in now.bindings for member in binding.members} if now else set()
    for binding in policy.bindings:
        for member in binding.members:
            if member not in before and not fake.known(member):
                raise Fault(400, f"Service account {member.split(':')[-1]} does not exist.")


class _Iam:
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake = fake

    def account_exists(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] in self._fake.accounts

    def project_exists(self, path: str) -> bool:
        self._fake.need_api("cloudresourcemanager.googleapis.com")
        return path == f"projects/{self._fake.project}"

    def list(self, request: Any) -> Any:
        self._fake.need_api(API)
        return api.ListServiceAccountsResponse(accounts=list(self._fake.accounts.values()))

    def get(self, request: Any) -> Any:
        self._fake.need_api(API)
        return self._at(request.name)

    def create(self, request: Any) -> Any:
        self._fake.need_api(API)
        email = f"{request.account_id}@{self._fake.project}.iam.gserviceaccount.com"
        if email in self._fake.accounts:
            raise Fault(409, f"Service account {request.account_id} already exists within project.")
        account = api.ServiceAccount(
            name=f"projects/{self._fake.project}/serviceAccounts/{email}",
            email=email,
            display_name=request.service_account.display_name,
            description=request.service_account.description,
        )
        self._fake.accounts[email] = account
        self._fake.accounts_since[email] = self._fake.clock.now()
        return account

    def patch(self, request: Any) -> Any:
        account = self._at(request.service_account.name)
        account.display_name = request.service_account.display_name
        account.description = request.service_account.description
        return account

    def delete(self, request: Any) -> Any:
        account = self._at(request.name)
        del self._fake.accounts[account.email]
        del self._fake.accounts_since[account.email]
        self._fake.policies.pop(request.name, None)
        return empty_pb2.Empty()

    def _at(self, name: str) -> Any:
        email = name.rsplit("/", 1)[-1]
        if email not in self._fake.accounts:
            raise Fault(404, f"Service account {name} does not exist.")
        return self._fake.accounts[email]
