"""Plan, apply, plan, scale, destroy: the same test on the fake project and, where one is named, on a real one.

``SWITCHYARD_GCP_TEST_PROJECT=my-project pytest -m live tests/cluster/test_whole_way.py`` takes half an hour and costs
money: a zonal cluster with one system node, and a GPU pool that stays empty. It deletes all of it at the end.
"""

from __future__ import annotations

import os

import pytest

from cluster.config import ClusterConfig
from cluster.execute import execute
from cluster.gcp.clients import Clients
from cluster.gcp.cloud import Cloud
from cluster.plan.scale import plan_resume, plan_to_zero
from cluster.workflow import converge, look, tear_down
from tests.cluster.conftest import cloud_on
from tests.cluster.fakes import FakeGoogle

REAL_PROJECT = os.environ.get("SWITCHYARD_GCP_TEST_PROJECT", "")


def config_for(project: str) -> ClusterConfig:
    return ClusterConfig.model_validate(
        {
            "project": project,
            "region": "us-central1",
            "zone": "us-central1-a",
            "name": "switchyard-test",
            "system": {"machine": "e2-standard-2", "max_nodes": 1},
            "pools": {"l4": {"machine": "g2-standard-4", "spot": "beside"}},
        }
    )


def whole_way(config: ClusterConfig, cloud: Cloud) -> None:
    try:
        converge(config, cloud, token=True)
        found = look(config, cloud, token=True)
        assert found.plan.empty, [str(action) for action in found.plan.actions]
        execute(plan_to_zero(found.wanted, found.observed), cloud, cloud.clock)
        parked = look(config, cloud, token=True)
        assert parked.observed.parked and parked.plan.empty
        execute(plan_resume(parked.wanted, parked.observed), cloud, cloud.clock)
        resumed = look(config, cloud, token=True)
        assert not resumed.observed.parked and resumed.plan.empty
    finally:
        left = tear_down(config, cloud, delete_models=True)
    assert left.plan.empty


def test_on_the_fake_project(fake: FakeGoogle, clients: Clients) -> None:
    config = config_for(fake.project)
    whole_way(config, cloud_on(fake, clients, config))
    assert fake.everything() == []


@pytest.mark.live
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not REAL_PROJECT, reason="SWITCHYARD_GCP_TEST_PROJECT is not set")
def test_on_a_real_project() -> None:
    config = config_for(REAL_PROJECT)
    whole_way(config, Cloud(config, Clients(REAL_PROJECT), token="not-a-token"))
