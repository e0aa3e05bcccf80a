"""A fake project and the real client libraries, for every test of the package."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster.config import ClusterConfig
from cluster.gcp.calls import Caller
from cluster.gcp.clients import Clients
from cluster.gcp.cloud import Cloud
from tests.cluster.fakes import FakeGoogle, serving

SMALL = ClusterConfig.model_validate(
    {
        "project": "my-project",
        "region": "us-central1",
        "pools": {"l4": {"machine": "g2-standard-8", "max_nodes": 4, "spot": "beside"}},
    }
)
"""What ``deploy/gke-l4.yaml`` wants."""

FULL = ClusterConfig.model_validate(
    {
        **SMALL.model_dump(),
        "budget_usd": 500,
        "alerts": {"email": "ops@example.com"},
        "maintenance": {"days": ["sat", "sun"], "start": "02:00", "hours": 6},
    }
)
"""Every kind of resource."""


def cloud_on(fake: FakeGoogle, clients: Clients, config: ClusterConfig = SMALL, *, token: str = "hf_token") -> Cloud:
    """A cloud that reads one thing after another, so that runs can be repeated."""
    return Cloud(config, clients, token=token, readers=1)


@pytest.fixture(autouse=True)
def no_user_settings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither the user's project nor the user's price list or kubeconfig is touched."""
    if request.node.get_closest_marker("live"):
        return
    for name in [name for name in os.environ if name.startswith(("SWITCHYARD_", "GOOGLE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("KUBECONFIG", str(home / "kubeconfig"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def fake() -> FakeGoogle:
    return FakeGoogle()


@pytest.fixture
def clients(fake: FakeGoogle) -> Iterator[Clients]:
    """The real libraries against real servers."""
    with serving(fake) as servers:
        yield Clients(fake.project, servers.endpoints, Caller(clock=fake.clock))
