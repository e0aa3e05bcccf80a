"""Service accounts, and single role bindings in the policies of five kinds of resource."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import Conflict, Denied, NotFound
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Steps, mask, spec_of
from cluster.model import Action, Found, Key, Spec, mark_of

POLICY_TRIES = 5


class Iam:
    """Service accounts of the project."""

    kinds = ("service-account",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._call = clients.call
        self._clients = clients

    def observe(self) -> list[Found]:
        """The accounts with our names, and those with our mark: one call."""
        pages = self._call.read(
            "iam.ListServiceAccounts",
            self._api.list_service_accounts,
            {"name": f"projects/{self._config.project}", "page_size": 100},
        )
        names = {f"{self._config.name}-nodes", f"{self._config.name}-serve"}
        found = [self._found(account) for account in pages]
        return [item for item in found if item.key.name in names or item.ours]

    def read(self, key: Key) -> Found | None:
        """One account as it is now."""
        got = self._call.maybe("iam.GetServiceAccount", self._api.get_service_account, {"name": self._path(key.name)})
        return None if got is None else self._found(got)

    def create(self, key: Key, spec: Spec) -> Steps:
        account = {"display_name": spec["displayName"], "description": spec["description"]}
        request = {"name": f"projects/{self._config.project}", "account_id": key.name, "service_account": account}
        self._call.write("iam.CreateServiceAccount", self._api.create_service_account, request)
        yield from ()

    def update(self, action: Action) -> Steps:
        spec = action.spec
        account = {
            "name": self._path(action.key.name),
            "display_name": spec["displayName"],
            "description": spec["description"],
        }
        request = {"service_account": account, "update_mask": mask("display_name", "description")}
        self._call.write("iam.PatchServiceAccount", self._api.patch_service_account, request)
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        with contextlib.suppress(NotFound):
            self._call.write(
                "iam.DeleteServiceAccount", self._api.delete_service_account, {"name": self._path(key.name)}
            )
        yield from ()

    def _found(self, account: Any) -> Found:
        name = account.email.split("@")[0]
        return Found(
            Key("service-account", name),
            spec_of(account),
            ours=account.description == mark_of(self._config.name),
        )

    def _path(self, name: str) -> str:
        project = self._config.project
        return f"projects/{project}/serviceAccounts/{name}@{project}.iam.gserviceaccount.com"

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.iam_admin_v1", "IAMClient")


class Grants:
    """Bindings of one member to one role. Everything else in a policy is read and written back as it was."""

    kinds = ("grant",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._call = clients.call
        self._clients = clients

    def observe(self, specs: Mapping[Key, Spec]) -> list[Found]:
        """Which of these bindings are there: one call a resource."""
        policies: dict[tuple[str, str], Any] = {}
        found: list[Found] = []
        for key, spec in specs.items():
            place = (spec["on"], spec["resource"])
            if place not in policies:
                policies[place] = self._seen(*place)
            if policies[place] is not None and _has(policies[place], spec):
                found.append(Found(key, spec))
        return found

    def _seen(self, on: str, resource: str) -> Any:
        try:
            return self._get(on, resource)
        except Denied:
            if on != "bucket":
                raise
            return None  # a bucket of somebody else's: the plan refuses it by itself

    def read(self, key: Key, spec: Spec) -> Found | None:
        """One binding as it is now."""
        return next(iter(self.observe({key: spec})), None)

    def create(self, key: Key, spec: Spec) -> Steps:
        self._edit(spec, add=True)
        yield from ()

    def update(self, action: Action) -> Steps:
        yield from self.create(action.key, action.spec)

    def delete(self, key: Key, found: Found | None) -> Steps:
        if found is not None:
            self._edit(found.spec, add=False)
        yield from ()

    def _edit(self, spec: Spec, *, add: bool) -> None:
        for attempt in range(POLICY_TRIES):
            policy = self._get(spec["on"], spec["resource"])
            if policy is None:
                if add:
                    raise NotFound(f"{spec['on']} {spec['resource']} is not there yet")
                return
            if _has(policy, spec) == add:
                return
            (_add if add else _remove)(policy, spec)
            try:
                self._set(spec["on"], spec["resource"], policy)
                return
            except Conflict:  # somebody else wrote the policy in between: read it again
                if attempt == POLICY_TRIES - 1:
                    raise
                self._call.clock.sleep(1.0)

    def _get(self, on: str, resource: str) -> Any:
        # Without version 3 Google leaves conditional bindings out, and writing back would delete them.
        if on == "bucket":
            return self._call.maybe(
                "storage.buckets.getIamPolicy", self._bucket(resource).get_iam_policy, requested_policy_version=3
            )
        request = {"resource": self._path(on, resource), "options": {"requested_policy_version": 3}}
        return self._call.maybe(f"{on}.GetIamPolicy", self._client(on).get_iam_policy, request)

    def _set(self, on: str, resource: str, policy: Any) -> None:
        if on == "bucket":
            self._call.write("storage.buckets.setIamPolicy", self._bucket(resource).set_iam_policy, policy=policy)
            return
        request = {"resource": self._path(on, resource), "policy": policy}
        self._call.write(f"{on}.SetIamPolicy", self._client(on).set_iam_policy, request)

    def _bucket(self, name: str) -> Any:
        return self._clients.storage().bucket(name)

    def _client(self, on: str) -> Any:
        module, name = {
            "project": ("google.cloud.resourcemanager_v3", "ProjectsClient"),
            "secret": ("google.cloud.secretmanager_v1", "SecretManagerServiceClient"),
            "repository": ("google.cloud.artifactregistry_v1", "ArtifactRegistryClient"),
            "service-account": ("google.cloud.iam_admin_v1", "IAMClient"),
        }[on]
        return self._clients.grpc(module, name)

    def _path(self, on: str, resource: str) -> str:
        project = self._config.project
        return {
            "project": f"projects/{resource}",
            "secret": f"projects/{project}/secrets/{resource}",
            "repository": f"projects/{project}/locations/{self._config.region}/repositories/{resource}",
            "service-account": f"projects/{project}/serviceAccounts/{resource}@{project}.iam.gserviceaccount.com",
        }[on]


def _has(policy: Any, spec: Spec) -> bool:
    return any(
        _field(binding, "role") == spec["role"]
        and spec["member"] in _field(binding, "members")
        and not _field(binding, "condition")
        for binding in policy.bindings
    )


def _add(policy: Any, spec: Spec) -> None:
    if isinstance(policy.bindings, list):  # google-cloud-storage's own Policy
        policy.version = 3
        policy.bindings.append({"role": spec["role"], "members": {spec["member"]}})
    else:
        policy.version = 3
        policy.bindings.add(role=spec["role"], members=[spec["member"]])


def _remove(policy: Any, spec: Spec) -> None:
    for binding in policy.bindings:
        if _field(binding, "role") == spec["role"] and not _field(binding, "condition"):
            members = _field(binding, "members")
            if spec["member"] in members:
                members.remove(spec["member"])
    if isinstance(policy.bindings, list):
        policy.bindings = [binding for binding in policy.bindings if binding.get("members")]
    else:
        kept = [binding for binding in policy.bindings if binding.members]
        del policy.bindings[:]
        policy.bindings.extend(kept)


def _field(binding: Any, name: str) -> Any:
    if isinstance(binding, dict):
        return binding.get(name)
    if name == "condition":
        return binding.condition.expression
    return getattr(binding, name)
