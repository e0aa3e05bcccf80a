import dataclasses
import io
import random
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from kuberay.cli.screens import doctor_screen
from kuberay.doctor.causes.texts import CAUSES
from kuberay.doctor.diagnose import checks, diagnose
from kuberay.doctor.findings import Finding
from kuberay.look import bundle
from kuberay.look.objects import moment
from kuberay.look.redact import LOG_LIMIT, shown
from kuberay.snapshot import Snapshot
from tests.bundles import FOLDER, NOW, Case, case, cases, texts

CASES = pytest.mark.parametrize("one", cases(), ids=lambda one: one.name)
CAPTURED = sorted(FOLDER.glob("*.tgz"))


def steps_of(finding: Finding) -> str:
    return "\n".join(f"{step.text}\n{step.command}" for step in finding.next_steps)


@CASES
@pytest.mark.parametrize("core_events", [False, True], ids=["events.k8s.io", "v1"])
def test_names_the_cause_and_the_next_step(one: Case, core_events: bool) -> None:
    found = diagnose(one.snapshot(core_events=core_events), NOW)
    expected = one.expect
    ids = [expected["id"], *expected.get("also", [])] if "id" in expected else []
    assert [finding.id for finding in found] == ids
    if not found:
        return
    assert found[0].severity == expected["severity"]
    assert expected.get("title", "") in found[0].title
    for name in expected["names"]:
        assert name in steps_of(found[0])


@CASES
def test_a_finding_is_complete(one: Case) -> None:
    for finding in diagnose(one.snapshot(), NOW):
        said = [finding.title, finding.because, steps_of(finding)]
        assert all(said)
        assert finding.evidence
        assert not re.search(r"\{\w*\}", finding.title + finding.because), "a name was not filled in"
        # What is left in capitals is for the reader to fill in, and only in commands.
        assert not re.search(
            r"\b[A-Z]{4,}\b", re.sub(r"DNS|CUDA|GCS|FAILED|DEPLOY|UNHEALTHY|CLUSTER", "", finding.title)
        )


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.name)
def test_captured_bundles(path: Path) -> None:
    snapshot = bundle.read(path)
    found = diagnose(snapshot, moment(snapshot.taken))
    expected = path.name.split("--")[0]
    assert (found[0].id if found else "none") == expected
    for one in found:
        assert not re.search(r"\{\w*\}", one.title + one.because + steps_of(one)), "a name was not filled in"


def test_there_are_enough_captured_bundles_and_they_are_small() -> None:
    assert sum(not path.name.startswith("none--") for path in CAPTURED) >= 15
    assert max(path.stat().st_size for path in CAPTURED) < 60_000


def test_every_cause_has_a_case() -> None:
    covered = {one.expect.get("id") for one in cases()} | {
        each for one in cases() for each in one.expect.get("also", [])
    }
    assert set(CAUSES) - covered == set()


def test_cases_there_are_enough_of() -> None:
    assert sum("id" in one.expect for one in cases()) >= 20
    assert sum("id" not in one.expect for one in cases()) >= 3


@CASES
def test_the_order_of_objects_does_not_matter(one: Case) -> None:
    snapshot = one.snapshot()
    expected = diagnose(snapshot, NOW)
    for seed in range(3):
        objects, logs = list(snapshot.objects), list(snapshot.logs.items())
        random.Random(seed).shuffle(objects)
        random.Random(seed).shuffle(logs)
        mixed = dataclasses.replace(snapshot, objects=tuple(objects), logs=dict(logs))
        assert diagnose(mixed, NOW) == expected


@CASES
def test_the_same_from_a_bundle(one: Case) -> None:
    snapshot = one.snapshot()
    assert diagnose(bundle.unpack(bundle.pack(snapshot)), NOW) == diagnose(snapshot, NOW)


@CASES
def test_no_secret_is_shown(one: Case) -> None:
    """A token in every text that is read, and none in what is said."""
    secret = "hf_" + "Secret" * 6
    snapshot = one.snapshot()
    logs = {key: f"HF_TOKEN={secret} {log}\nAuthorization: Bearer {secret}\n" for key, log in snapshot.logs.items()}
    marked = dataclasses.replace(
        snapshot,
        objects=tuple(_marked(item, secret) for item in snapshot.objects),
        serve={key: _marked(value, secret) for key, value in snapshot.serve.items()},
        logs=logs,
        unreadable=(f"the API server's answer was 401 for token {secret}",),
    )
    for finding in diagnose(marked, NOW):
        for text in texts(dataclasses.asdict(finding)):
            assert "SecretSecret" not in text


def _marked(value: Any, secret: str) -> Any:
    if isinstance(value, Mapping):
        told = ("message", "note")
        return {
            key: f"{one} password={secret} {secret}" if key in told and isinstance(one, str) else _marked(one, secret)
            for key, one in value.items()
        }
    return [_marked(one, secret) for one in value] if isinstance(value, list) else value


def test_what_could_not_be_seen_is_said() -> None:
    snapshot = dataclasses.replace(case("kv-cache-none").snapshot(), unreadable=("nodes: forbidden",))
    assert diagnose(snapshot, NOW)[0].unseen == ("nodes: forbidden",)
    healthy = dataclasses.replace(case("healthy").snapshot(), unreadable=("nodes: forbidden",))
    assert "not seen: nodes: forbidden" in checks(healthy, NOW)


def test_what_may_not_be_read_is_not_called_missing() -> None:
    """Somebody without rights on the whole cluster sees no CRDs, no operator, and perhaps no pods."""
    unreadable = (
        "customresourcedefinitions: forbidden",
        "deployments: forbidden",
        "rayservices: forbidden",
        "pods: forbidden",
    )
    snapshot = case("healthy").snapshot()
    hidden = ("CustomResourceDefinition", "Deployment", "RayService", "RayCluster", "Pod", "Service", "EndpointSlice")
    seen = tuple(one for one in snapshot.objects if one["kind"] not in hidden)
    assert diagnose(dataclasses.replace(snapshot, objects=seen, unreadable=unreadable), NOW) == []


def test_commands_name_the_context_only_where_there_is_one() -> None:
    snapshot = case("no-serve-endpoints").snapshot()
    for context, expected in (("in-cluster", "kubectl -n models"), ("my ctx", "kubectl --context 'my ctx' -n models")):
        found = diagnose(dataclasses.replace(snapshot, context=context), NOW)
        assert found[0].next_steps[0].command.startswith(expected)


def test_gcloud_is_named_on_gke_only() -> None:
    assert "gcloud" in steps_of(diagnose(case("no-free-gpu").snapshot(), NOW)[0])
    [path] = [one for one in CAPTURED if one.name.startswith("no-free-gpu--")]
    snapshot = bundle.read(path)
    [found, *_] = diagnose(snapshot, moment(snapshot.taken))
    assert "gcloud" not in steps_of(found)
    assert "no node has more than 8" in found.because
    unseen = tuple(one for one in snapshot.objects if one["kind"] != "Node")
    [found, *_] = diagnose(dataclasses.replace(snapshot, objects=unseen), moment(snapshot.taken))
    assert "gcloud" in steps_of(found), "without a look at the nodes it may be GKE"


def test_colours_meant_for_a_terminal_are_left_out() -> None:
    assert shown("\x1b[36mray::LLM\x1b[39m failed") == "ray::LLM failed"


def test_a_container_that_ends_again_and_again_is_shown_once() -> None:
    [path] = [one for one in CAPTURED if one.name.startswith("head-out-of-memory--")]
    snapshot = bundle.read(path)
    [found, *_] = diagnose(snapshot, moment(snapshot.taken))
    assert len(found.subjects) > 1
    assert sum("DeletedHeadPod" in one.source for one in found.evidence) == 1
    assert "limit 120Mi" in found.title


def test_causes_of_both_clusters_are_told_apart() -> None:
    """The old cluster lost its node while the new one gets no GPU: what stops requests comes first."""
    blue, green = case("node-lost").snapshot(), case("no-free-gpu").snapshot()
    kinds = ("Node", "EndpointSlice")
    names = ("gemma-7xk2p-workers-worker-4hjxd",)
    worse = {
        (one["kind"], one["metadata"]["name"]): one
        for one in blue.objects
        if one["kind"] in kinds or one["metadata"]["name"] in names
    }
    objects = tuple(worse.get((one["kind"], one["metadata"]["name"]), one) for one in green.objects)
    serve = {**green.serve, "gemma-7xk2p": blue.serve["gemma-7xk2p"]}
    found = diagnose(dataclasses.replace(green, objects=objects, serve=serve), NOW)
    assert [(one.id, one.cluster) for one in found[:2]] == [
        ("node-lost", "gemma-7xk2p"),
        ("no-free-gpu", "gemma-b4d9v"),
    ]


def test_five_symptoms_are_one_finding() -> None:
    found = diagnose(case("node-pool-at-maximum").snapshot(), NOW)
    sources = " ".join(one.source for one in found[0].evidence)
    for word in ("NotTriggerScaleUp", "FailedScheduling", "Serve deployment llm/LLM", "UpgradeInProgress"):
        assert word in sources
    reported = diagnose(case("node-pool-at-maximum-with-report").snapshot(), NOW)
    assert [one.id for one in reported] == ["node-pool-at-maximum"]
    assert any("'accelerator_type:L4'" in one.text for one in reported[0].evidence)


def test_a_replicas_log_leads_to_its_pod() -> None:
    snapshot = case("kv-cache-none-in-the-replicas-log").snapshot()
    log = "torch.OutOfMemoryError: x\nRuntimeError: No CUDA GPUs are available\n"
    found = diagnose(dataclasses.replace(snapshot, logs={"gemma-7xk2p/r8w2/err": log}), NOW)
    steps = {one.id: steps_of(one) for one in found}
    assert "exec gemma-7xk2p-workers-worker-4hjxd -c ray-worker" in steps["gpu-not-visible"]


def test_many_pods_with_one_cause_are_one_finding() -> None:
    snapshot = case("image-not-found").snapshot()
    pod = next(one for one in snapshot.objects if one["metadata"]["name"] == "gemma-b4d9v-workers-worker-t7cwq")
    more = tuple(
        {**pod, "metadata": {**pod["metadata"], "name": f"gemma-b4d9v-workers-worker-{place}"}} for place in range(30)
    )
    found = diagnose(dataclasses.replace(snapshot, objects=(*snapshot.objects, *more)), NOW)
    assert [one.id for one in found] == ["image-not-found"]
    assert len(found[0].subjects) == 31
    assert len(found[0].evidence) <= 8


def test_a_log_that_was_made_to_hurt_is_read_in_time() -> None:
    snapshot = case("kv-cache-none").snapshot()
    pod = "gemma-7xk2p-workers-worker-4hjxd/ray-worker"
    for unit in (
        "a",
        "/",
        "403 ",
        "404 ",
        "a/",
        "eyJ-",
        "host='huggingface.co' ",
        "://a:",
        " ",
        "token=",
        "No available node types can fulfill placement group requests",
        "file_system_monitor ",
    ):
        log = unit * (LOG_LIMIT // 4 // len(unit))
        begun = time.perf_counter()
        diagnose(dataclasses.replace(snapshot, logs={pod: log}), NOW)
        shown(log)
        assert time.perf_counter() - begun < 4, unit


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_objects_of_any_shape_do_no_harm(data: st.DataObject) -> None:
    """A bundle may come from anybody: whatever stands somewhere in it, there is an answer."""
    name = data.draw(
        st.sampled_from(["kv-cache-none", "node-pool-at-maximum", "head-unreachable", "finalizer-stuck", "held"])
    )
    snapshot = case(name).snapshot()
    objects = [_changed(data, one, 0) for one in snapshot.objects]
    serve = {key: _changed(data, one, 0) for key, one in snapshot.serve.items()}
    broken = dataclasses.replace(snapshot, objects=tuple(one for one in objects if isinstance(one, dict)), serve=serve)
    diagnose(broken, NOW)
    checks(broken, NOW)


def _changed(data: st.DataObject, value: Any, depth: int) -> Any:
    if data.draw(st.integers(0, 60)) == 0 and depth:
        return data.draw(JSON)
    if depth > 3 or not isinstance(value, dict) or not value:
        return value
    key = data.draw(st.sampled_from(sorted(value)))
    return {**value, key: _changed(data, value[key], depth + 1)}


def test_nothing_to_say_of_nothing() -> None:
    empty = Snapshot(taken="2026-11-22T12:00:00Z", context="", namespace="models", name="gemma")
    assert [one.id for one in diagnose(empty, NOW)] == ["crd-missing"]


@CASES
def test_the_screen_keeps_commands_whole(one: Case) -> None:
    snapshot = one.snapshot()
    found = diagnose(snapshot, NOW)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(doctor_screen(one.name, found, checks(snapshot, NOW)), crop=False)
    shown_text = console.export_text()
    for finding in found:
        assert finding.id in shown_text.replace("\n", "") or finding.title[:20] in shown_text
        for step in finding.next_steps:
            assert not step.command or f"$ {step.command}" in shown_text
    if not found:
        assert "nothing wrong" in shown_text
