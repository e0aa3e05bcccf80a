"""Validations over real HTTP: good services pass, and each kind of bad one is refused by the check that is for it."""

from __future__ import annotations

import dataclasses
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kuberay.rollout.validation.checks import Place, gather, golden_failures, warm
from kuberay.rollout.validation.evidence import Evidence
from kuberay.rollout.validation.validate import judge
from kuberay.rollout.validation.verdict import Kind, Outcome, Verdict
from kuberay.rollout_config import Rollout
from tests.rollout_server import WordEngine, serving
from tests.services import merged

SLOW_S = 0.3
"""Far above what a loaded machine adds."""
AT = "2026-01-02T03:04:05Z"
SMALL: dict[str, Any] = {
    "checks": {
        "timeout_s": 10,
        "streaming": {"requests": 2, "max_tokens": 24},
        "answers": {"max_tokens": 8, "prompts": ["a", "b", "c"]},
        "latency": {"requests": 10, "max_tokens": 4, "max_ttft_ratio": 4, "max_e2e_ratio": 4},
        "throughput": {"rounds": 2, "requests": 4, "max_tokens": 8},
        "soak": {"seconds": 0.3, "concurrency": 2, "max_tokens": 8},
    }
}


def settings(change: dict[str, Any] | None = None) -> Rollout:
    return Rollout.model_validate(merged(SMALL, change or {}))


def only(*checks: str, **change: Any) -> Rollout:
    """Settings with all other checks off."""
    off = {name: {"enabled": False} for name in SMALL["checks"] | {"contract": 0, "golden": 0, "capacity": 0}}
    off = {name: section for name, section in off.items() if name not in (*checks, "timeout_s")}
    return settings({"checks": merged(off, change)})


def decided(rollout: Rollout, green: Place, blue: Place | None, kind: Kind = Kind.SAME_MODEL) -> Verdict:
    return judge(gather(rollout, green, blue), rollout, kind=kind, at=AT)


def outcomes(verdict: Verdict) -> dict[str, str]:
    return {finding.check: finding.outcome.value for finding in verdict.findings}


def failed(verdict: Verdict) -> list[str]:
    return [finding.check for finding in verdict.failed]


def text(verdict: Verdict, check: str) -> str:
    return next(finding.text for finding in verdict.findings if finding.check == check)


@pytest.fixture(scope="module")
def blue() -> Iterator[Place]:
    with serving(WordEngine(release_id="aaaaaaaaaaaa"), "blue") as place:
        yield place


def test_a_good_release_passes_every_check(blue: Place, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at": 5.1, "prompt": "b", "max_tokens": 2}\n{"at": 5, "prompt": "a", "max_tokens": 2}\n')
    engine = WordEngine()
    golden = [{"prompt": "Count", "expect": {"matches": r"^(\w+ )+$"}, "max_tokens": 4}]
    rollout = settings({"checks": {"golden": {"prompts": golden}, "replay": {"path": str(trace)}}})
    said: list[str] = []
    with serving(engine) as green:
        evidence = gather(rollout, green, blue, report=said.append, chance=random.Random(1))
    counted = dataclasses.replace(evidence, ready=(1, 1))
    verdict = judge(counted, rollout, kind=Kind.SAME_MODEL, at=AT)
    assert {name: outcome for name, outcome in outcomes(verdict).items() if outcome != "pass"} == {}, verdict
    assert (verdict.passed, verdict.release, verdict.against) == (True, "0123456789ab", "aaaaaaaaaaaa")
    assert [line.split(":")[0] for line in said] == [name for name in outcomes(verdict) if name != "capacity"]
    assert engine.prompts[-2:] == ["a", "b"]
    latency = evidence.latency
    assert latency is not None
    assert [len(latency.green), len(latency.blue)] == [10, 10]
    # Neither side is always first.
    firsts = {a.sent < b.sent for a, b in zip(latency.green, latency.blue, strict=True)}
    assert firsts == {True, False}


def test_other_answers_are_refused_by_the_comparison_and_by_golden_prompts(blue: Place) -> None:
    golden = {"prompts": [{"prompt": "Count", "expect": {"equals": "one two "}, "max_tokens": 2}]}
    with serving(WordEngine(salt="x")) as green:
        rollout = settings({"checks": {"golden": golden}})
        verdict = decided(rollout, green, blue)
        assert failed(verdict) == ["golden", "answers"]
        assert "0 % of the answers are the same, wanted: 80 %" in text(verdict, "answers")
        assert "expected 'one two '" in text(verdict, "golden")
        # A new model may answer otherwise.
        assert failed(decided(only("answers"), green, blue, Kind.NEW_MODEL)) == []


def test_a_slow_release_is_refused_by_latency_alone(blue: Place) -> None:
    rollout = only("contract", "latency", latency={"requests": 8, "max_ttft_ratio": 1.5})
    with serving(WordEngine(delay_s=SLOW_S)) as green:
        verdict = decided(rollout, green, blue)
    assert failed(verdict) == ["latency"]
    assert "time to first token p50" in text(verdict, "latency")
    # The other way round it is faster, which is no fault.
    with serving(WordEngine(delay_s=SLOW_S, release_id="bbbbbbbbbbbb"), "blue") as slow, serving(WordEngine()) as green:
        assert decided(only("latency", latency={"requests": 8}), green, slow).passed


def test_a_release_with_less_throughput_is_refused_by_throughput() -> None:
    rollout = only("throughput", throughput={"rounds": 4, "requests": 2, "concurrency": 2})
    usual = WordEngine(release_id="bbbbbbbbbbbb", delay_s=0.15)
    with serving(usual, "blue") as blue, serving(WordEngine(delay_s=1)) as green:
        verdict = decided(rollout, green, blue)
    assert failed(verdict) == ["throughput"]
    assert "wanted: 0.75 times" in text(verdict, "throughput")


def test_broken_streams_are_refused_by_streaming(blue: Place) -> None:
    with serving(WordEngine(breaks_at=5)) as green:
        verdict = decided(only("contract", "streaming"), green, blue)
    assert "streaming" in failed(verdict)
    assert "the engine is gone" in text(verdict, "streaming")


def test_streams_that_something_holds_back_are_refused_by_streaming(blue: Place) -> None:
    with serving(WordEngine(), buffered=True) as green:
        verdict = decided(only("contract", "streaming"), green, blue)
    assert failed(verdict) == ["streaming"]
    assert "in one piece" in text(verdict, "streaming")


def test_another_release_than_expected_is_refused_by_the_contract(blue: Place) -> None:
    with serving(WordEngine(release_id="ffffffffffff")) as green:
        expected = dataclasses.replace(green, release="0123456789ab")
        verdict = decided(only("contract"), expected, blue)
    assert failed(verdict) == ["contract"]
    assert "release 'ffffffffffff' answers instead of '0123456789ab'" in text(verdict, "contract")


def test_failures_under_load_are_refused_by_the_soak(blue: Place) -> None:
    with serving(WordEngine(fails_each=5)) as green:
        assert failed(decided(only("soak"), green, blue)) == ["soak"]
        verdict = decided(only("soak", soak={"max_error_rate": 0.5}), green, blue)
    assert verdict.passed
    assert "requests failed" in text(verdict, "soak")


def test_the_first_install_has_nothing_to_compare_with() -> None:
    with serving(WordEngine()) as green:
        verdict = decided(settings(), green, None)
    skipped = [finding.check for finding in verdict.findings if finding.outcome is Outcome.SKIPPED]
    assert skipped == ["golden", "answers", "latency", "throughput", "replay", "capacity"]
    assert "no other release serves" in text(verdict, "latency")
    assert (verdict.passed, verdict.against) == (True, "")


def test_a_model_without_a_chat_template_is_compared_by_completions(blue: Place) -> None:
    with serving(WordEngine(templated=False)) as green:
        rollout = only("contract", "streaming", "answers")
        evidence = gather(rollout, green, blue)
    verdict = judge(evidence, rollout, kind=Kind.SAME_MODEL, at=AT)
    assert failed(verdict) == []
    assert evidence.answers is not None
    assert evidence.answers.green[0].logprobs is not None


def test_where_nothing_answers_it_ends_soon_and_without_an_exception(blue: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    green = Place(f"http://127.0.0.1:{port}", "green", "0123456789ab", "words")
    evidence = gather(settings(), green, blue)
    verdict = judge(evidence, settings(), kind=Kind.SAME_MODEL, at=AT)
    assert not verdict.passed
    assert "contract" in failed(verdict)
    assert evidence.soak is None
    assert evidence.seconds < 5


def test_a_service_that_refuses_everything_is_not_asked_for_long(blue: Place) -> None:
    with serving(WordEngine(fails_each=1)) as green:
        evidence = gather(settings(), green, blue)
    assert evidence.latency is None
    assert not judge(evidence, settings(), kind=Kind.SAME_MODEL, at=AT).passed


def test_a_release_beside_it_that_only_fails_is_not_asked_for_long() -> None:
    broken = WordEngine(release_id="bbbbbbbbbbbb", fails_each=1)
    with serving(broken, "blue") as blue, serving(WordEngine()) as green:
        verdict = decided(only("answers", "latency", "throughput"), green, blue)
    skipped = [finding.check for finding in verdict.findings if "no luck" in finding.text]
    assert skipped == ["answers", "latency", "throughput"]
    assert verdict.passed
    assert len(broken.prompts) <= 25


@pytest.mark.parametrize("after", [0, 3, 40])
def test_it_stops_when_it_is_told_to_and_what_is_left_is_no_pass(blue: Place, after: int) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > after

    with serving(WordEngine()) as green:
        evidence = gather(settings(), green, blue, stop=stop)
    assert evidence.stopped
    verdict = judge(evidence, settings(), kind=Kind.SAME_MODEL, at=AT)
    assert failed(verdict) == ["complete"]
    assert f"stopped in '{evidence.stopped}'" in text(verdict, "complete")


def test_keys(blue: Place) -> None:
    with serving(WordEngine(), key="sesame") as green:
        assert decided(only("contract", "streaming", "golden"), green, None).passed
        wrong = dataclasses.replace(green, api_key="open")
        verdict = decided(only("contract"), wrong, None)
        assert failed(verdict) == ["contract"]
        assert "HTTP 401" in text(verdict, "contract")
    with serving(WordEngine()) as unguarded:
        verdict = decided(only("contract"), dataclasses.replace(unguarded, api_key="sesame"), None)
    assert "no key (GET /release): HTTP 200 instead of 401" in text(verdict, "contract")
    assert "sesame" not in repr(green)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (None, "No such file"),
        ("", "no requests"),
        ("{", "trace.jsonl:1 is not JSON"),
        ('\n{"prompt": "x"}', "trace.jsonl:2: 'at'"),
        ('{"at": 1, "promt": "x"}', "promt"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_refused(blue: Place, tmp_path: Path, lines: str | None, says: str) -> None:
    trace = tmp_path / "trace.jsonl"
    if lines is not None:
        trace.write_text(lines)
    with serving(WordEngine()) as green:
        verdict = decided(only(replay={"path": str(trace)}), green, blue)
    assert failed(verdict) == ["replay"]
    assert says in text(verdict, "replay")


def test_warming_up_repeats_the_configured_prompts_and_the_last_of_the_recorded_ones(tmp_path: Path) -> None:
    engine, trace = WordEngine(), tmp_path / "trace.jsonl"
    trace.write_text(
        "".join(json.dumps({"at": at, "prompt": prompt}) + "\n" for at, prompt in enumerate(["old", "a", "b"]))
    )
    warm_up = {"prompts": ["p"], "recent": 2, "requests": 7, "concurrency": 2, "max_tokens": 2}
    rollout = settings({"warm_up": warm_up, "checks": {"replay": {"path": str(trace)}}})
    with serving(engine) as green:
        warmed = warm(rollout, green)
        assert sorted(engine.prompts) == ["a", "a", "b", "b", "p", "p", "p"]
        assert (warmed.sent, warmed.failed) == (7, 0)
        engine.fails_each = 1
        warmed = warm(rollout, green)
        assert (warmed.sent, warmed.failed) == (7, 7)
        assert "no luck" in warmed.text
        off = warm(settings({"warm_up": {"enabled": False}}), green)
        assert (off.sent, off.text) == (0, "Warming up is switched off")


def test_golden_prompts_are_asked_again_after_the_switch() -> None:
    prompts = [
        {"prompt": "a", "expect": {"contains": "E"}, "max_tokens": 8},
        {"messages": [{"role": "user", "content": "b"}], "expect": {"equals": "no"}},
    ]
    rollout = settings({"checks": {"golden": {"prompts": prompts}}})
    with serving(WordEngine()) as green:
        (wrong,), unanswered = golden_failures(rollout.checks.golden.prompts, green)
    assert wrong.startswith("prompt 2: expected 'no', the answer was ")
    assert not unanswered
    wrong, unanswered = golden_failures(rollout.checks.golden.prompts, green)  # which is gone
    assert not wrong and [one.partition(":")[0] for one in unanswered] == ["prompt 1", "prompt 2"]


def test_evidence_is_plain_data(blue: Place) -> None:
    """What was measured can be kept beside the verdict."""
    with serving(WordEngine()) as green:
        evidence = gather(only("contract", "latency"), green, blue)
    assert isinstance(evidence, Evidence)
    assert json.loads(json.dumps(dataclasses.asdict(evidence)))["release"] == "0123456789ab"
