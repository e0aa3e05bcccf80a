"""Cloud Monitoring, dashboards, billing (accounts, budgets, the price catalogue) and Cloud Quotas."""

from __future__ import annotations

import re
from typing import Any

from google.cloud import billing_v1 as billing
from google.cloud import cloudquotas_v1 as quotas
from google.cloud import monitoring_dashboard_v1 as boards
from google.cloud import monitoring_v3 as api
from google.cloud.billing import budgets_v1 as budgets
from google.protobuf import empty_pb2

from tests.cluster.fakes.project import NUMBER, FakeGoogle, Fault
from tests.cluster.fakes.skus import SKUS, Entry

API = "monitoring.googleapis.com"
ACCOUNT = "billingAccounts/000000-AAAAAA-BBBBBB"


def monitoring(fake: FakeGoogle) -> dict[str, Any]:
    """The methods."""
    made = _Monitoring(fake)
    alerts = "/google.monitoring.v3.AlertPolicyService/"
    channels = "/google.monitoring.v3.NotificationChannelService/"
    board = "/google.monitoring.dashboard.v1.DashboardsService/"
    budget = "/google.cloud.billing.budgets.v1.BudgetService/"
    catalog = "/google.cloud.billing.v1.CloudCatalog/"
    return {
        f"{alerts}ListAlertPolicies": (api.ListAlertPoliciesRequest, made.list_alerts),
        f"{alerts}CreateAlertPolicy": (api.CreateAlertPolicyRequest, made.create_alert),
        f"{alerts}UpdateAlertPolicy": (api.UpdateAlertPolicyRequest, made.update_alert),
        f"{alerts}DeleteAlertPolicy": (api.DeleteAlertPolicyRequest, made.delete),
        f"{channels}ListNotificationChannels": (api.ListNotificationChannelsRequest, made.list_channels),
        f"{channels}CreateNotificationChannel": (api.CreateNotificationChannelRequest, made.create_channel),
        f"{channels}UpdateNotificationChannel": (api.UpdateNotificationChannelRequest, made.update_channel),
        f"{channels}DeleteNotificationChannel": (api.DeleteNotificationChannelRequest, made.delete),
        f"{board}GetDashboard": (boards.GetDashboardRequest, made.get_board),
        f"{board}CreateDashboard": (boards.CreateDashboardRequest, made.create_board),
        f"{board}UpdateDashboard": (boards.UpdateDashboardRequest, made.update_board),
        f"{board}DeleteDashboard": (boards.DeleteDashboardRequest, made.delete),
        f"{budget}ListBudgets": (budgets.ListBudgetsRequest, made.list_budgets),
        f"{budget}CreateBudget": (budgets.CreateBudgetRequest, made.create_budget),
        f"{budget}UpdateBudget": (budgets.UpdateBudgetRequest, made.update_budget),
        f"{budget}DeleteBudget": (budgets.DeleteBudgetRequest, made.delete_budget),
        "/google.cloud.billing.v1.CloudBilling/GetProjectBillingInfo": (
            billing.GetProjectBillingInfoRequest,
            made.billing_info,
        ),
        f"{catalog}ListServices": (billing.ListServicesRequest, made.list_services),
        f"{catalog}ListSkus": (billing.ListSkusRequest, made.list_skus),
        "/google.api.cloudquotas.v1.CloudQuotas/GetQuotaInfo": (quotas.GetQuotaInfoRequest, made.quota_info),
    }


class _Monitoring:
    def __init__(self, fake: FakeGoogle) -> None:
        self._fake = fake

    def _matching(self, kind: Any, query: str) -> list[Any]:
        self._fake.need_api(API)
        wanted = dict(re.findall(r'user_labels\.([\w-]+)="([^"]*)"', query))
        return [
            item
            for item in self._fake.monitoring.values()
            if isinstance(item, kind) and wanted.items() <= dict(item.user_labels).items()
        ]

    def _new(self, item: Any, collection: str) -> Any:
        self._fake.need_api(API)
        item.name = f"projects/{self._fake.project}/{collection}/{self._fake.new_id()}"
        self._fake.monitoring[item.name] = item
        return item

    def _put(self, item: Any) -> Any:
        if item.name not in self._fake.monitoring:
            raise Fault(404, f"{item.name} not found")
        self._fake.monitoring[item.name] = item
        return item

    def list_alerts(self, request: Any) -> Any:
        return api.ListAlertPoliciesResponse(alert_policies=self._matching(api.AlertPolicy, request.filter))

    def create_alert(self, request: Any) -> Any:
        return self._new(request.alert_policy, "alertPolicies")

    def update_alert(self, request: Any) -> Any:
        return self._put(request.alert_policy)

    def list_channels(self, request: Any) -> Any:
        found = self._matching(api.NotificationChannel, request.filter)
        return api.ListNotificationChannelsResponse(notification_channels=found)

    def create_channel(self, request: Any) -> Any:
        return self._new(request.notification_channel, "notificationChannels")

    def update_channel(self, request: Any) -> Any:
        return self._put(request.notification_channel)

    def delete(self, request: Any) -> Any:
        if self._fake.monitoring.pop(request.name, None) is None:
            raise Fault(404, f"{request.name} not found")
        return empty_pb2.Empty()

    def get_board(self, request: Any) -> Any:
        self._fake.need_api(API)
        if request.name not in self._fake.monitoring:
            raise Fault(404, f"{request.name} not found")
        return self._fake.monitoring[request.name]

    def create_board(self, request: Any) -> Any:
        self._fake.need_api(API)
        if request.dashboard.name in self._fake.monitoring:
            raise Fault(409, "the dashboard already exists")
        request.dashboard.etag = "1"
        self._fake.monitoring[request.dashboard.name] = request.dashboard
        return request.dashboard

    def update_board(self, request: Any) -> Any:
        return self._put(request.dashboard)

    # Billing

    def billing_info(self, request: Any) -> Any:
        self._fake.need_api("cloudbilling.googleapis.com")
        account = ACCOUNT if self._fake.billing else ""
        return billing.ProjectBillingInfo(
            name=request.name, billing_account_name=account, billing_enabled=self._fake.billing
        )

    def list_budgets(self, request: Any) -> Any:
        self._fake.need_api("billingbudgets.googleapis.com")
        return budgets.ListBudgetsResponse(budgets=list(self._fake.budgets.values()))

    def create_budget(self, request: Any) -> Any:
        self._fake.need_api("billingbudgets.googleapis.com")
        budget = request.budget
        budget.name = f"{request.parent}/budgets/{self._fake.new_id()}"
        budget.budget_filter.projects = [f"projects/{NUMBER}"]
        self._fake.budgets[budget.name] = budget
        return budget

    def update_budget(self, request: Any) -> Any:
        found = self._fake.budgets[request.budget.name]
        for path in request.update_mask.paths:
            setattr(found, path, getattr(request.budget, path))
        return found

    def delete_budget(self, request: Any) -> Any:
        if self._fake.budgets.pop(request.name, None) is None:
            raise Fault(404, f"{request.name} not found")
        return empty_pb2.Empty()

    def list_services(self, request: Any) -> Any:
        self._fake.need_api("cloudbilling.googleapis.com")
        return billing.ListServicesResponse(
            services=[billing.Service(name="services/6F81-5844-456A", display_name="Compute Engine")]
        )

    def list_skus(self, request: Any) -> Any:
        """Two pages, so that a reader that stops after the first is found out."""
        self._fake.need_api("cloudbilling.googleapis.com")
        if request.parent.removeprefix("services/") not in SKUS:
            raise Fault(404, f"{request.parent} not found")
        skus = [_sku(request.parent, item) for item in SKUS[request.parent.removeprefix("services/")]]
        half = len(skus) // 2
        if not request.page_token:
            return billing.ListSkusResponse(skus=skus[:half], next_page_token="2")
        return billing.ListSkusResponse(skus=skus[half:])

    # Cloud Quotas

    def quota_info(self, request: Any) -> Any:
        self._fake.need_api("cloudquotas.googleapis.com")
        return quotas.QuotaInfo(
            name=request.name,
            dimensions_infos=[
                quotas.DimensionsInfo(dimensions={"gpu_family": family, "region": region}, details={"value": value})
                for (family, region), value in self._fake.families.items()
            ],
        )


def _sku(service: str, item: Entry) -> Any:
    description, group, usage, regions, unit, usd = item
    units, nanos = int(usd), round((usd % 1) * 1e9)
    rate = billing.PricingExpression.TierRate(start_usage_amount=0, unit_price={"units": units, "nanos": nanos})
    return billing.Sku(
        name=f"{service}/skus/{abs(hash(description)) % 10**8:08X}",
        description=description,
        category={"resource_group": group, "usage_type": usage, "resource_family": "Compute"},
        service_regions=regions,
        pricing_info=[{"pricing_expression": {"usage_unit": unit, "tiered_rates": [rate]}}],
    )
