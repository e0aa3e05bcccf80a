"""Verdicts from evidence: each check's laws, the kinds of release, and the section of the service file."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import Record
from kuberay.config import ConfigError
from kuberay.manifests.manifest import release_of
from kuberay.release import parse
from kuberay.rollout.validation import contract, verdict
from kuberay.rollout.validation.evidence import Evidence, Reply, Sides
from kuberay.rollout.validation.validate import judge, mismatch, release_kind
from kuberay.rollout.validation.verdict import Finding, Kind, Outcome, Verdict
from kuberay.rollout_config import Expect, Rollout
from tests.services import ON_KUBERNETES, deployed, service

AT = "2026-01-02T03:04:05Z"
GREEN, BLUE, MODEL = "0123456789ab", "aaaaaaaaaaaa", "m"


def record(index: int = 0, *, first: float = 0.1, e2e: float = 0.5, text: str = "one two", **change: Any) -> Record:
    values: dict[str, Any] = {
        "index": index,
        "target": "green",
        "at": 0.0,
        "sent": 0.0,
        "first": first,
        "gaps": (0.01,) * 8,
        "ended": e2e,
        "status": 200,
        "finish_reason": "length",
        "prompt_tokens": 3,
        "completion_tokens": 9,
        "text": text,
        "tokens": ("one", "two"),
        "logprobs": (-0.5, -1.0),
    }
    return Record(**(values | change))


BROKEN = {"finish_reason": None, "error": "the connection broke"}
ENVELOPE = {"message": "no", "type": "BadRequestError", "param": None}
SAID: dict[str, tuple[int, Any]] = {
    "health": (200, {"status": "ok"}),
    "release": (200, {"release": GREEN}),
    "models": (200, {"data": [{"id": "other"}, {"id": MODEL}]}),
    "metrics": (200, "vllm:x 1"),
    "openapi": (200, {}),
    "docs": (200, "<html>"),
    "unknown route": (404, {"error": {**ENVELOPE, "code": 404}}),
    "wrong method": (405, {"error": {**ENVELOPE, "code": 405}}),
    "generate": (
        200,
        {
            "id": "x",
            "text": "hi",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            "model": MODEL,
            "release": GREEN,
        },
    ),
    "no prompt": (400, {"error": {**ENVELOPE, "code": 400}}),
    "unknown field": (400, {"error": {**ENVELOPE, "code": 400}}),
    "out of range": (400, {"error": {**ENVELOPE, "code": 400}}),
    "completions": (
        200,
        {"model": MODEL, "choices": [{"text": "hi", "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
    ),
    "unknown model": (404, {"error": {**ENVELOPE, "code": 404}}),
    "refused field": (400, {"error": {**ENVELOPE, "code": 400}}),
    "chat": (
        200,
        {"model": MODEL, "choices": [{"message": {}, "finish_reason": "length"}], "usage": {"prompt_tokens": 1}},
    ),
    "responses": (200, {"object": "response", "model": MODEL, "output": [{}]}),
    "stream of generate": (200, 'data: {"text": "hi"}\n\ndata: {"finish_reason": "stop"}\n\ndata: [DONE]\n\n'),
    "stream of completions": (200, 'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'),
    "stream of chat": (400, {"error": {**ENVELOPE, "code": 400, "message": "no chat template"}}),
}


def reply(name: str, status: int, body: Any, **change: Any) -> Reply:
    kind = "text/event-stream; charset=utf-8" if name.startswith("stream") else "application/json"
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": kind, "x-switchyard-release": GREEN}
    return Reply(name, status, headers | change.pop("headers", {}), text, **change)


def replies(**change: tuple[int, Any]) -> tuple[Reply, ...]:
    said = SAID | {name.replace("_", " "): answer for name, answer in change.items()}
    return tuple(reply(name, *answer) for name, answer in said.items())


def named(name: str, release: str) -> tuple[Reply, ...]:
    """All well, but one of them comes from a release of another name."""
    headers = {"x-switchyard-release": release}
    return tuple(replace(one, headers={**one.headers, **headers}) if one.call == name else one for one in replies())


def records(count: int, **change: Any) -> tuple[Record, ...]:
    return tuple(record(index, **change) for index in range(count))


def rounds(rate: float, count: int = 4) -> tuple[Record, ...]:
    return tuple(record(i, round=i, completion_tokens=100, e2e=100 / rate * (1 + i / 100)) for i in range(count))


def measured(**change: Any) -> Evidence:
    """Evidence that all is well; ``change`` replaces parts of it."""
    values: dict[str, Any] = {
        "release": GREEN,
        "model": MODEL,
        "against": BLUE,
        "replies": replies(),
        "streamed": records(4),
        "whole": records(4),
        "answers": Sides(records(8), records(8)),
        "latency": Sides(records(40), records(40)),
        "throughput": Sides(rounds(100), rounds(100)),
        "soak": records(20),
        "ready": (2, 2),
        "seconds": 7.4,
    }
    return Evidence(**(values | change))


def decided(evidence: Evidence, kind: Kind = Kind.SAME_MODEL, **checks: Any) -> Verdict:
    return judge(evidence, Rollout.model_validate({"checks": checks}), kind=kind, at=AT)


def of(found: Verdict, check: str) -> Finding:
    return next(finding for finding in found.findings if finding.check == check)


def failed(found: Verdict) -> list[str]:
    return [finding.check for finding in found.failed]


def test_all_well() -> None:
    found = decided(measured())
    assert failed(found) == []
    assert found.passed
    assert found.reason == "Passed: contract, streaming, answers, latency, throughput, soak, capacity."
    assert verdict.lines(found)[-1] == f"Release {GREEN} beside {BLUE} (same model) passed. It took 7 s."


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"replies": replies(release=(200, {"release": "x"}))}, "contract", "release 'x' answers"),
        ({"replies": replies(models=(200, {"data": []}))}, "contract", "serves [] instead of 'm'"),
        ({"replies": named("completions", BLUE)}, "contract", f"release {BLUE!r} answers instead of {GREEN!r}"),
        ({"replies": named("chat", BLUE)}, "contract", f"release {BLUE!r} answers instead of {GREEN!r}"),
        ({"replies": named("stream of generate", "")}, "streaming", f"release '' answers instead of {GREEN!r}"),
        ({"replies": replies(health=(503, ""))}, "contract", "HTTP 503 instead of 200"),
        ({"replies": replies(metrics=(200, ""))}, "contract", "none of vLLM's metrics"),
        ({"replies": replies(unknown_route=(404, "Not Found"))}, "contract", "not an error in OpenAI's envelope"),
        ({"replies": replies(unknown_field=(200, {}))}, "contract", "HTTP 200 instead of 400"),
        ({"replies": replies(generate=(200, {"text": "hi"}))}, "contract", "has another form"),
        ({"replies": replies(completions=(200, {"choices": []}))}, "contract", "another form than OpenAI's"),
        ({"replies": replies(responses=(200, {"object": "response", "output": []}))}, "contract", "another form"),
        ({"replies": replies(chat=(400, {"error": {**ENVELOPE, "code": 400}}))}, "contract", "HTTP 400 instead of 200"),
        ({"replies": replies(stream_of_generate=(200, "data: {}\n\n"))}, "streaming", "does not end with [DONE]"),
        ({"replies": replies(stream_of_generate=(200, "data: [DONE]\n\n"))}, "streaming", "without a finish reason"),
        ({"streamed": records(4, **BROKEN)}, "streaming", "the connection broke (4 times)"),
        ({"streamed": records(4, completion_tokens=16, gaps=(0.0,) * 15)}, "streaming", "in one piece"),
        ({"streamed": records(4, completion_tokens=16, gaps=())}, "streaming", "in one piece"),
        ({"streamed": records(4, text="one")}, "streaming", "none of 4 streams says what the whole answer"),
        ({"streamed": records(4, served_by=BLUE)}, "streaming", f"release {BLUE} answered instead of {GREEN}"),
        ({"answers": Sides(records(8, text="x"), records(8))}, "answers", "0 % of the answers are the same"),
        ({"answers": Sides(records(8, completion_tokens=5), records(8))}, "answers", "length differs by 80 %"),
        ({"answers": Sides(records(8, completion_tokens=18), records(8))}, "answers", "length differs by 100 %"),
        ({"answers": Sides(records(8, logprobs=(-0.5, -2.0)), records(8))}, "answers", "differ by 0.5 nats"),
        (
            {"answers": Sides(records(8, logprobs=None), records(8))},
            "answers",
            "no log-probabilities that can be compared",
        ),
        ({"answers": Sides(records(8, logprobs=(math.nan, -1.0)), records(8))}, "answers", "no log-probabilities"),
        ({"answers": Sides(records(8, **BROKEN), records(8))}, "answers", "8 of 8 requests to the new release failed"),
        ({"latency": Sides(records(40, first=0.2), records(40))}, "latency", "time to first token p50 2.00 times"),
        ({"latency": Sides(records(40, e2e=1.0), records(40))}, "latency", "time to the end p50 2.00 times"),
        ({"throughput": Sides(rounds(50), rounds(100))}, "throughput", "0.50 times"),
        ({"soak": (*records(19), record(19, **BROKEN))}, "soak", "1 of 20 requests failed (5 %), allowed: 0 %"),
        ({"soak": ()}, "soak", "No request was sent"),
        ({"ready": (1, 2)}, "capacity", "1 ready endpoint, 2 in the release that serves"),
    ],
)
def test_each_fault_fails_the_check_that_is_for_it(change: dict[str, Any], check: str, says: str) -> None:
    found = decided(measured(**change))
    assert failed(found) == [check]
    assert not found.passed
    assert says in of(found, check).text
    assert says in found.reason
    checks: Any = {check: {"enabled": False}}
    off = decided(measured(**change), **checks)
    assert (off.passed, of(off, check).text) == (True, "Skipped: switched off")


@pytest.mark.parametrize(
    "change",
    [
        {"streamed": (record(0, text="x"), *records(4)[1:])},  # a near-tie
        {"streamed": records(4, gaps=(), completion_tokens=2)},  # too short to tell
        {"answers": Sides((record(0, text="x"), *records(8)[1:]), records(8))},
        {"latency": Sides(records(40, first=0.12), records(40))},
        {"latency": Sides(records(40, first=0.01), records(40))},
        {"throughput": Sides(rounds(90), rounds(100))},
        {"throughput": Sides(rounds(500), rounds(100))},
        {"ready": (3, 2)},
    ],
)
def test_what_is_within_the_bounds_passes(change: dict[str, Any]) -> None:
    assert failed(decided(measured(**change))) == []


def test_a_difference_that_is_not_shown_is_none() -> None:
    """The median is three times as long, but it might be chance."""
    noisy = [0.1, 0.9, 0.1, 0.8, 0.3, 0.1, 0.9, 0.3]
    green = tuple(record(i, first=first, e2e=1.0) for i, first in enumerate(noisy))
    blue = tuple(record(i, first=first, e2e=1.0) for i, first in enumerate([0.1, 0.8, 0.1, 0.1, 0.9, 0.1, 0.9, 0.1]))
    found = of(decided(measured(latency=Sides(green, blue))), "latency")
    assert found.outcome is Outcome.PASS
    assert float(found.figures["ttft_p50_ratio"]) > 1.3


@pytest.mark.parametrize(
    ("name", "sides", "says"),
    [
        ("latency", Sides(records(7), records(40)), "7 requests are too few"),
        ("latency", Sides(records(40), records(40, **BROKEN)), "the connection broke (40 times)"),
        ("throughput", Sides(rounds(100), rounds(100, 1)), "fewer than two rounds"),
        ("answers", Sides(records(8), records(8, **BROKEN)), "the release that serves answered none"),
    ],
)
def test_what_cannot_be_compared_is_skipped_with_the_reason(name: str, sides: Sides, says: str) -> None:
    found = decided(measured(**{name: sides}))
    assert of(found, name).outcome is Outcome.SKIPPED
    assert says in of(found, name).text
    assert found.passed


def test_bounds_of_answers_are_those_of_the_kind_of_release() -> None:
    other = measured(answers=Sides(records(8, text="x", logprobs=(-5.0, -5.0)), records(8)))
    assert failed(decided(other, Kind.SAME_MODEL)) == ["answers"]
    assert failed(decided(other, Kind.QUANTIZED)) == ["answers"]
    assert failed(decided(other, Kind.NEW_MODEL)) == []
    half = records(8)[:4] + tuple(record(i, text="x") for i in range(4, 8))
    assert failed(decided(measured(answers=Sides(half, records(8))), Kind.SAME_MODEL)) == ["answers"]
    assert failed(decided(measured(answers=Sides(half, records(8))), Kind.QUANTIZED)) == []


@pytest.mark.parametrize("absent", ["replies", "streamed", "whole", "answers", "latency", "throughput", "soak"])
def test_a_check_that_was_asked_for_and_not_made_is_no_pass(absent: str) -> None:
    found = decided(measured(**{absent: None}))
    assert failed(found) == ["complete"]
    assert "not measured" in of(found, "complete").text


def test_a_trace_that_was_not_replayed_is_no_pass() -> None:
    assert failed(decided(measured(), replay={"path": "x"})) == ["complete"]
    assert failed(decided(measured(replay_fault="there is none"), replay={"path": "x"})) == ["replay"]
    assert decided(measured(replay=records(3)), replay={"path": "x"}).passed


def test_golden_answers() -> None:
    golden = {"prompts": [{"prompt": "a", "expect": {"contains": "TWO"}}, {"prompt": "b", "expect": {"equals": "x"}}]}
    found = decided(measured(golden=(record(0), record(1, text="x"))), golden=golden)
    assert of(found, "golden").outcome is Outcome.PASS
    found = decided(measured(golden=(record(0), record(1))), golden=golden)
    assert of(found, "golden").text == "1 of 2 answers are wrong: prompt 2: expected 'x', the answer was 'one two'"
    found = decided(measured(golden=(record(0, **BROKEN), record(1, text="x"))), golden=golden)
    assert "prompt 1: the connection broke" in of(found, "golden").text
    assert failed(decided(measured(), golden=golden)) == ["complete"]


@pytest.mark.parametrize(
    ("expect", "text", "fits"),
    [
        ({"contains": "paris"}, "It is Paris.", True),
        ({"contains": "paris"}, "It is London.", False),
        ({"matches": r"\b51\b"}, "That is 51.", True),
        ({"matches": r"\b51\b"}, "That is 510.", False),
        ({"equals": "a"}, "a", True),
        ({"equals": "a"}, "A", False),
        ({"equals": ""}, "", True),
    ],
)
def test_expectations(expect: dict[str, str], text: str, fits: bool) -> None:
    assert (mismatch(text, Expect.model_validate(expect)) == "") is fits


def test_a_model_for_embeddings_is_held_to_its_contract_alone() -> None:
    said = {name: SAID[name] for name in list(SAID)[:7]} | {
        "wrong method": (404, {"error": {**ENVELOPE, "code": 404}}),
        "embeddings": (200, {"data": [{"embedding": [0.1, -2]}]}),
    }
    seen = tuple(reply(name, *answer) for name, answer in said.items())
    evidence = Evidence(GREEN, MODEL, against=BLUE, embeds=True, replies=seen, ready=(1, 1))
    found = decided(evidence)
    assert found.passed
    assert of(found, "latency").text == "Skipped: the model makes embeddings, no text"
    bad = dataclasses.replace(evidence, replies=(*seen[:-1], reply("embeddings", 200, {"data": []})))
    assert failed(decided(bad)) == ["contract"]


def test_a_stop_is_no_pass_whatever_was_measured() -> None:
    assert failed(decided(measured(stopped="soak"))) == ["complete"]


def test_the_contract_knows_every_route() -> None:
    from serve_app.guard import ROUTES

    asked = {call.path for embeds in (False, True) for call in contract.calls(MODEL, embeds=embeds, keyed=True)}
    assert ROUTES.keys() - asked == set()


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"id": "a/m"}, {"id": "a/m"}, Kind.SAME_MODEL),
        ({"id": "a/m", "name": "x"}, {"id": "a/m", "max_model_len": 512}, Kind.SAME_MODEL),
        ({"id": "a/m", "revision": "1"}, {"id": "a/m", "revision": "2"}, Kind.NEW_MODEL),
        ({"id": "a/m"}, {"id": "a/m", "quantization": "fp8"}, Kind.QUANTIZED),
        ({"id": "a/m", "dtype": "bfloat16"}, {"id": "a/m", "dtype": "float16"}, Kind.QUANTIZED),
        ({"id": "a/Llama-3-8B"}, {"id": "b/Llama-3-8B-FP8-dynamic"}, Kind.QUANTIZED),
        ({"id": "a/Llama-3-8B-GPTQ-Int4"}, {"id": "b/llama-3-8b-quantized.w8a8"}, Kind.QUANTIZED),
        ({"id": "a/m"}, {"id": "gs://bucket/m-awq/"}, Kind.QUANTIZED),
        ({"id": "a/m"}, {"id": "a/n"}, Kind.NEW_MODEL),
        ({"id": "a/m"}, {}, Kind.NEW_MODEL),
        ({}, {}, Kind.NEW_MODEL),
    ],
)
def test_kinds_of_release(old: dict[str, str], new: dict[str, str], kind: Kind) -> None:
    assert release_kind({"model": old}, {"model": new}) is kind


def test_kinds_of_release_from_the_files_that_pods_read() -> None:
    def config(change: dict[str, Any]) -> dict[str, Any]:
        return parse(release_of(service(change)).config)

    one = config({})
    assert release_kind(one, config({"engine": {"max_num_seqs": 8}})) is Kind.SAME_MODEL
    assert release_kind(one, config({"model": {"quantization": "fp8"}})) is Kind.QUANTIZED
    assert release_kind(one, config({"engine": {"options": {"kv_cache_dtype": "fp8"}}})) is Kind.QUANTIZED
    assert release_kind(one, config({"model": {"id": "owner/other"}})) is Kind.NEW_MODEL
    assert release_kind({}, one) is Kind.NEW_MODEL
    assert release_kind(parse("- spoiled"), one) is Kind.NEW_MODEL


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FINDINGS = st.builds(
    Finding, st.text(), st.sampled_from(Outcome), st.text(), st.dictionaries(st.text(), NUMBERS | st.text())
)
VERDICTS = st.builds(
    Verdict,
    st.booleans(),
    st.text(),
    st.text(),
    st.sampled_from(Kind),
    st.text(),
    st.lists(FINDINGS, max_size=4).map(tuple),
    NUMBERS,
)


@given(VERDICTS)
def test_a_verdict_survives_being_stored(given_: Verdict) -> None:
    back = verdict.from_json(json.loads(json.dumps(given_.to_json())))
    assert dataclasses.replace(back, passed=given_.passed) == given_
    assert back.passed == (given_.passed and not given_.failed)


def test_figures_that_are_no_numbers_survive_as_unknown() -> None:
    odd = Verdict(
        True, GREEN, "", Kind.NEW_MODEL, AT, (Finding("a", Outcome.PASS, "", {"x": math.nan, "y": math.inf}),), 0
    )
    text = json.dumps(odd.to_json(), allow_nan=False)
    (found,) = verdict.from_json(json.loads(text)).findings
    assert [math.isnan(float(value)) for value in found.figures.values()] == [True, True]


GOOD = decided(measured()).to_json()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {**GOOD, "kind": "x"},
        {**GOOD, "findings": [{}]},
        {**GOOD, "findings": 3},
        {**GOOD, "seconds": "x"},
    ],
)
def test_what_is_no_verdict_is_not_read_as_one(data: Any) -> None:
    with pytest.raises(ValueError, match="not a verdict"):
        verdict.from_json(data)


@pytest.mark.parametrize("passed", ["true", 1, "false", None])
def test_only_a_plain_true_is_a_pass(passed: Any) -> None:
    assert verdict.from_json({**GOOD, "passed": passed}).passed is False


def test_for_people() -> None:
    found = decided(measured(soak=()), golden={"enabled": False})
    said = verdict.lines(found)
    assert said[0] == "ok    contract    All 17 requests were answered as agreed"
    assert said[2] == "--    golden      Skipped: switched off"
    assert said[6].startswith("FAIL  soak        No request was sent")
    assert said[-1].endswith("did not pass: 1 check failed. It took 7 s.")
    assert len(said) == 10
    first = Verdict(True, GREEN, "", Kind.NEW_MODEL, AT, (), 0)
    assert (verdict.lines(first), first.reason) == (
        [f"Release {GREEN} passed. It took 0 s."],
        "No check was asked for.",
    )


def test_the_section_may_be_left_out() -> None:
    assert service().rollout == Rollout()
    assert service({"rollout": None}).rollout == Rollout()


def test_the_section_is_no_part_of_a_release() -> None:
    change = {"rollout": {"start_s": 5, "watch": {"seconds": 0}}}
    assert service(change).rollout.watch.seconds == 0
    assert release_of(service(change)) == release_of(service())
    assert service(SWITCHYARD__ROLLOUT__CHECKS__SOAK__SECONDS="3").rollout.checks.soak.seconds == 3


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"check": {}}, "unknown key 'rollout.check'; did you mean 'rollout.checks'?"),
        ({"checks": {"golden": {"prompts": [{"prompt": "a", "expect": {}}]}}}, "exactly one of contains"),
        ({"checks": {"golden": {"prompts": [{"prompt": "a", "expect": {"matches": "("}}]}}}, "no regular expression"),
        ({"checks": {"golden": {"prompts": [{"expect": {"equals": "a"}}]}}}, "exactly one of prompt and messages"),
        ({"checks": {"latency": {"max_ttft_ratio": 0.5}}}, "greater than or equal to 1"),
        ({"watch": {"seconds": -1}}, "greater than or equal to 0"),
    ],
)
def test_mistakes_in_the_section_are_told(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:") as caught:
        service({"rollout": section})
    assert says in str(caught.value)


@pytest.mark.parametrize("file", ON_KUBERNETES, ids=lambda file: file.name)
def test_the_section_survives_being_stored_beside_a_release(file: Any) -> None:
    rollout = deployed(file.name).rollout
    assert Rollout.model_validate_json(rollout.model_dump_json()) == rollout
