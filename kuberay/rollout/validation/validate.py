"""Decides from the evidence whether a new release may serve. Pure.

Laws: a check that is off, or has nothing to compare with, is skipped with the reason; a check that failed, or a
validation that did not come to its end, means no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import statistics
from bench.records import Record
from kuberay.rollout.validation import comparisons, contract
from kuberay.rollout.validation.comparisons import failures, is_unmeasured, percent, skipped, summed, unmeasured
from kuberay.rollout.validation.evidence import Evidence, Reply
from kuberay.rollout.validation.verdict import Finding, Kind, Outcome, Verdict
from kuberay.rollout_config import Expect, Rollout

_QUANTIZED = re.compile(
    r"[-_.](fp8(-dynamic)?|fp4|nvfp4|mxfp4|w\d+a\d+|int[48]|[48]bit|awq(-int4)?|gptq(-int[48])?|bnb(-[48]bit)?|gguf|q\d(_\w+)?|"
    r"quantized([-.]w\d+a\d+)?)$",
    re.IGNORECASE,
)
"""What the names of quantized weights end with, as their makers write it (RedHatAI, unsloth, llama.cpp and others)."""


def release_kind(blue: Mapping[str, Any], green: Mapping[str, Any]) -> Kind:
    """What a release is to another one, from their configurations (:func:`kuberay.release.parse`).

    Same weights in the same precision: the same model. The same weights in another precision, or weights whose name
    differs only in how they are quantized: quantized. Anything else, an unknown one too, is a new model.
    """
    old, new = _section(blue, "model"), _section(green, "model")
    if not old.get("id") or not new.get("id"):
        return Kind.NEW_MODEL
    if old["id"] == new["id"]:
        if old.get("revision") != new.get("revision"):
            return Kind.NEW_MODEL
        return Kind.SAME_MODEL if _precision(blue) == _precision(green) else Kind.QUANTIZED
    return Kind.QUANTIZED if _unquantized(str(old["id"])) == _unquantized(str(new["id"])) else Kind.NEW_MODEL


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: object = config.get(name)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _precision(config: Mapping[str, Any]) -> list[Any]:
    model, options = _section(config, "model"), _section(_section(config, "engine"), "options")
    return [model.get("quantization"), model.get("dtype", "auto"), options.get("kv_cache_dtype", "auto")]


def _unquantized(model: str) -> str:
    """The last part of a model's id without what says how it is quantized: ``-w8a8``, ``-GPTQ-Int4``."""
    name = model.rstrip("/").rsplit("/", 1)[-1]
    while (shorter := _QUANTIZED.sub("", name)) != name:
        name = shorter
    return name.lower()


def judge(evidence: Evidence, settings: Rollout, *, kind: Kind, at: str) -> Verdict:
    """The verdict.

    Args:
        kind: from :func:`release_kind`; chooses the bounds of the answers' drift.
        at: RFC 3339 time in UTC, for the verdict.
    """
    checks = settings.checks
    judges: dict[str, tuple[bool, Callable[[], Finding]]] = {
        "contract": (checks.contract.enabled, lambda: _contract(evidence)),
        "streaming": (checks.streaming.enabled, lambda: _streaming(evidence)),
        "golden": (checks.golden.enabled, lambda: _golden(evidence, settings)),
        "answers": (checks.answers.enabled, lambda: comparisons.answers(evidence, checks.answers, kind)),
        "latency": (checks.latency.enabled, lambda: comparisons.latency(evidence, checks.latency)),
        "throughput": (checks.throughput.enabled, lambda: comparisons.throughput(evidence, checks.throughput)),
        "soak": (checks.soak.enabled, lambda: _load("soak", evidence, checks.soak.max_error_rate)),
        "replay": (checks.replay.path is not None, lambda: _replay(evidence, settings)),
        "capacity": (checks.capacity.enabled, lambda: _capacity(evidence)),
    }
    findings = [
        _not_for_embeddings(name, evidence) or find()
        if asked
        else skipped(name, "no trace is named" if name == "replay" else "switched off")
        for name, (asked, find) in judges.items()
    ]
    left = [finding.check for finding in findings if is_unmeasured(finding)]
    if evidence.stopped or left:
        text = f"It was stopped in '{evidence.stopped}'" if evidence.stopped else "It did not come to its end"
        text += f"; not measured: {', '.join(left)}" if left else ""
        findings.append(Finding("complete", Outcome.FAIL, f"{text}. Run it again for a verdict on all of it"))
    return Verdict(
        passed=not any(finding.outcome is Outcome.FAIL for finding in findings),
        release=evidence.release,
        against=evidence.against,
        kind=kind,
        at=at,
        findings=tuple(findings),
        seconds=evidence.seconds,
    )


def _not_for_embeddings(name: str, evidence: Evidence) -> Finding | None:
    if evidence.embeds and name not in ("contract", "capacity"):
        return skipped(name, "the model makes embeddings, no text")
    return None


def _contract(evidence: Evidence) -> Finding:
    if evidence.replies is None:
        return unmeasured("contract")
    wrong, count = _wrong_replies(evidence, evidence.replies, "contract")
    figures: dict[str, float | str] = {"requests": float(count), "wrong": float(len(wrong))}
    if wrong:
        text = f"{len(wrong)} of {count} requests were not answered as agreed: {summed(wrong)}"
        return Finding("contract", Outcome.FAIL, text, figures)
    return Finding("contract", Outcome.PASS, f"All {count} requests were answered as agreed", figures)


def _wrong_replies(evidence: Evidence, replies: Sequence[Reply], check: str) -> tuple[list[str], int]:
    """What is wrong with the replies to a check's fixed requests, and how many of these there are."""
    wanted = contract.Wanted(evidence.release, evidence.model)
    by_name = {reply.call: reply for reply in replies}
    # After one that nobody answered, or a stop, no more were sent.
    cut_short = bool(evidence.stopped) or any(not reply.status for reply in replies)
    calls = [
        call
        for call in contract.calls(evidence.model, embeds=evidence.embeds, keyed=evidence.keyed)
        if call.check == check and not (cut_short and call.name not in by_name)
    ]
    wrong: list[str] = []
    for call in calls:
        reply = by_name.get(call.name)
        fault = call.fault(reply, wanted) if reply else "was not sent"
        if fault:
            wrong.append(f"{call.name} ({call.method} {call.path}): {fault}")
    return wrong, len(calls)


def _streaming(evidence: Evidence) -> Finding:
    streams, whole = evidence.streamed, evidence.whole
    if streams is None or whole is None or evidence.replies is None:
        return unmeasured("streaming")
    wrong, _ = _wrong_replies(evidence, evidence.replies, "streaming")
    wrong += failures(streams, evidence.release) + failures(whole, evidence.release)
    good = [record for record in streams if record.ok]
    long = [record for record in good if record.completion_tokens >= _PIECES]
    if long and not any(gap > _AT_ONCE_S for record in long for gap in record.gaps):
        wrong.append("answers arrive in one piece instead of token by token: something between buffers them")
    others = {record.index: record.text for record in whole if record.ok}
    pairs = [(record.text, others[record.index]) for record in good if record.index in others]
    same = sum(one == other for one, other in pairs)
    # Greedy answers may differ in a near-tie, with the requests beside them; a stream that loses text differs always.
    if pairs and not same:
        wrong.append(f"none of {len(pairs)} streams says what the whole answer to the same prompt says")
    gaps = [gap for record in good for gap in record.gaps]
    figures: dict[str, float | str] = {
        "streams": float(len(streams)),
        "failed": float(len(streams) - len(good)),
        "same_as_whole": float(same),
        "gap_p99_s": statistics.percentile(gaps, 99),
    }
    if wrong:
        return Finding("streaming", Outcome.FAIL, summed(wrong), figures)
    if not good:
        return skipped("streaming", "no stream was asked for")
    return Finding("streaming", Outcome.PASS, f"All {len(streams)} streams came whole, token by token", figures)


_PIECES = 16
"""Tokens from which on a stream must have come in more than one piece. vLLM itself joins what its front end is late to
collect, so that few tokens of a fast model can be one event."""
_AT_ONCE_S = 1e-4


def _golden(evidence: Evidence, settings: Rollout) -> Finding:
    prompts = settings.checks.golden.prompts
    if not prompts:
        return skipped("golden", "no prompts with known answers are given (rollout.checks.golden.prompts)")
    if evidence.golden is None:
        return unmeasured("golden")
    wrong: list[str] = []
    for number, (record, golden) in enumerate(zip(evidence.golden, prompts, strict=False), 1):
        fault = (failures([record], evidence.release) or [mismatch(record.text, golden.expect)])[0]
        if fault:
            wrong.append(f"prompt {number}: {fault}")
    figures: dict[str, float | str] = {"prompts": float(len(evidence.golden)), "wrong": float(len(wrong))}
    if wrong:
        text = f"{len(wrong)} of {len(evidence.golden)} answers are wrong: {summed(wrong)}"
        return Finding("golden", Outcome.FAIL, text, figures)
    return Finding("golden", Outcome.PASS, f"All {len(evidence.golden)} answers are as expected", figures)


def mismatch(text: str, expect: Expect) -> str:
    """How an answer differs from what is expected of it; '' if it does not."""
    said = f"the answer was {text[:80]!r}{'...' if len(text) > 80 else ''}"
    if expect.contains is not None and expect.contains.lower() not in text.lower():
        return f"expected {expect.contains!r} in it, {said}"
    if expect.matches is not None and not re.search(expect.matches, text):
        return f"expected it to match {expect.matches!r}, {said}"
    if expect.equals is not None and text != expect.equals:
        return f"expected {expect.equals!r}, {said}"
    return ""


def _load(check: str, evidence: Evidence, max_error_rate: float) -> Finding:
    records: Sequence[Record] | None = evidence.soak if check == "soak" else evidence.replay
    if records is None:
        return unmeasured(check)
    if not records:
        return Finding(check, Outcome.FAIL, "No request was sent: the time was over, or the trace is empty")
    wrong = failures(records, evidence.release)
    share = len(wrong) / len(records)
    seen = statistics.summary(records)
    figures: dict[str, float | str] = {
        "requests": float(len(records)),
        "failed": float(len(wrong)),
        "ttft_p50_s": seen.ttft.p50,
        "ttft_p99_s": seen.ttft.p99,
        "output_tokens_per_s": seen.output_tokens_per_s,
    }
    text = f"{len(wrong)} of {len(records)} requests failed ({percent(share)})"
    if share > max_error_rate:
        return Finding(check, Outcome.FAIL, f"{text}, allowed: {percent(max_error_rate)}; {summed(wrong)}", figures)
    return Finding(check, Outcome.PASS, text, figures)


def _replay(evidence: Evidence, settings: Rollout) -> Finding:
    if evidence.replay_fault:
        return Finding("replay", Outcome.FAIL, evidence.replay_fault)
    return _load("replay", evidence, settings.checks.replay.max_error_rate)


def _capacity(evidence: Evidence) -> Finding:
    green, blue = evidence.ready
    if not evidence.against:
        return skipped("capacity", "no other release serves")
    if green is None or blue is None:
        return skipped("capacity", "nobody counted the ready endpoints")
    figures: dict[str, float | str] = {"ready": float(green), "ready_beside": float(blue)}
    text = f"{green} ready {'endpoint' if green == 1 else 'endpoints'}, {blue} in the release that serves"
    if green < blue:
        text += ": the load of those would fall on these. Wait for more, or raise scaling.min_replicas"
    return Finding("capacity", Outcome.FAIL if green < blue else Outcome.PASS, text, figures)
