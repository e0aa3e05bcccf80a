"""Alert policies, notification channels, the dashboard, and the budget."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from cluster.config import ClusterConfig
from cluster.errors import Denied, NoBilling, NotFound
from cluster.gcp.clients import Clients
from cluster.gcp.messages import Steps, mask, message, spec_of
from cluster.model import NAME_LABEL, Action, Found, Key, Spec, bears_labels, labels_of

_CLIENTS = {
    "alert": ("AlertPolicyServiceClient", "AlertPolicy", "alert_policy"),
    "channel": ("NotificationChannelServiceClient", "NotificationChannel", "notification_channel"),
}


class Monitoring:
    """Policies and channels get their names from Google, so a label says which one of ours each is."""

    kinds = ("alert", "channel")

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._parent = f"projects/{config.project}"
        self._call = clients.call
        self._clients = clients

    def observe(self, *, channels: bool) -> list[Found]:
        """All policies with our labels, and where asked for our channels: a call each.

        A policy's channels are given by our names for them, as far as they are ours and were asked for.
        """
        found = self._list("channel") if channels else []
        ours = {item.facts["name"]: item.key.name for item in found}
        for item in self._list("alert"):
            named = [ours.get(name, name) for name in item.spec.get("notificationChannels", [])]
            found.append(replace(item, spec={**item.spec, "notificationChannels": named}))
        return found

    def _list(self, kind: str) -> list[Found]:
        """All of this kind with our labels: one call. A twin, of a create that was answered too late, shows as #2."""
        mine = " AND ".join(f'user_labels.{key}="{value}"' for key, value in labels_of(self._config.name).items())
        plural = {"alert": "list_alert_policies", "channel": "list_notification_channels"}[kind]
        request = {"name": self._parent, "filter": mine}
        found: dict[Key, Found] = {}
        pages = self._call.read(f"monitoring.{plural}", getattr(self._api(kind), plural), request)
        for item in sorted(pages, key=lambda item: item.name):
            name = item.user_labels.get(NAME_LABEL, item.name.rsplit("/", 1)[-1])
            key, number = Key(kind, name), 2
            while key in found:
                key, number = Key(kind, f"{name}#{number}"), number + 1
            found[key] = Found(key, spec_of(item), facts={"name": item.name})
        return list(found.values())

    def read(self, key: Key) -> Found | None:
        """One of them as it is now."""
        every = self._list("channel") if key.kind == "channel" else self.observe(channels=True)
        return next((found for found in every if found.key == key), None)

    def create(self, key: Key, spec: Spec) -> Steps:
        _, kind, name = _CLIENTS[key.kind]
        body = self._message(key.kind, kind, self._with_channels(key, spec))
        method = getattr(self._api(key.kind), f"create_{name}")
        self._call.write(f"monitoring.Create{kind}", method, {"name": self._parent, name: body})
        yield from ()

    def update(self, action: Action) -> Steps:
        _, kind, name = _CLIENTS[action.key.kind]
        # What people added stays: the update is of the whole policy.
        there = action.existing.spec.get("notificationChannels", [])
        both = dict.fromkeys([*action.spec.get("notificationChannels", []), *there])
        spec = {**action.spec, "notificationChannels": list(both)} if action.key.kind == "alert" else action.spec
        spec = {**self._with_channels(action.key, spec), "name": action.existing.facts["name"]}
        method = getattr(self._api(action.key.kind), f"update_{name}")
        self._call.write(f"monitoring.Update{kind}", method, {name: self._message(action.key.kind, kind, spec)})
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        _, kind, name = _CLIENTS[key.kind]
        if found is not None:
            request: dict[str, Any] = {"name": found.facts["name"]}
            if key.kind == "channel":
                request["force"] = True  # policies that name it lose it
            with contextlib.suppress(NotFound):
                self._call.write(f"monitoring.Delete{kind}", getattr(self._api(key.kind), f"delete_{name}"), request)
        yield from ()

    def _with_channels(self, key: Key, spec: Spec) -> dict[str, Any]:
        """With Google's names for our channels."""
        if key.kind != "alert" or not spec.get("notificationChannels"):
            return dict(spec)
        names = {item.key.name: item.facts["name"] for item in self._list("channel")}
        return {**spec, "notificationChannels": [names.get(one, one) for one in spec["notificationChannels"]]}

    def _message(self, kind: str, name: str, spec: Spec) -> Any:
        from google.cloud import monitoring_v3

        return message(getattr(monitoring_v3, name), spec)

    def _api(self, kind: str) -> Any:
        return self._clients.grpc("google.cloud.monitoring_v3", _CLIENTS[kind][0])


class Dashboards:
    """The dashboard. Its name can be chosen, so that there is one."""

    kinds = ("dashboard",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._parent = f"projects/{config.project}"
        self._call = clients.call
        self._clients = clients

    def read(self, key: Key) -> Found | None:
        """The dashboard as it is now."""
        request = {"name": self._path(key)}
        got = self._call.maybe("monitoring.GetDashboard", self._api.get_dashboard, request)
        if got is None:
            return None
        return Found(key, spec_of(got), bears_labels(got.labels, self._config.name))

    def create(self, key: Key, spec: Spec) -> Steps:
        from google.cloud import monitoring_dashboard_v1 as api

        body = message(api.Dashboard, {**spec, "name": self._path(key)})
        request = {"parent": self._parent, "dashboard": body}
        self._call.write("monitoring.CreateDashboard", self._api.create_dashboard, request)
        yield from ()

    def update(self, action: Action) -> Steps:
        from google.cloud import monitoring_dashboard_v1 as api

        etag = action.found.spec.get("etag", "") if action.found else ""
        body = message(api.Dashboard, {**action.spec, "name": self._path(action.key), "etag": etag})
        self._call.write("monitoring.UpdateDashboard", self._api.update_dashboard, {"dashboard": body})
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        with contextlib.suppress(NotFound):
            self._call.write("monitoring.DeleteDashboard", self._api.delete_dashboard, {"name": self._path(key)})
        yield from ()

    def _path(self, key: Key) -> str:
        return f"{self._parent}/dashboards/switchyard-{key.name}"

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.monitoring_dashboard_v1", "DashboardsServiceClient")


class Budgets:
    """The monthly budget, on the project's billing account. Known by its display name: budgets bear no labels."""

    kinds = ("budget",)

    def __init__(self, config: ClusterConfig, clients: Clients) -> None:
        self._config = config
        self._call = clients.call
        self._clients = clients
        self._account = ""

    def read(self, key: Key, *, lag: bool = True) -> Found | None:
        """The budget as it is now; ``lag`` as for :meth:`cluster.gcp.calls.Caller.read`."""
        title = f"switchyard {self._config.project} {key.name}"
        request = {"parent": self._billing(lag=lag)}
        pages = self._call.read("billingbudgets.ListBudgets", self._api.list_budgets, request, lag=lag)
        for item in pages:
            if item.display_name == title:
                spec = spec_of(item)
                # Google answers with the project's number; there is one project in it.
                spec.get("budgetFilter", {})["projects"] = [f"projects/{self._config.project}"]
                return Found(key, spec, facts={"name": item.name})
        return None

    def leftover(self) -> list[Found]:
        """The budget of a cluster whose file no longer wants one; none where budgets may not be read."""
        with contextlib.suppress(Denied, NoBilling):
            found = self.read(Key("budget", self._config.name), lag=False)
            return [found] if found else []
        return []

    def create(self, key: Key, spec: Spec) -> Steps:
        request = {"parent": self._billing(), "budget": self._message(spec)}
        self._call.write("billingbudgets.CreateBudget", self._api.create_budget, request)
        yield from ()

    def update(self, action: Action) -> Steps:
        changed = {change.path.split(".")[0] for change in action.changes}
        paths = {
            "displayName": "display_name",
            "budgetFilter": "budget_filter",
            "amount": "amount",
            "thresholdRules": "threshold_rules",
        }
        request = {
            "budget": self._message({**action.spec, "name": action.existing.facts["name"]}),
            "update_mask": mask(*sorted(paths[part] for part in changed)),
        }
        self._call.write("billingbudgets.UpdateBudget", self._api.update_budget, request)
        yield from ()

    def delete(self, key: Key, found: Found | None) -> Steps:
        if found is not None:
            with contextlib.suppress(NotFound):
                self._call.write("billingbudgets.DeleteBudget", self._api.delete_budget, {"name": found.facts["name"]})
        yield from ()

    def _billing(self, *, lag: bool = True) -> str:
        if not self._account:
            api = self._clients.grpc("google.cloud.billing_v1", "CloudBillingClient")
            request = {"name": f"projects/{self._config.project}"}
            info = self._call.read("cloudbilling.GetProjectBillingInfo", api.get_project_billing_info, request, lag=lag)
            if not info.billing_enabled:
                raise NoBilling(
                    f"The project {self._config.project} has no billing account; link one: "
                    f"gcloud billing projects link {self._config.project} --billing-account=ACCOUNT"
                )
            self._account = info.billing_account_name
        return self._account

    def _message(self, spec: Spec) -> Any:
        from google.cloud.billing import budgets_v1

        return message(budgets_v1.Budget, spec)

    @property
    def _api(self) -> Any:
        return self._clients.grpc("google.cloud.billing.budgets_v1", "BudgetServiceClient")
