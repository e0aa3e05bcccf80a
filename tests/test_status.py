import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from kuberay.cli.screens import age, status_screen, status_table
from kuberay.doctor.diagnose import diagnose
from kuberay.look.status import Phase, Status, as_json, status
from kuberay.observing.fleet import split
from kuberay.snapshot import Snapshot
from tests.bundles import NOW, Case, case, cases

PHASED = [one for one in cases() if "phase" in one.expect]


def of(name: str) -> Status:
    return status(case(name).snapshot(), NOW)


def shown(renderable: Any, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("one", PHASED, ids=lambda one: one.name)
def test_phase(one: Case) -> None:
    found = status(one.snapshot(), NOW)
    assert found.phase == one.expect["phase"]
    assert found.why


def test_every_phase_has_a_case() -> None:
    assert {one.expect["phase"] for one in PHASED} == set(Phase)


def test_a_service_that_serves() -> None:
    found = of("healthy")
    assert found.release == "0a1b2c3d4e5f"
    assert (found.traffic.cluster, found.traffic.role) == ("gemma-7xk2p", "active")
    assert (found.traffic.ready, found.traffic.total) == (1, 1)
    assert [(one.name, one.ready, one.wanted, one.pending) for one in found.clusters[0].groups] == [
        ("head", 1, 1, 0),
        ("workers", 1, 1, 0),
    ]
    assert found.clusters[0].replicas == {"RUNNING": 1}
    assert found.addresses == ("http://gemma-serve-svc.models.svc:8000",)
    assert found.age_s == 7200
    assert found.warnings == ()


def test_an_upgrade_shows_both_releases() -> None:
    found = of("upgrading")
    assert [(one.role, one.release) for one in found.clusters] == [
        ("active", "0a1b2c3d4e5f"),
        ("pending", "5f4e3d2c1b0a"),
    ]
    assert found.why == "from 0a1b2c3d4e5f to 5f4e3d2c1b0a"
    assert found.clusters[1].groups[1].pending == 1


def test_a_retired_cluster_has_time_left() -> None:
    retired = of("switched").clusters[-1]
    assert (retired.name, retired.role, retired.time_left_s) == ("gemma-7xk2p", "retired", 600)


def test_a_table_needs_no_more_than_services_clusters_and_pods() -> None:
    """What ``observe_all`` reads: no pod templates, no Services, no report of Serve's."""
    snapshot = case("upgrading").snapshot()
    kinds = ("RayService", "RayCluster", "Pod")
    objects = [json.loads(json.dumps(one)) for one in snapshot.objects if one["kind"] in kinds]
    for one in objects:
        if one["kind"] == "RayCluster":
            del one["spec"]["headGroupSpec"]["template"], one["spec"]["workerGroupSpecs"][0]["template"]
    found = status(dataclasses.replace(snapshot, objects=tuple(objects), serve={}, logs={}), NOW)
    assert (found.phase, found.release, found.ready_pods) == (Phase.UPGRADING, "0a1b2c3d4e5f", (3, 4))
    assert (found.traffic.ready, found.traffic.total) == (1, 1)


def test_serve_unreachable_falls_back_to_what_kuberay_copied() -> None:
    snapshot = dataclasses.replace(case("healthy").snapshot(), serve={})
    assert status(snapshot, NOW).clusters[0].apps == {"llm": "RUNNING"}


def test_what_is_wrong_is_a_warning() -> None:
    assert any("gemma-old11" in one for one in of("stale-serve-service").warnings)
    assert any("deleted" in one for one in of("finalizer-stuck").warnings)
    blocked = status(dataclasses.replace(case("healthy").snapshot(), unreadable=("nodes: forbidden",)), NOW)
    assert blocked.warnings == ("not seen: nodes: forbidden",)


@pytest.mark.parametrize("one", cases(), ids=lambda one: one.name)
def test_the_screen_fits(one: Case) -> None:
    found = status(one.snapshot(), NOW)
    for width in (80, 120):
        lines = shown(status_screen(found), width).splitlines()
        assert len(lines) <= 30
        assert max(len(line) for line in lines) <= width
    assert json.loads(json.dumps(as_json(found)))["phase"] == found.phase


def test_the_screen_says_what_matters() -> None:
    text = shown(status_screen(of("held")))
    for word in ("gemma", "Held", "waits for a decision", "5f4e3d2c1b0a", "gate DEPLOYING", "1/1 endpoints ready"):
        assert word in text
    assert "retired, 10m left" in " ".join(shown(status_screen(of("switched")), 120).split())


def test_names_are_not_markup() -> None:
    snapshot = dataclasses.replace(case("healthy").snapshot(), name="gemma", context="[red]x[/red]")
    assert "[red]x[/red]" in shown(status_screen(status(snapshot, NOW)))


def test_a_table_of_many() -> None:
    text = shown(status_table([of("healthy"), of("held"), of("suspended")]), 120)
    assert len(text.splitlines()) == 4
    assert "Suspended" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (90, "90s"), (150, "2m"), (3600, "1h"), (90_000, "1d"), (10 * 86_400, "10d")],
)
def test_age(seconds: int, expected: str) -> None:
    assert age(seconds) == expected


def test_no_service_twice_as_other() -> None:
    """What belongs to whom: two services whose names begin alike, in two namespaces."""
    objects = fleet(2, 2)
    found = [status(one, NOW) for one in split(objects, taken="", context="")]
    assert [(one.namespace, one.name, one.ready_pods) for one in found] == [
        ("team-0", "llm-0", (2, 2)),
        ("team-1", "llm-1", (2, 2)),
    ]


def fleet(services: int, pods: int) -> list[dict[str, Any]]:
    """Many services, each with its objects as the base has them."""
    base = [one for one in case("healthy").snapshot().objects if one["kind"] not in ("Node", "Secret")]
    shared = ("CustomResourceDefinition", "Deployment")
    found: list[dict[str, Any]] = [dict(one) for one in base if one["kind"] in shared]
    for place in range(services):
        text = json.dumps([one for one in base if one["kind"] not in shared])
        text = text.replace("gemma", f"llm-{place}").replace('"models"', f'"team-{place % 20}"')
        mine = json.loads(text)
        worker = next(one for one in mine if one["kind"] == "Pod" and "worker" in one["metadata"]["name"])
        cluster = next(one for one in mine if one["kind"] == "RayCluster")
        cluster["spec"]["workerGroupSpecs"][0]["replicas"] = pods - 1
        for number in range(pods - 2):
            mine.append({**worker, "metadata": {**worker["metadata"], "name": f"{worker['metadata']['name']}{number}"}})
        found += mine
    return found


def test_a_thousand_services_with_ten_thousand_pods() -> None:
    """In a process of its own, so that its memory is what is measured: under 2 s (of CPU) and 300 MB."""
    measure = """
import re, time
from pathlib import Path
from kuberay.observing.fleet import split
from kuberay.look.status import status
from tests.bundles import NOW
from tests.test_status import fleet
objects = fleet(1000, 10)
assert sum(one["kind"] == "Pod" for one in objects) == 10_000
took = []
while min(took, default=9) >= 2 and len(took) < 3:  # the machine may be busy with something else
    begun = time.process_time()
    found = [status(one, NOW) for one in split(objects, taken="", context="")]
    took.append(time.process_time() - begun)
assert len(found) == 1000 and all(one.ready_pods == (10, 10) for one in found), found[0]
# Not getrusage: what that gives was the parent's before this program began.
print(min(took), int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True).stdout
    took, megabytes = map(float, out.split())
    assert took < 2, out
    assert megabytes < 300, out


def test_a_service_that_was_put_away_is_suspended_and_not_absent() -> None:
    """Before KubeRay 1.7 suspending deletes the RayService and keeps it in a ConfigMap."""
    kept = {"kind": "ConfigMap", "metadata": {"name": "gemma-suspended", "namespace": "models"}}
    known = {"kind": "CustomResourceDefinition", "metadata": {"name": "rayservices.ray.io"}}
    snapshot = Snapshot("2026-11-22T12:00:00Z", "test", "models", "gemma", (kept, known))
    assert status(snapshot, NOW).phase == Phase.SUSPENDED
    assert [one.id for one in diagnose(snapshot, NOW)] == ["suspended"]
    assert status(Snapshot("2026-11-22T12:00:00Z", "test", "models", "gemma"), NOW).phase == Phase.ABSENT
