"""What is sent to Google for each deploy/ file, word for word; and that a plan sends nothing that changes anything.

``SWITCHYARD_WRITE_GOLDEN=1 make unit ARGS=tests/cluster/test_golden.py`` writes the files anew: read the
difference before committing it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.gcp.clients import Clients
from cluster.load import load
from cluster.workflow import converge, look, tear_down
from tests.cluster.conftest import cloud_on
from tests.cluster.fakes import FakeGoogle

ROOT = Path(__file__).parents[2]
FILES = ["gke-l4", "gke-multi-gpu"]
UPDATE = bool(os.environ.get("SWITCHYARD_WRITE_GOLDEN"))


@pytest.fixture
def fake() -> FakeGoogle:
    fake = FakeGoogle(all_regions_gpus=(32, 0))
    fake.quotas["us-central1"] |= {"NVIDIA_L4_GPUS": (32.0, 0.0), "PREEMPTIBLE_NVIDIA_L4_GPUS": (32.0, 0.0)}
    return fake


@pytest.mark.parametrize("name", FILES)
def test_the_requests_of_a_deploy_file(name: str, fake: FakeGoogle, clients: Clients) -> None:
    loaded = load(str(ROOT / "deploy" / f"{name}.yaml"), {})
    converge(loaded.config, cloud_on(fake, clients, loaded.config), token=True)
    sent = [{"method": entry.method, "request": _plain(entry.request)} for entry in fake.writes]
    golden = Path(__file__).with_name("golden") / f"{name}.yaml"
    if UPDATE:
        golden.write_text(yaml.safe_dump(sent, sort_keys=False, width=120), encoding="utf-8")
    assert sent == yaml.safe_load(golden.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_a_plan_of_what_exists_is_empty_quick_and_writes_nothing(name: str, fake: FakeGoogle, clients: Clients) -> None:
    loaded = load(str(ROOT / "deploy" / f"{name}.yaml"), {})
    cloud = cloud_on(fake, clients, loaded.config)
    converge(loaded.config, cloud, token=True)
    reads, writes, asked = clients.call.reads, len(fake.writes), len(fake.journal)
    begun = time.process_time()
    found = look(loaded.config, cloud, token=True)
    assert time.process_time() - begun < 2
    assert found.plan.empty
    assert len(fake.writes) == writes
    assert clients.call.reads - reads <= 20
    assert len(fake.journal) - asked <= 20  # a page more is a call more


@pytest.mark.parametrize("name", FILES)
def test_a_plan_of_an_empty_project_writes_nothing(name: str, fake: FakeGoogle, clients: Clients) -> None:
    loaded = load(str(ROOT / "deploy" / f"{name}.yaml"), {})
    cloud = cloud_on(fake, clients, loaded.config)
    assert look(loaded.config, cloud, token=True).first_apis
    fake.services = dict.fromkeys(found_apis(loaded.config), 0.0)
    found = look(loaded.config, cloud, token=True)
    assert found.findings and not found.plan.refusals
    assert fake.writes == []


@pytest.mark.parametrize("name", FILES)
def test_destroy_leaves_nothing(name: str, fake: FakeGoogle, clients: Clients) -> None:
    loaded = load(str(ROOT / "deploy" / f"{name}.yaml"), {})
    cloud = cloud_on(fake, clients, loaded.config)
    converge(loaded.config, cloud, token=True)
    assert fake.billable()
    tear_down(loaded.config, cloud)
    assert fake.billable() == []
    assert fake.everything() == []


def found_apis(config: Any) -> list[str]:
    from cluster.wanted.resources import apis

    return list(apis(config))


def _plain(value: Any) -> Any:
    """Without what differs from run to run: request ids, fingerprints, and etags."""
    if isinstance(value, dict):
        hidden = ("requestId", "etag", "labelFingerprint")
        return {key: _plain(item) for key, item in value.items() if key not in hidden}
    return [_plain(item) for item in value] if isinstance(value, list) else value
