"""A service file that changes between two runs: nothing that was made before is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import Refused
from cluster.gcp.clients import Clients
from cluster.model import Key, Verb
from cluster.workflow import converge, look, look_destroy, tear_down
from tests.cluster.conftest import FULL, SMALL, cloud_on
from tests.cluster.fakes import FakeGoogle


def mailed(fake: FakeGoogle) -> list[list[str]]:
    """The channels of each alert policy."""
    return [list(item.notification_channels) for name, item in fake.monitoring.items() if "alertPolicies" in name]


@pytest.mark.parametrize("moved", [{"zone": "us-central1-a"}, {"region": "europe-west4"}], ids=["zone", "region"])
def test_a_cluster_that_is_elsewhere_is_not_made_again_and_is_destroyed(
    fake: FakeGoogle, clients: Clients, moved: dict[str, Any]
) -> None:
    converge(SMALL, cloud_on(fake, clients), token=False)
    config = SMALL.model_copy(update=moved)
    cloud = cloud_on(fake, clients, config)
    with pytest.raises(Refused, match=r"location is us-central1, wanted .*another cluster\.name"):
        converge(config, cloud, token=False)
    assert len(fake.clusters) == 1
    if "zone" in moved:  # what else is in the region is found by this file as well
        tear_down(config, cloud, delete_models=True)
        assert fake.everything() == []


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
