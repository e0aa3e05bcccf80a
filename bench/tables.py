"""Results as text and as JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from bench.comparison import Comparison, Line
from bench.records import Record
from bench.runner import Client
from bench.statistics import Quantiles, Slo, Summary, percentile, summary

BUSY = 0.7
LATE_S = 0.02
TOGETHER_S = 1e-4


def by_stage(records: Sequence[Record], names: Sequence[str], slo: Slo | None = None) -> dict[str, Summary]:
    """A summary for each target and stage, in order; keys such as ``4/s`` or, with several targets, ``a, 4/s``."""
    targets = list(dict.fromkeys(record.target for record in records))
    found: dict[str, Summary] = {}
    for target in targets:
        for number in sorted({record.round for record in records if record.target == target}):
            part = [record for record in records if record.target == target and record.round == number]
            name = names[number] if number < len(names) else f"part {number + 1}"
            found[name if len(targets) == 1 else f"{target}, {name}"] = summary(part, slo)
    return found


def as_json(value: object) -> Any:
    """Dataclasses as objects; nan and infinity, which JSON has not, as null."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in cast("Sequence[object]", value)]
    if hasattr(value, "__dataclass_fields__"):
        return as_json(asdict(cast("Any", value)))
    return value


def client_json(client: Client) -> dict[str, Any]:
    """How the client fared, for ``summary.json``."""
    return {
        "cpu_share": round(client.cpu_share, 3),
        "cpu_s": round(client.cpu_s, 3),
        "event_loop_late_p50_s": as_json(percentile(client.late, 50)),
        "event_loop_late_p99_s": as_json(percentile(client.late, 99)),
    }


def remarks(found: Summary, client: Client, asked_tokens: float) -> list[str]:
    """What a reader should know before believing the numbers."""
    told: list[str] = []
    if client.cpu_share > BUSY:
        told.append(
            f"The client used {client.cpu_share:.0%} of a core: it was busy enough to measure itself. Run it "
            "elsewhere, or with less load ('switchyard bench ceiling' says what it can do)."
        )
    if (late := percentile(client.late, 99)) > LATE_S:
        told.append(
            f"The client's event loop was late by {late * 1000:.0f} ms at the 99th percentile: the machine is short "
            "of CPU, and times as small as that are its, not the service's."
        )
    if found.itl.count and found.itl.p50 < TOGETHER_S:
        told.append(
            "Most tokens came together with the one before: service, network or this client were held up. "
            "ITL and TPOT say little here; TTFT and E2E hold."
        )
    if asked_tokens and found.completion_tokens < 0.95 * asked_tokens:
        told.append(
            f"Answers had {found.completion_tokens:.1f} tokens on average where {asked_tokens:.1f} were asked for: the "
            "model ended them. Only --api completions and chat can be told to go on."
        )
    if len(found.served_by) > 1:
        parts = ", ".join(f"{name} {count}" for name, count in found.served_by.items())
        told.append(f"More than one release answered: {parts}.")
    return told


def milliseconds(seconds: float) -> str:
    """A time for a table, in ms."""
    if math.isnan(seconds):
        return "-"
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


HEADER = ("", "requests", "failed", "req/s", "tok/s", "goodput/s", "TTFT ms", "ITL ms", "TPOT ms", "E2E ms")


def row(name: str, found: Summary) -> tuple[str, ...]:
    """A line of the table of a run: percentiles are p50 / p90 / p99."""
    return (
        name,
        str(found.requests),
        str(found.failed),
        f"{found.requests_per_s:.2f}",
        f"{found.output_tokens_per_s:.0f}",
        f"{found.goodput_per_s:.2f}",
        *(_percentiles(quantiles) for quantiles in (found.ttft, found.itl, found.tpot, found.e2e)),
    )


def _percentiles(found: Quantiles) -> str:
    return " / ".join(milliseconds(value) for value in (found.p50, found.p90, found.p99))


COMPARED = ("", "A", "B", "B / A", "interval", "B is")


def compared(line: Line) -> tuple[str, ...]:
    """A line of the table of a comparison."""
    return (line.metric, _value(line, line.a), _value(line, line.b), *_ratio(line), line.verdict)


def _value(line: Line, value: float) -> str:
    if math.isnan(value):
        return "-"
    if line.unit == "share":
        return f"{value:.2%}"
    return f"{milliseconds(value)} ms" if line.unit == "s" else f"{value:.2f}/s"


def _ratio(line: Line) -> tuple[str, str]:
    if math.isnan(line.ratio.mid):
        return "-", "-"
    unbounded = not math.isfinite(line.ratio.high)
    return f"{line.ratio.mid:.3f}", "-" if unbounded else f"{line.ratio.low:.3f} - {line.ratio.high:.3f}"


def drift(found: Comparison) -> str:
    """How the answers compare, in a sentence."""
    answers = found.drift
    if not answers.pairs:
        return "Answers: no request was answered well by both."
    logprobs = (
        ""
        if answers.logprob_difference is None
        else f", log-probabilities {answers.logprob_difference:.4f} nats apart on common tokens"
    )
    return (
        f"Answers: {answers.exact:.1%} of {answers.pairs} the same, the first {answers.common_prefix:.1%} of their "
        f"text in common, {answers.length_ratio:.3f} times as long{logprobs}."
    )
