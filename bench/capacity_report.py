"""A capacity plan for people and as JSON, and where it leaves what was measured behind. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.calibration import Step
from bench.capacity import Bound, Plan, Replica
from bench.queueing import Lengths, Limits
from bench.step_times import StepTimes, as_table
from bench.tables import as_json, milliseconds

STEP_HEADER = (
    "",
    "sent/s",
    "requests",
    "TTFT p50 ms",
    "simulated",
    "TTFT p90 ms",
    "simulated",
    "TPOT p90 ms",
    "simulated",
)


def plan_json(
    found: Plan, replica: Replica, steps: Sequence[Step], slo: Sequence[Bound], notes: Sequence[str]
) -> dict[str, Any]:
    """Everything, for ``--output json``. Without end is null."""
    return {
        "slo": [str(one) for one in slo],
        "plan": as_json(found),
        "measured": as_json(as_table(replica.times)),
        "limits": as_json(replica.limits),
        "seed": replica.seed,
        "ladder": as_json(list(steps)),
        "notes": list(notes),
    }


def plan_rows(found: Plan, slo: Sequence[Bound]) -> list[tuple[str, str]]:
    """The plan as lines."""
    rows = [
        ("requests a second", f"{found.rate:.4g}"),
        ("SLO", ", ".join(str(one) for one in slo)),
        ("a replica bears, requests a second", f"{found.capacity_per_s:.4g}"),
        ("replicas that keep the SLO", str(found.needed)),
        ("replicas, with those in reserve", str(found.replicas)),
        ("GPUs", str(found.gpus)),
        ("load", f"{found.load:.0%}"),
        ("headroom", "-" if math.isinf(found.headroom) else f"{found.headroom:.0%}"),
        ("scaling out may take", _time(found.tolerated_s)),
        ("the same without a reserve", _time(found.without_spare)),
        ("TTFT p90 / p99, ms", f"{milliseconds(found.ttft_p90)} / {milliseconds(found.ttft_p99)}"),
        ("TPOT p90, ms", milliseconds(found.tpot_p90)),
        ("output tokens a second, all replicas", f"{found.tokens_per_s:.0f}"),
    ]
    return [(name, value) for name, value in rows if value]


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return ""  # of a trace, nothing is known about growth
    if math.isinf(seconds):
        return "as long as it likes: the growth is borne"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def fit_rows(times: StepTimes) -> list[tuple[str, str]]:
    """What was measured of the engine, as lines."""
    found = as_table(times)
    return [
        ("a step", f"{found['step_base_ms']:.3g} ms"),
        ("and for each request in it", f"{found['step_per_request_ms']:.3g} ms"),
        ("and for each prompt token", f"{found['step_per_prompt_token_ms']:.3g} ms"),
        ("first token, outside the engine, p50 / p90", f"{found['entry_p50_ms']:.3g} / {found['entry_p90_ms']:.3g} ms"),
        ("and for each request that is there", f"{found['entry_per_request_ms']:.3g} ms"),
        ("fitted to", f"{times.requests} requests, {times.most_running} at a time at most"),
        ("the fitted time per token is off by", f"{times.error:.0%} on average"),
    ]


def step_rows(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """Measured beside simulated."""
    return [
        (
            step.name,
            f"{step.rate:.3g}",
            str(step.requests),
            *(milliseconds(value) for pair in (step.ttft_p50, step.ttft_p90, step.tpot_p90) for value in pair),
        )
        for step in steps
    ]


def cautions(times: StepTimes, lengths: Lengths, limits: Limits, plan: Plan, slo: Sequence[Bound]) -> list[str]:
    """Where the plan leaves what was measured behind."""
    told: list[str] = []
    if times.error > 0.15:
        told.append(
            f"The fitted time per token is {times.error:.0%} off the measured one on average: the machine was busy "
            "with other work, or something else than the engine was slow. Measure again on a quiet machine."
        )
    running = plan.load * plan.capacity_per_s * lengths.answer * plan.tpot_p90
    if running > 1.2 * times.most_running:
        told.append(
            f"About {running:.0f} requests would run at a time in a replica, at most {times.most_running} were "
            "measured. Measure a load that is as high."
        )
    for name, wanted, (low, high) in (
        ("Prompts", lengths.prompt, times.prompts),
        ("Answers", lengths.answer, times.answers),
    ):
        if not 0.5 * low <= wanted <= 2 * high:
            told.append(
                f"{name} of {wanted:.0f} tokens are planned, {low} to {high} were measured: this is extrapolated."
            )
    if times.prompts[1] < 2 * times.prompts[0]:
        told.append(
            "All prompts measured were about as long, so what prompts cost cannot be told well from what answers cost. "
            "Add a run with another shape, such as 512/16."
        )
    if limits.running > times.most_running and plan.load > 0.5:
        told.append(
            f"The engine is taken to run {limits.running} requests at a time, {times.most_running} were measured at "
            "most; --max-running is its max_num_seqs."
        )
    if not any(one.metric == "tpot" for one in slo):
        told.append("There is no bound on TPOT: answers may be slow to read. Add --slo tpot:p90:100.")
    return told
