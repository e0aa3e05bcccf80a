"""KubeRay's rules, each broken once. tests/e2e/test_kuberay_rules.py asks KubeRay itself about the same cases."""

from __future__ import annotations

import inspect

import pytest

from kuberay.manifests import rules
from kuberay.manifests.rules import violations
from tests.rule_cases import CASES, REPEATED, Case
from tests.services import ON_KUBERNETES, deployed, rendered


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    found = violations(case.item())
    if not case.ours:
        assert found == []
        return
    assert [one for one in found if case.ours in one], found
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", [file.name for file in ON_KUBERNETES])
def test_what_is_rendered_breaks_none(name: str) -> None:
    assert violations(rendered(deployed(name), "RayService")) == []


def test_every_function_of_kuberays_is_repeated_and_tried() -> None:
    assert {case.rule for case in CASES if case.ours} == REPEATED
    assert {case.rule for case in CASES if not case.ours} == REPEATED


def test_the_source_names_the_functions_it_repeats() -> None:
    assert [name for name in sorted(REPEATED) if name not in inspect.getsource(rules)] == []


@pytest.mark.parametrize("item", [{}, {"spec": {}}, {"metadata": {"name": "a"}, "spec": {"rayClusterConfig": {}}}])
def test_an_object_with_nothing_in_it_is_refused_and_not_stumbled_over(item: dict[str, object]) -> None:
    assert "head: the pod template has no container" in violations(item)
