"""Schedules, prices, quotas, machine shapes, and the translation of Google's errors."""

from __future__ import annotations

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from cluster import errors, hours, prices
from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.gcp.calls import Caller, failed_operation, translated
from cluster.gpus import GPU_MACHINES, quota_metric
from cluster.hours import Hours
from cluster.inside import kuberay_release
from cluster.model import Key, Quota, Stock
from cluster.plan.quota import check
from cluster.wanted.gke import grace_offered
from tests.cluster.conftest import SMALL
from tests.cluster.fakes import FakeClock

PRICES = prices.parse(prices.SHIPPED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weekdays 08:00-20:00 Europe/Berlin", Hours((0, 1, 2, 3, 4), 480, 1200, "Europe/Berlin")),
        ("mon-sat 0:00-24:00 UTC", Hours(tuple(range(6)), 0, 1440, "UTC")),
        ("mon-wed,SAT 9:30 - 18:15 America/New_York", Hours((0, 1, 2, 5), 570, 1095, "America/New_York")),
    ],
)
def test_schedules(text: str, expected: Hours) -> None:
    assert hours.parse(text) == expected
    assert hours.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8-20", "is not understood; write days, hours and time zone"),
        ("weekdays 20:00-08:00 UTC", "ends before it starts"),
        ("weekdays 08:00-25:00 UTC", "25:00 is no time of day"),
        ("weekdays 08:00-20:00 Berlin", "'Berlin' is no time zone"),
        ("fri-mon 08:00-20:00 UTC", "the last day is before the first"),
        ("someday 08:00-20:00 UTC", "'someday' are no days"),
        ("mon- 08:00-20:00 UTC", "'mon-' are no days"),
        ("daily 08:00-20:00 localtime", "'localtime' is no time zone"),
        ("daily 00:00-24:00 UTC", "is always on; .*--off"),
    ],
)
def test_schedules_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hours.parse(text)


@pytest.mark.parametrize(
    ("text", "wake", "sleep"),
    [
        ("fri,sun 18:00-24:00 UTC", "0 18 * * 5,0", "0 0 * * 6,1"),
        ("sat,sun 00:00-24:00 UTC", "0 0 * * 6", "0 0 * * 1"),
        ("mon,sun 00:00-24:00 UTC", "0 0 * * 0", "0 0 * * 2"),
        ("daily 00:00-23:30 UTC", "0 0 * * 1,2,3,4,5,6,0", "30 23 * * 1,2,3,4,5,6,0"),
    ],
)
def test_midnight_is_the_next_days_minute_and_no_edge_between_whole_days(text: str, wake: str, sleep: str) -> None:
    jobs = hours.objects(SMALL, hours.parse(text), "gemma")[-2:]
    assert [job["spec"]["schedule"] for job in jobs] == [wake, sleep]


def test_every_machine_has_a_price_and_a_quota() -> None:
    for name, shape in GPU_MACHINES.items():
        for spot in (False, True):
            assert PRICES.of_machine("us-central1", name, spot=spot) > 0
            assert quota_metric(shape.accelerator, spot=spot).endswith("_GPUS")
        assert PRICES.of_machine("us-central1", name, spot=True) < PRICES.of_machine("us-central1", name)


def test_the_default_operator_is_pinned_and_can_suspend() -> None:
    assert SMALL.kuberay_version == kuberay_release.DEFAULT_VERSION
    assert kuberay_release.DEFAULT_VERSION in kuberay_release.RELEASES


def test_estimates_say_so() -> None:
    assert PRICES.label("us-central1", ()) == f"unverified estimates of list prices, {PRICES.date}"


def test_cost_of_a_pool() -> None:
    spec = {
        "autoscaling": {"enabled": True, "totalMinNodeCount": 1, "totalMaxNodeCount": 3},
        "config": {"machineType": "g2-standard-8", "diskType": "pd-balanced", "diskSizeGb": 100},
    }
    (line,) = prices.cost(PRICES, "us-central1", [(Key("node-pool", "l4"), spec)])
    # 8 cores, 32 GB, one L4, for 730 hours, and 100 GB of disk.
    each = (8 * 0.02499 + 32 * 0.00293 + 0.56) * 730 + 10
    assert (line.idle, line.full) == pytest.approx((each, 3 * each))
    parked = {**spec, "autoscaling": {"enabled": False}, "initialNodeCount": 0}
    assert prices.cost(PRICES, "us-central1", [(Key("node-pool", "l4"), parked)])[0].full == 0


@pytest.mark.parametrize(("nodes", "usd"), [(0, 0), (1, 0.0014 + 0.005), (20, 0.028 + 0.005), (50, 0.044 + 0.005)])
def test_nat_is_paid_by_the_node_up_to_a_cap(nodes: int, usd: float) -> None:
    pool = {
        "autoscaling": {"enabled": True, "totalMaxNodeCount": nodes},
        "config": {"machineType": "e2-standard-4"},
    }
    router, pools = (Key("router", "switchyard"), {}), [(Key("node-pool", "system"), pool)]
    line = prices.cost(PRICES, "us-central1", [router, *pools])[0]
    assert (line.idle, line.full) == pytest.approx((0, usd * 730))


def test_off_hours_and_spot_savings() -> None:
    pool = {
        "autoscaling": {"enabled": True, "totalMaxNodeCount": 2},
        "config": {"machineType": "g2-standard-8", "spot": True, "diskSizeGb": 100},
    }
    pools = [(Key("node-pool", "l4"), pool)]
    both = [PRICES.of_machine("us-central1", "g2-standard-8", spot=spot) for spot in (False, True)]
    assert prices.spot_saving(PRICES, "us-central1", pools) == pytest.approx((both[0] - both[1]) * 730 * 2)
    full = prices.cost(PRICES, "us-central1", pools)[0].full
    assert prices.hours_off_saving(PRICES, "us-central1", pools, 0.25) == pytest.approx(full * 0.75)


def stock(**quotas: Quota) -> Stock:
    zones = {"nvidia-l4": ("us-central1-a", "europe-west4-a"), "nvidia-tesla-a100": ("us-central1-a",)}
    return Stock(zones, {"us-central1": quotas, "europe-west4": {"NVIDIA_L4_GPUS": Quota(8, 8)}})


def config(**pool: object) -> ClusterConfig:
    return ClusterConfig.model_validate({**SMALL.model_dump(), "pools": {"l4": {"machine": "g2-standard-8", **pool}}})


def test_quota_for_some_nodes_is_enough_to_begin() -> None:
    (found,) = check(config(max_nodes=4), stock(NVIDIA_L4_GPUS=Quota(4, 1)), frozenset({"l4"}))
    assert found.ok
    assert found.text.startswith(
        "NVIDIA_L4_GPUS in us-central1: limit 4, in use 1; enough for 3 of max_nodes 4. Ask for"
    )


def test_pools_that_share_a_quota_are_added_up() -> None:
    pools = {name: {"machine": "g2-standard-8", "max_nodes": 3} for name in ("a", "b")}
    both = ClusterConfig.model_validate({**SMALL.model_dump(), "pools": pools})
    found = check(both, stock(NVIDIA_L4_GPUS=Quota(4, 0)), frozenset(pools))
    assert [item.ok for item in found] == [True, True]
    assert found[0].text.endswith("The pools on this quota want 6 together, 4 are free")


def test_another_machine_that_would_do() -> None:
    (found,) = check(config(), stock(NVIDIA_L4_GPUS=Quota(0, 0), NVIDIA_A100_GPUS=Quota(8, 0)), frozenset({"l4"}))
    assert not found.ok
    assert "Another machine that would do in us-central1: a2-highgpu-1g (nvidia-tesla-a100)." in found.text
    assert "Regions that have it (quota to be asked for): europe-west4." in found.text


def test_accelerators_without_a_metric_of_their_own() -> None:
    big = config(machine="a3-highgpu-8g")
    zones = {"nvidia-h100-80gb": ("us-central1-a",)}
    short, enough = (
        check(big, Stock(zones, {}, families={("NVIDIA_H100", "us-central1"): limit}), frozenset({"l4"}))[0]
        for limit in (4, 8)
    )
    assert (short.ok, enough.ok) == (False, True)
    assert "--quota-id=GPUS-PER-GPU-FAMILY-per-project-region --dimensions=region=us-central1,gpu_family=" in short.text


@pytest.mark.parametrize(
    ("version", "offered"),
    [
        ("1.35.0-gke.1171000", True),
        ("1.36.1-gke.100", True),
        ("1.35.0-gke.1170999", False),
        ("1.34.9-gke.9999999", False),
        ("", False),
    ],
)
def test_spot_grace_is_set_where_it_is_offered(version: str, offered: bool) -> None:
    assert grace_offered(version) is offered


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (auth.DefaultCredentialsError("none"), errors.NoCredentials),
        (auth.RefreshError("expired"), errors.NoCredentials),
        (auth.TransportError("down"), errors.Unavailable),
        (api.Unauthenticated("x"), errors.NoCredentials),
        (api.PermissionDenied("x"), errors.Denied),
        (api.NotFound("x"), errors.NotFound),
        (api.AlreadyExists("x"), errors.Conflict),
        (api.Aborted("x"), errors.Conflict),
        (api.PreconditionFailed("x"), errors.Conflict),
        (api.ResourceExhausted("x"), errors.Unavailable),
        (api.ServiceUnavailable("x"), errors.Unavailable),
        (api.DeadlineExceeded("x"), errors.Unavailable),
        (api.InternalServerError("x"), errors.Unavailable),
        (api.FailedPrecondition("x"), errors.Busy),
        (api.InvalidArgument("x"), errors.InvalidRequest),
        (api.InvalidArgument("Service account a does not exist."), errors.NotYet),
        (api.RetryError("x", None), errors.Unavailable),
    ],
)
def test_googles_errors_become_ours(theirs: Exception, ours: type[Exception]) -> None:
    with pytest.raises(errors.ClusterError) as caught, translated("a.call"):
        raise theirs
    assert type(caught.value) is ours
    assert caught.value.__cause__ is theirs


def test_no_error_of_googles_gets_through() -> None:
    """Whatever else the library raises is at least one of ours."""
    kinds = [kind for kind in vars(api).values() if isinstance(kind, type) and issubclass(kind, api.GoogleAPICallError)]
    assert len(kinds) > 20
    for kind in kinds:
        with pytest.raises(errors.ClusterError), translated("a.call"):
            raise kind("x")


def test_reads_are_retried_on_the_given_clock() -> None:
    clock, answers = FakeClock(), iter([api.ServiceUnavailable("x"), api.TooManyRequests("x"), "done"])

    def method(**_: object) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    caller, begun = Caller(clock=clock), clock.now()
    assert caller.read("a.call", method, {}) == "done"
    assert caller.reads == 3
    assert 3 <= clock.now() - begun <= 4


def test_failed_operations_say_what_to_do() -> None:
    assert isinstance(failed_operation("pool", "none left", ["GCE_STOCKOUT"]), errors.StockOut)
    assert isinstance(failed_operation("pool", "too many", ["GCE_QUOTA_EXCEEDED"]), errors.QuotaExceeded)
    assert str(failed_operation("pool", "no", [])) == "pool: no"
