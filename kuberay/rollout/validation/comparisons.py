"""The checks that compare a new release with the one that serves. Pure.

Latency and throughput fail only where a difference beyond the bound is shown: the whole 95 % confidence interval of
the ratio is beyond it. Noise, and few requests, widen the interval and so let pass; they never fail a release.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from bench import statistics
from bench.records import Record
from bench.statistics import Interval
from kuberay.rollout.validation.evidence import Evidence, Sides
from kuberay.rollout.validation.verdict import Finding, Kind, Outcome
from kuberay.rollout_config import Answers, Drift, Latency, Throughput

_SHOWN = 3
_FEWEST = 8
"""Requests of each side below which nothing is said about latencies."""


def skipped(check: str, why: str) -> Finding:
    """A finding that there is none."""
    return Finding(check, Outcome.SKIPPED, f"Skipped: {why}")


_UNMEASURED = "Skipped: not measured"


def unmeasured(check: str) -> Finding:
    """A finding that there should be one, but nobody measured; see :func:`is_unmeasured`."""
    return Finding(check, Outcome.SKIPPED, _UNMEASURED)


def is_unmeasured(finding: Finding) -> bool:
    """Whether a check that was asked for has not been made."""
    return finding.outcome is Outcome.SKIPPED and finding.text == _UNMEASURED


def percent(share: float) -> str:
    """A share in words: ``2.5 %``."""
    return f"{100 * share:.3g} %"


def summed(faults: Sequence[str]) -> str:
    """The most frequent faults, and how many others there are."""
    counted = Counter(faults).most_common()
    said = [fault if times == 1 else f"{fault} ({times} times)" for fault, times in counted[:_SHOWN]]
    rest = sum(times for _, times in counted[_SHOWN:])
    return "; ".join(said) + (f"; and {rest} more" if rest else "")


def failures(records: Sequence[Record], release: str) -> list[str]:
    """What went wrong with each request that did; an answer of another release is wrong as well."""
    found = [record.error or "no finish reason" for record in records if not record.ok]
    others = [record.served_by for record in records if record.ok and record.served_by not in ("", release)]
    return found + [f"release {other} answered instead of {release}" for other in others]


def answers(evidence: Evidence, settings: Answers, kind: Kind) -> Finding:
    """Exact matches, length and log-probabilities against the release that serves."""
    sides = evidence.answers
    if (early := _early("answers", evidence, sides)) is not None or sides is None:
        return early or unmeasured("answers")
    limits: Drift = getattr(settings, kind.value)
    drift = statistics.answers(sides.blue, sides.green)
    if not drift.pairs:
        return skipped("answers", f"the release that serves answered none: {_why(sides.blue)}")
    length = max(drift.length_ratio, 1 / drift.length_ratio) - 1 if drift.length_ratio > 0 else float("inf")
    figures: dict[str, float | str] = {
        "pairs": float(drift.pairs),
        "exact_share": drift.exact,
        "length_drift": length,
        "common_prefix": drift.common_prefix,
    }
    wrong: list[str] = []
    if limits.min_exact_share is not None and drift.exact < limits.min_exact_share:
        wrong.append(f"{percent(drift.exact)} of the answers are the same, wanted: {percent(limits.min_exact_share)}")
    if limits.max_length_drift is not None and length > limits.max_length_drift:
        wrong.append(f"their length differs by {percent(length)}, allowed: {percent(limits.max_length_drift)}")
    logprob = drift.logprob_difference
    told = any(record.ok and record.logprobs for record in sides.blue)
    if limits.max_logprob_drift is not None and told and (logprob is None or not math.isfinite(logprob)):
        wrong.append("it gives no log-probabilities that can be compared with those of the release that serves")
    elif logprob is not None:
        figures["logprob_drift_nats"] = logprob
        if limits.max_logprob_drift is not None and logprob > limits.max_logprob_drift:
            wrong.append(
                f"log-probabilities differ by {logprob:.3g} nats on average, allowed: {limits.max_logprob_drift:g}"
            )
    figures["kind"] = kind.value
    if wrong:
        text = f"Answers differ too much for {kind.replace('_', ' ')} ({drift.pairs} prompts): {'; '.join(wrong)}"
        return Finding("answers", Outcome.FAIL, text, figures)
    text = f"{percent(drift.exact)} of {drift.pairs} answers are the same, length differs by {percent(length)}"
    return Finding("answers", Outcome.PASS, text, figures)


def latency(evidence: Evidence, settings: Latency) -> Finding:
    """Times to the first token and to the end: medians and 90th percentiles, as ratios with intervals."""
    sides = evidence.latency
    if (early := _early("latency", evidence, sides)) is not None or sides is None:
        return early or unmeasured("latency")
    counts = [sum(record.ok for record in side) for side in (sides.green, sides.blue)]
    if min(counts) < _FEWEST:
        why = f"; {_why(sides.blue)}" if counts[1] < _FEWEST else ""
        return skipped("latency", f"{min(counts)} requests are too few to compare, {_FEWEST} are needed{why}")
    figures: dict[str, float | str] = {"requests": float(counts[0]), "requests_beside": float(counts[1])}
    wrong: list[str] = []
    said: list[str] = []
    names = {"ttft": "time to first token", "e2e": "time to the end"}
    for name, limit in (("ttft", settings.max_ttft_ratio), ("e2e", settings.max_e2e_ratio)):
        old, new = statistics.metric(sides.blue, name), statistics.metric(sides.green, name)
        for q, statistic in ((50, statistics.MEDIAN), (90, statistics.Percentile(90))):
            ratio = statistics.bootstrap_ratio(old, new, statistic)
            figures |= {
                f"{name}_p{q}_s": statistic(new),
                f"{name}_p{q}_beside_s": statistic(old),
                f"{name}_p{q}_ratio": ratio.mid,
                f"{name}_p{q}_ratio_low": ratio.low,
                f"{name}_p{q}_ratio_high": ratio.high,
            }
            text = f"{names[name]} p{q} {_times(ratio)}"
            if ratio.low > limit:
                wrong.append(f"{text}, allowed: {limit:g} times")
            elif q == 50:
                said.append(text)
    if wrong:
        return Finding("latency", Outcome.FAIL, f"Slower than the release that serves: {'; '.join(wrong)}", figures)
    return Finding("latency", Outcome.PASS, f"Against the release that serves: {'; '.join(said)}", figures)


def throughput(evidence: Evidence, settings: Throughput) -> Finding:
    """Output tokens a second, round by round."""
    sides = evidence.throughput
    if (early := _early("throughput", evidence, sides)) is not None or sides is None:
        return early or unmeasured("throughput")
    rounds = sorted({record.round for record in sides.green} & {record.round for record in sides.blue})
    old = [_rate([record for record in sides.blue if record.round == number]) for number in rounds]
    new = [_rate([record for record in sides.green if record.round == number]) for number in rounds]
    pairs = [(one, other) for one, other in zip(old, new, strict=True) if one > 0 and other > 0]
    if len(pairs) < 2:
        return skipped("throughput", f"fewer than two rounds came to an end on both sides; {_why(sides.blue)}")
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    ratio = statistics.bootstrap_rounds([[one] for one in before], [[other] for other in after], statistics.MEDIAN)
    figures: dict[str, float | str] = {
        "output_tokens_per_s": statistics.percentile(after, 50),
        "output_tokens_per_s_beside": statistics.percentile(before, 50),
        "ratio": ratio.mid,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }
    text = f"{figures['output_tokens_per_s']:.0f} tokens a second, {_times(ratio)}"
    if ratio.high < settings.min_ratio:
        return Finding("throughput", Outcome.FAIL, f"{text}; wanted: {settings.min_ratio:g} times", figures)
    return Finding("throughput", Outcome.PASS, text, figures)


def _early(check: str, evidence: Evidence, sides: Sides | None) -> Finding | None:
    """What can be said before anything is compared."""
    if not evidence.against:
        return skipped(check, "no other release serves to compare with")
    if sides is None:
        return unmeasured(check)
    if wrong := failures(sides.green, evidence.release):
        text = f"{len(wrong)} of {len(sides.green)} requests to the new release failed: {summed(wrong)}"
        figures: dict[str, float | str] = {"requests": float(len(sides.green)), "failed": float(len(wrong))}
        return Finding(check, Outcome.FAIL, text, figures)
    return None


def _why(blue: Sequence[Record]) -> str:
    """Why the release that serves has too few good answers."""
    wrong = failures(blue, "")
    return summed([fault for fault in wrong if "answered instead" not in fault]) or "it was not asked often enough"


def _rate(records: Sequence[Record]) -> float:
    """Output tokens a second of one round; 0 where a request of it failed, which makes rounds differ in length."""
    if not records or not all(record.ok for record in records):
        return 0.0
    span = max(record.ended for record in records) - min(record.sent for record in records)
    return sum(record.completion_tokens for record in records) / span if span > 0 else 0.0


def _times(ratio: Interval) -> str:
    return f"{ratio.mid:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
