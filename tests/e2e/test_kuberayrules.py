"""What :mod:`kuberay.manifests.rules` refuses is what KubeRay refuses, and a change of scaling leaves its hash alone.

Once the program is built, thousands of objects a second are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kuberay.manifests.rules import violations
from tests.e2e.kuberayrules import KubeRay, built, running
from tests.rule_cases import (
    ABSENT,
    CASES,
    CLUSTER,
    ENV,
    FAULT_TOLERANCE,
    GROUP,
    HEAD,
    OPTIONS,
    TIMEOUT,
    UPGRADE,
    V2,
    Case,
    base,
    changed,
)
from tests.services import cluster_spec, merged, service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def kuberay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeRay]:
    with running(built(tmp_path_factory.mktemp("kuberayrules"))) as program:
        yield program


def as_stored(item: dict[str, Any]) -> dict[str, Any]:
    """The object with the one default that the API server fills in and KubeRay's code relies on."""
    strategy = item.get("spec", {}).get("upgradeStrategy") or {}
    if strategy.get("clusterUpgradeOptions"):
        strategy["clusterUpgradeOptions"].setdefault("maxSurgePercent", 100)
    return item


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(kuberay: KubeRay, case: Case) -> None:
    theirs = kuberay.refusals(as_stored(case.item()))
    if case.stricter:
        assert not [one for one in theirs if not one.startswith("panic")]
    else:
        assert bool(theirs) == bool(case.ours), theirs


V2_ON = {"name": V2, "value": "1"}
OFF: dict[str, Any] = {UPGRADE: ABSENT, f"{CLUSTER}.enableInTreeAutoscaling": False}
ONE_CHANGE = st.sampled_from([case.changes for case in CASES if not case.stricter])
WORDS = st.text(alphabet="aB1-._/ hms+0", max_size=6)
NUMBERS = st.integers(-2, 102)
VARIABLES = st.builds(
    lambda name, value: {"name": name, "value": value},
    st.sampled_from(["RAY_enable_autoscaler_v2", "RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "OTHER"]),
    st.sampled_from(["", "1", "true", "True", "0"]),
)
ANY_CHANGE = st.one_of(
    st.tuples(st.just("metadata.name"), WORDS),
    st.tuples(st.just(TIMEOUT), WORDS),
    st.tuples(st.sampled_from([f"{GROUP}.labels", f"{HEAD}.labels"]), st.dictionaries(WORDS, WORDS, max_size=2)),
    st.tuples(
        st.sampled_from([f"{GROUP}.minReplicas", f"{GROUP}.maxReplicas", f"{GROUP}.idleTimeoutSeconds"]), NUMBERS
    ),
    st.tuples(st.sampled_from([f"{OPTIONS}.maxSurgePercent", f"{OPTIONS}.intervalSeconds"]), NUMBERS),
    st.tuples(st.just(f"{CLUSTER}.enableInTreeAutoscaling"), st.booleans()),
    st.tuples(
        st.just(f"{CLUSTER}.rayVersion"), st.from_regex(r"v?[0-9]{0,2}(\.[0-9]{1,2}){0,3}(rc1)?", fullmatch=True)
    ),
    st.tuples(st.just(FAULT_TOLERANCE), st.sampled_from([{}, {"redisAddress": "r:1"}])),
    st.tuples(st.just(f"{ENV}+"), VARIABLES),
).map(lambda pair: dict([pair]))


def stricter(item: dict[str, Any]) -> bool:
    """Whether one of the rules that go further than 1.6.1 is broken."""
    strategy = item["spec"].get("upgradeStrategy")
    options = (strategy or {}).get("clusterUpgradeOptions") or {}
    names = [group["groupName"] for group in item["spec"]["rayClusterConfig"]["workerGroupSpecs"]]
    step, surge = options.get("stepSizePercent"), options.get("maxSurgePercent", 100)
    typeless = strategy is not None and "type" not in strategy
    return typeless or len(set(names)) < len(names) or (step is not None and surge < step)


@settings(max_examples=3000, deadline=None, derandomize=True, database=None)
@given(changes=st.lists(ONE_CHANGE | ANY_CHANGE, min_size=1, max_size=3))
@example(changes=[OFF | {f"{ENV}+": V2_ON}, {f"{ENV}+": V2_ON | {"value": ""}}])
def test_any_mixture_of_changes_has_the_same_verdict(kuberay: KubeRay, changes: list[dict[str, Any]]) -> None:
    item = base()
    try:
        for change in changes:
            changed(item, change)
    except (KeyError, IndexError, AttributeError, TypeError):
        return  # an earlier change took away what this one is about
    ours, theirs = violations(item), kuberay.refusals(as_stored(item))
    if not stricter(item):
        assert bool(ours) == bool(theirs), (ours, theirs)


def hash_of(kuberay: KubeRay, change: dict[str, Any]) -> str:
    return kuberay.hash(cluster_spec(service(change)))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"scaling": {"min_replicas": 2, "max_replicas": 9, "target_ongoing_requests": 3}}, True),
        ({"scaling": {"min_replicas": 0}}, True),
        ({"serving": {"port": 9000}}, True),
        ({"kubernetes": {"upgrade": {"keep_old_s": 3}}}, True),
        ({"kubernetes": {"worker_groups": [{"tolerations": [{"key": "k", "operator": "Exists"}]}]}}, True),
        ({"model": {"id": "owner/other"}}, False),
        ({"engine": {"max_num_seqs": 3}}, False),
        ({"kubernetes": {"image": "registry.test/switchyard:2.0"}}, False),
        ({"kubernetes": {"env": {"A": "b"}}}, False),
        ({"kubernetes": {"head": {"cpu": 3}}}, False),
    ],
)
def test_kuberays_hash_sees_a_new_release_and_not_a_new_scale(
    kuberay: KubeRay, change: dict[str, Any], same: bool
) -> None:
    assert (hash_of(kuberay, change) == hash_of(kuberay, {})) is same


def test_going_back_gives_the_old_hash(kuberay: KubeRay) -> None:
    two = {"model": {"id": "owner/other"}}
    one = hash_of(kuberay, {})
    assert hash_of(kuberay, two) != one
    assert hash_of(kuberay, merged(two, {"model": {"id": "owner/model"}})) == one
