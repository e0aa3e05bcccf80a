"""A service file that changes between two runs: nothing that was made before is forgotten."""

from __future__ import annotations

import pytest

from cluster.config import ClusterConfig, MaintenanceConfig
from cluster.errors import Refused
from cluster.gcp.clients import Clients
from cluster.model import PARKED_LABEL, Key, Verb
from cluster.workflow import converge, look, look_destroy, tear_down
from tests.cluster.conftest import FULL, SMALL, cloud_on
from tests.cluster.fakes import FakeGoogle, Fault


def mailed(fake: FakeGoogle) -> list[list[str]]:
    """The channels of each alert policy."""
    return [list(item.notification_channels) for name, item in fake.monitoring.items() if "alertPolicies" in name]


def test_a_cluster_that_is_elsewhere_in_its_region_is_not_made_again_and_is_destroyed(
    fake: FakeGoogle, clients: Clients
) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    config = SMALL.model_copy(update={"zone": "us-central1-a"})
    cloud = cloud_on(fake, clients, config)
    with pytest.raises(Refused, match=r"location is us-central1, wanted us-central1-a.*--replace cluster/switchyard"):
        converge(config, cloud, token=False)
    assert len(fake.clusters) == 1
    tear_down(config, cloud, delete_models=True)
    assert fake.everything() == []


@pytest.mark.parametrize("replacing", [(), ("cluster/switchyard",)], ids=["", "replace"])
def test_nothing_moves_to_another_region(fake: FakeGoogle, clients: Clients, replacing: tuple[str, ...]) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    made = fake.everything()
    bucket = SMALL.bucket.model_copy(update={"name": "another-bucket"})
    config = SMALL.model_copy(update={"region": "europe-west4", "bucket": bucket})
    cloud = cloud_on(fake, clients, config)
    with pytest.raises(Refused, match=r"it is in us-central1, and the service file says europe-west4: neither") as told:
        converge(config, cloud, token=False, replacing=replacing)
    assert "--replace" not in str(told.value)
    with pytest.raises(Refused, match=r"it is in us-central1, and so is what it stands on"):
        tear_down(config, cloud, delete_models=True)
    assert fake.everything() == made
    # The same where only the rest of a cluster is left in the old region.
    fake.clusters.clear()
    with pytest.raises(Refused, match=r"not this file's: regions/us-central1/subnetworks/switchyard\."):
        tear_down(config, cloud, delete_models=True)
    tear_down(SMALL, cloud_on(fake, clients), delete_models=True)
    assert fake.everything() == []


def test_one_operator_at_a_time_is_asked_of_google(fake: FakeGoogle, clients: Clients) -> None:
    addon = SMALL.model_copy(update={"ray_operator": "addon"})
    for config in (addon, SMALL, addon):
        assert converge(config, cloud_on(fake, clients, config), token=False).plan.empty
        (cluster,) = fake.clusters.values()
        assert cluster.addons_config.ray_operator_config.enabled is (config is addon)
        assert cluster.addons_config.gcs_fuse_csi_driver_config.enabled


def test_a_cluster_at_zero_gets_no_pool_with_nodes(fake: FakeGoogle, clients: Clients) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    (cluster,) = fake.clusters.values()
    cluster.resource_labels = {**cluster.resource_labels, PARKED_LABEL: "true"}
    more = SMALL.model_copy(update={"pools": {**SMALL.pools, "big": SMALL.pools["l4"]}})
    with pytest.raises(Refused, match=r"node-pool/big: the cluster is scaled to zero, and this pool would have nodes"):
        converge(more, cloud_on(fake, clients, more), token=False)


def test_somebody_elses_cluster_of_the_name_elsewhere_is_not_in_the_way(fake: FakeGoogle, clients: Clients) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    (cluster,) = fake.clusters.values()
    cluster.resource_labels = {"team": "theirs"}
    config = SMALL.model_copy(update={"zone": "us-central1-a"})
    action = look(config, cloud_on(fake, clients, config), token=False).plan.actions
    assert next(one.verb for one in action if one.key.kind == "cluster") is Verb.CREATE


def test_an_address_that_comes_later_is_told_by_every_alert_beside_those_that_people_added(
    fake: FakeGoogle, clients: Clients
) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    assert mailed(fake) == [[]] * 4
    theirs = "projects/my-project/notificationChannels/pager"
    next(item for name, item in fake.monitoring.items() if "alertPolicies" in name).notification_channels = [theirs]
    found = converge(FULL, cloud_on(fake, clients, FULL), token=False)
    assert found.plan.empty
    (ours,) = (name for name in fake.monitoring if "notificationChannels" in name)
    assert sorted(mailed(fake)) == sorted([[ours, theirs], [ours], [ours], [ours]])


def test_another_token_is_a_new_version_and_the_same_one_is_not(fake: FakeGoogle, clients: Clients) -> None:
    secret = "projects/my-project/secrets/switchyard-hf-token"
    converge(SMALL, cloud_on(fake, clients, token="hf_one"), token=True)
    planned = look(SMALL, cloud_on(fake, clients, token="hf_two"), token=True).plan
    assert [(one.verb, str(one.key)) for one in planned.actions] == [
        (Verb.UPDATE, "secret-version/switchyard-hf-token")
    ]
    assert "hf_" not in str(planned)
    for _ in range(2):
        assert converge(SMALL, cloud_on(fake, clients, token="hf_two"), token=True).plan.empty
    assert fake.versions[secret] == [b"hf_one", b"hf_two"]
    assert look(SMALL, cloud_on(fake, clients, token=""), token=False).plan.empty


def test_a_token_that_was_disabled_is_stored_again(fake: FakeGoogle, clients: Clients) -> None:
    secret = "projects/my-project/secrets/switchyard-hf-token"
    converge(SMALL, cloud_on(fake, clients, token="hf_one"), token=True)
    fake.disabled_secrets.add(secret)
    assert cloud_on(fake, clients, token="").secrets.token("switchyard-hf-token") == ""
    assert converge(SMALL, cloud_on(fake, clients, token="hf_one"), token=True).plan.empty
    assert fake.versions[secret] == [b"hf_one", b"hf_one"]


def test_who_may_not_read_the_token_is_taken_to_have_brought_the_same(fake: FakeGoogle, clients: Clients) -> None:
    converge(SMALL, cloud_on(fake, clients, token="hf_one"), token=True)
    fake.fail("*AccessSecretVersion", Fault(403, "Permission 'secretmanager.versions.access' denied"))
    assert look(SMALL, cloud_on(fake, clients, token="hf_two"), token=True).plan.empty


@pytest.mark.parametrize(
    ("config", "token", "calls"), [(SMALL, False, 17), (SMALL, True, 18), (FULL, True, 21)], ids=["l4", "token", "all"]
)
def test_a_plan_of_what_is_there_takes_few_calls(
    fake: FakeGoogle, clients: Clients, config: ClusterConfig, token: bool, calls: int
) -> None:
    converge(config, cloud_on(fake, clients, config), token=True)
    before = len(fake.journal)
    assert look(config, cloud_on(fake, clients, config), token=token).plan.empty
    assert len(fake.journal) - before == calls


def test_a_maintenance_window_that_comes_later_leaves_the_exclusions_of_people(
    fake: FakeGoogle, clients: Clients
) -> None:
    from google.cloud import container_v1 as gke

    converge(SMALL, cloud_on(fake, clients), token=False)
    (cluster,) = fake.clusters.values()
    cluster.maintenance_policy.window.maintenance_exclusions["launch"] = gke.TimeWindow()
    for start, end in ((22 * 60, "2026-01-02T04:00:00"), ("02:30", "2026-01-01T08:30:00")):  # 22:00, as YAML reads it
        window = MaintenanceConfig.model_validate({"days": ["sun", "sat"], "start": start, "hours": 6})
        config = SMALL.model_copy(update={"maintenance": window})
        assert converge(config, cloud_on(fake, clients, config), token=False).plan.empty
        kept = cluster.maintenance_policy.window
        assert list(kept.maintenance_exclusions) == ["launch"]
        assert kept.recurring_window.recurrence == "FREQ=WEEKLY;BYDAY=SA,SU"
        assert kept.recurring_window.window.end_time.isoformat() == f"{end}+00:00"
    # A file that says nothing of it leaves it as it is.
    assert look(SMALL, cloud_on(fake, clients), token=False).plan.empty


def test_a_budget_that_the_file_no_longer_wants_is_destroyed(fake: FakeGoogle, clients: Clients) -> None:
    converge(FULL, cloud_on(fake, clients, FULL), token=False)
    assert fake.budgets
    tear_down(SMALL, cloud_on(fake, clients), delete_models=True)
    assert fake.everything() == []


def test_what_holds_data_and_is_no_longer_wanted_is_kept_and_told(fake: FakeGoogle, clients: Clients) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    bucket = SMALL.bucket.model_copy(update={"name": "another-bucket"})
    config = SMALL.model_copy(update={"registry": False, "bucket": bucket})
    planned = look(config, cloud_on(fake, clients, config), token=False).plan
    assert [note.partition(" is no longer")[0] for note in planned.notes] == [
        "repository/switchyard",
        "bucket/my-project-switchyard-models",
    ]
    assert not [one for one in planned.actions if one.verb is Verb.DELETE]


def test_there_is_nothing_to_destroy_in_a_project_without_apis(clients: Clients, fake: FakeGoogle) -> None:
    found = look_destroy(SMALL, cloud_on(fake, clients)).plan
    assert found.empty and {key for key, _ in found.kept} <= {Key("apis", "project")}
