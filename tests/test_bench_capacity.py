"""The simulated engine against queueing theory and its own laws, the fit against an engine that is known, the planner
against what must always hold, and all of it against a ladder that was measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import switchyard
from bench.calibration import Step, calibrate, check, rate_within
from bench.capacity import (
    Bound,
    Growth,
    Replica,
    bound,
    capacity,
    keeps,
    plan,
    plan_trace,
    seen,
    tolerated_s,
)
from bench.capacity_report import cautions
from bench.errors import ResultError, WorkloadError
from bench.queueing import Arrival, Lengths, Limits, poisson, ramp, simulate, spread
from bench.records import Record, to_line
from bench.statistics import percentile
from bench.step_times import StepTimes, fit
from tests.test_bench_statistics import record

TIMES = StepTimes(0.010, 0.0005, 0.0001, (0.004, 0.005, 0.012), 0.0002)
LIMITS = Limits(running=16, step_tokens=512)
FIXED = Lengths(((64, 32),))
SLO = [Bound("ttft", 90, 0.3)]
ONE = Replica(TIMES, LIMITS)
DATA = Path(__file__).parent / "data"

step_times = st.builds(
    StepTimes, st.floats(1e-4, 0.1), st.floats(0, 0.01), st.floats(0, 0.001),
    st.lists(st.floats(0, 0.1), min_size=1, max_size=5).map(lambda values: tuple(sorted(values))), st.floats(0, 0.01),
)  # fmt: skip
limits = st.builds(Limits, st.integers(1, 20), st.integers(16, 600), st.sampled_from([0, 300, 2000]))
requests = st.lists(
    st.builds(Arrival, st.floats(0, 5), st.integers(1, 900), st.integers(1, 60)), min_size=1, max_size=40
).map(lambda found: sorted(found, key=lambda arrival: arrival.at))


def test_a_request_alone_takes_its_steps() -> None:
    [one] = simulate(replace(TIMES, entry_s=(0.005,)), [Arrival(3.0, 64, 32)], LIMITS)
    assert one.ttft == pytest.approx(0.005 + 0.010 + 64 * 0.0001)
    assert one.tpot == pytest.approx(0.0105)
    assert one.e2e == pytest.approx(one.ttft + 31 * 0.0105)


def test_a_long_prompt_is_prefilled_in_parts_while_others_go_on() -> None:
    times = StepTimes(0.01, 0.0, 0.0001)
    first, second = simulate(times, [Arrival(0.0, 10, 50), Arrival(0.1, 1000, 1)], Limits(4, 401))
    assert first.tpot == pytest.approx((49 * 0.01 + 1000 * 0.0001) / 49)
    # 400 of them a step beside the other's token: three steps, after the one that was under way.
    assert second.ttft == pytest.approx(3 * 0.01 + 0.1, abs=0.0101)


def test_no_more_run_than_there_are_places_or_room_in_the_cache() -> None:
    times = StepTimes(0.01, 0.0, 0.0)
    burst = [Arrival(0.0, 10, 10)] * 4
    for bounds in (Limits(2, 100), Limits(4, 100, kv_tokens=40)):
        served = simulate(times, burst, bounds)
        assert [one.ttft for one in served] == pytest.approx([0.01, 0.01, 0.11, 0.11])


def test_a_queue_of_one_place_waits_as_pollaczek_and_khinchine_say() -> None:
    """M/D/1: the mean wait is rho * s / (2 (1 - rho))."""
    times, service = StepTimes(0.1, 0.0, 0.0), 0.1
    for rho in (0.3, 0.6, 0.8):
        served = simulate(times, poisson(rho / service, 60_000, Lengths(((1, 1),)), seed=1), Limits(1, 16))
        wait = sum(one.ttft for one in served) / len(served) - service
        assert wait == pytest.approx(rho * service / (2 * (1 - rho)), rel=0.08)


@given(step_times, limits, requests, st.integers(0, 3))
@settings(max_examples=60)
def test_every_request_is_served_and_none_before_it_can_be(
    times: StepTimes, bounds: Limits, coming: list[Arrival], seed: int
) -> None:
    served = simulate(times, coming, bounds, seed)
    assert len(served) == len(coming)
    for arrival, one in zip(coming, served, strict=True):
        assert one.at == arrival.at
        assert one.ttft >= times.step(0, arrival.prompt) * (1 - 1e-9) - 1e-9 or arrival.prompt > bounds.step_tokens
        assert one.e2e >= one.ttft + (arrival.answer - 1) * times.step(1) * (1 - 1e-6) - 1e-9
    # Work is conserved: so many tokens take so many full steps at least.
    last = max(one.at + one.e2e for one in served)
    steps = sum(arrival.answer - 1 for arrival in coming) / bounds.running
    assert last - coming[0].at >= steps * times.base_s * (1 - 1e-6)
    assert simulate(times, coming, bounds, seed) == served


def as_records(coming: list[Arrival], times: StepTimes, bounds: Limits, round: int = 0) -> list[Record]:
    """What a bench run would have seen of a simulated engine."""
    served = simulate(times, coming, bounds)
    return [
        record(
            n, sent=a.at, at=a.at, first=a.at + s.ttft, ended=a.at + s.e2e, gaps=(), prompt_tokens=a.prompt,
            completion_tokens=a.answer, round=round,
        )
        for n, (a, s) in enumerate(zip(coming, served, strict=True))
    ]  # fmt: skip


def known_ladder() -> list[Record]:
    shapes = (Lengths(((64, 32),)), Lengths(((400, 8),)), Lengths(((64, 32),)))
    loads = [poisson(rate, 250, lengths, seed) for seed, (rate, lengths) in enumerate(zip((4, 8, 25), shapes))]  # noqa: B905
    return [r for number, coming in enumerate(loads) for r in as_records(coming, TIMES, LIMITS, number)]


def test_the_fit_finds_an_engine_that_is_known() -> None:
    found = calibrate(known_ladder(), LIMITS)
    assert found.base_s == pytest.approx(TIMES.base_s, rel=0.05)
    assert found.per_request_s == pytest.approx(TIMES.per_request_s, rel=0.15)
    assert found.per_prompt_token_s == pytest.approx(TIMES.per_prompt_token_s, rel=0.1)
    assert found.error < 0.03
    assert 0.003 < percentile(found.entry_s, 50) < 0.009
    assert (found.prompts, found.answers, found.requests) == ((64, 400), (8, 32), 750)


def test_what_was_fitted_predicts_a_load_that_was_not_in_it() -> None:
    times = calibrate(known_ladder(), LIMITS)
    loads = {f"{rate}/s": as_records(poisson(rate, 600, FIXED, 9), TIMES, LIMITS) for rate in (12, 20, 30, 34)}
    steps = check(times, loads, LIMITS)
    assert all(step.tpot_p90[1] == pytest.approx(step.tpot_p90[0], rel=0.1) for step in steps)
    assert all(step.ttft_p90[1] == pytest.approx(step.ttft_p90[0], rel=0.15) for step in steps[:3])
    measured, simulated = rate_within(steps, 0.08)
    assert simulated == pytest.approx(measured, rel=0.1)


def test_what_cannot_be_fitted_is_told() -> None:
    with pytest.raises(ResultError, match="Only 5 requests"):
        fit([record(n) for n in range(5)])
    with pytest.raises(ResultError, match="did not say how many tokens"):
        fit([record(n, prompt_tokens=0) for n in range(50)])
    crowd = as_records([Arrival(0.0, 8, 40)] * 30, TIMES, Limits(1, 64))
    with pytest.raises(ResultError, match="real --max-running"):
        calibrate(crowd, Limits(1, 64))


@given(st.lists(st.floats(0.1, 300), min_size=2, max_size=4))
@settings(max_examples=4, deadline=None)
def test_more_load_never_needs_fewer_replicas(rates: list[float]) -> None:
    plans = [plan(ONE, rate, FIXED, SLO, Growth(factor=1.0)) for rate in sorted(rates)]
    counts = [found.needed for found in plans]
    assert counts == sorted(counts)
    for found in plans:
        assert found.load <= 1 + 1e-9 and found.headroom >= -1e-9
        assert found.ttft_p90 <= SLO[0].limit_s * 1.02
        assert found.replicas == found.needed


def test_a_plan_says_what_the_reserve_is_for() -> None:
    assert plan(ONE, 0.0, FIXED, SLO, Growth()).replicas == 1
    most = capacity(ONE, FIXED, SLO)
    calm = plan(ONE, 3.9 * most, FIXED, SLO, Growth(1.0), gpus_each=2)
    assert (calm.needed, calm.replicas, calm.gpus) == (4, 4, 8)
    safe = plan(ONE, 3.9 * most, FIXED, SLO, Growth(1.0), spare=1)
    assert (safe.needed, safe.replicas) == (4, 5)
    growing = plan(ONE, 3.9 * most, FIXED, SLO, Growth(2.0, 600, 300))
    assert growing.without_spare < 300 <= growing.tolerated_s
    assert 4 < growing.replicas <= 8
    assert plan(ONE, 3.9 * most, FIXED, SLO, Growth(2.0, 600, 300)) == growing


def test_a_stricter_slo_bears_less_and_an_impossible_one_is_told() -> None:
    loose, strict = (capacity(ONE, FIXED, [Bound("ttft", 90, limit)]) for limit in (0.5, 0.05))
    assert 0 < strict < loose
    with pytest.raises(WorkloadError, match=r"No number of replicas keeps TTFT p90 <= 1 ms \(alone: \d+ ms\)"):
        plan(ONE, 5.0, FIXED, [Bound("ttft", 90, 0.001)], Growth())
    with pytest.raises(WorkloadError, match="at most 10000 are planned"):
        plan(ONE, 1e7, FIXED, SLO, Growth())


def test_the_time_to_scale_out_is_what_a_ramp_leaves() -> None:
    """Load that doubles evenly in 400 s from 80 % of what is borne reaches it after 100 s, and then a queue begins."""
    most = capacity(ONE, FIXED, SLO)
    left = tolerated_s(ONE, 0.8 * most, FIXED, SLO, 2.0, 400)
    assert 60 < left < 160
    assert tolerated_s(ONE, 0.6 * most, FIXED, SLO, 2.0, 400) > left
    assert tolerated_s(ONE, 0.4 * most, FIXED, SLO, 2.0, 400) == math.inf
    assert tolerated_s(ONE, 0.8 * most, FIXED, SLO, 2.0, 0) < left


def test_a_ramp_sends_what_its_rate_says() -> None:
    times = [arrival.at for arrival in ramp(10, 3.0, 100, 6000, FIXED)]
    assert times == sorted(times)
    early, late = (sum(low <= at < high for at in times) for low, high in ((0, 50), (100, 150)))
    assert early == pytest.approx(10 * 50 + 10 * 2 * 50 * 50 / 100 / 2, rel=0.1)
    assert late == pytest.approx(30 * 50, rel=0.1)


def test_lengths_vary_as_asked() -> None:
    found = spread(512, 128, 1.0, count=20_000)
    assert found.prompt == pytest.approx(512, rel=0.05)
    assert found.answer == pytest.approx(128, rel=0.05)
    assert spread(512, 128, 0.0).pairs == ((512, 128),)
    assert capacity(ONE, spread(64, 32, 1.0), SLO) < capacity(ONE, FIXED, SLO)


def test_a_burst_in_a_trace_needs_what_its_mean_rate_does_not() -> None:
    most = capacity(ONE, FIXED, SLO)
    even = [Arrival(n / (0.5 * most), 64, 32) for n in range(600)]
    burst = [replace(a, at=a.at if n < 300 else 300 / (0.5 * most) + n / 1000) for n, a in enumerate(even)]
    assert plan_trace(ONE, even, SLO).needed == 1
    found = plan_trace(ONE, burst, SLO, spare=1, gpus_each=4)
    assert found.needed > 1
    assert found.gpus == 4 * (found.needed + 1)
    assert found.headroom >= 0 and found.ttft_p90 <= 0.3
    with pytest.raises(WorkloadError, match="over the trace"):
        plan_trace(ONE, even[:3], [Bound("ttft", 90, 0.001)])


@pytest.mark.parametrize(("text", "found"), [
    ("ttft:p90:500", Bound("ttft", 90, 0.5)), ("TPOT:p99:50", Bound("tpot", 99, 0.05)),
    ("e2e:8000", Bound("e2e", 90, 8)),
])  # fmt: skip
def test_bounds(text: str, found: Bound) -> None:
    assert bound(text) == found


@pytest.mark.parametrize(
    "text", ["", "ttft", "itl:p90:5", "ttft:p0:5", "ttft:p100:5", "ttft:p90:-1", "ttft:p90:x", "a:b:c"]
)
def test_what_is_no_bound(text: str) -> None:
    with pytest.raises(WorkloadError, match="METRIC:PERCENTILE:MS"):
        bound(text)


def test_single_tokens_have_no_time_per_token() -> None:
    served = simulate(TIMES, [Arrival(0, 5, 1)], LIMITS)
    assert math.isnan(seen(served, "tpot", 90))
    assert keeps(served, [Bound("tpot", 90, 0.001)])


def test_cautions_name_what_is_extrapolated() -> None:
    times = calibrate(as_records(poisson(6, 100, FIXED), TIMES, LIMITS), LIMITS)
    found = plan(ONE, 30.0, Lengths(((2000, 200),)), [Bound("ttft", 90, 5.0)], Growth(1.0))
    told = " ".join(cautions(times, Lengths(((2000, 200),)), Limits(256), found, SLO))
    for part in ("Prompts of 2000 tokens", "Answers of 200", "another shape", "no bound on TPOT", "--max-running"):
        assert part in told


def planned(*arguments: str | Path | float) -> Any:
    return CliRunner().invoke(switchyard.app, ["plan-capacity", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "ladder"
    folder.mkdir()
    (folder / "requests.jsonl").write_text("".join(to_line(r) + "\n" for r in known_ladder()))
    stages = [{"name": f"{rate}/s", "rate": rate, "concurrency": None} for rate in (4, 8, 25)]
    (folder / "run.json").write_text(json.dumps({"stages": stages}))
    return folder


def test_the_command(run: Path, tmp_path: Path) -> None:
    arguments = (run, "--max-running", 16, "--step-tokens", 512, "--slo", "ttft:p90:300", "--slo", "tpot:p90:50")
    done = planned(*arguments, "--rate", 100, "--shape", "64/32", "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    expected = plan(ONE, 100.0, FIXED, [*SLO, Bound("tpot", 90, 0.05)], Growth())
    assert found["plan"]["needed"] == expected.needed
    assert found["plan"]["capacity_per_s"] == pytest.approx(expected.capacity_per_s, rel=0.1)
    assert len(found["ladder"]) == 3
    assert done.stdout == planned(*arguments, "--rate", 100, "--shape", "64/32", "-o", "json").stdout
    trace = tmp_path / "trace.jsonl"
    lines = [{"timestamp": n * 40, "input_length": 64, "output_length": 32} for n in range(200)]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = planned(*arguments, "--trace", trace)
    assert shown.exit_code == 0, shown.output
    assert "replicas that keep the SLO" in shown.stdout and "scaling out may take" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "Give --rate or --trace"),
        (("--rate", 1, "--trace", "x"), 2, "not both"),
        (("--trace", "x", "--shape", "1/1"), 2, "A trace has its own lengths"),
        (("--trace", "/not/there"), 1, "cannot be read"),
        (("--rate", 1, "--shape", "64"), 1, "is no shape"),
        (("--rate", 1, "--slo", "ttft"), 1, "METRIC:PERCENTILE:MS"),
        (("--rate", 1, "--slo", "ttft:p90:1"), 1, "No number of replicas"),
    ],
)
def test_bad_input(run: Path, arguments: tuple[str | float, ...], code: int, says: str) -> None:
    done = planned(run, "--max-running", 16, *arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr and "Traceback" not in done.output


def test_no_run() -> None:
    done = planned("/not/there", "--rate", 1)
    assert done.exit_code == 1 and "There is no run in" in done.stderr


def ladder(name: str) -> dict[str, list[Record]]:
    """A stored ladder: the records of each stage by name and shape, each stage a round of its own."""
    stages = json.loads((DATA / name).read_text())["stages"]
    return {
        f"{stage['name']}, {stage['shape']}": [
            record(
                n, at=sent, sent=sent, first=first, ended=ended, gaps=(), round=number, prompt_tokens=prompt,
                completion_tokens=answer,
            )
            for n, (sent, first, ended, prompt, answer) in enumerate(stage["requests"])
        ]
        for number, stage in enumerate(stages)
    }  # fmt: skip


def halves(name: str) -> tuple[list[Step], float, list[StepTimes]]:
    """Each open loop, predicted from the closed loops and the open loops of the other half; what was borne at most.

    Nothing that is compared was fitted to.
    """
    stages, bounds = ladder(name), Limits(8)
    closed, loops = [n for n in stages if "/s" not in n], [n for n in stages if "/s" in n]
    steps: list[Step] = []
    fitted: list[StepTimes] = []
    for half in (loops[::2], loops[1::2]):
        apart = [r for n in half for r in stages[n]]
        fitted.append(calibrate([r for n in closed for r in stages[n]] + apart, bounds, apart))
        steps += check(fitted[-1], {n: stages[n] for n in loops if n not in half}, bounds)
    most = max(len(stages[n]) / (max(r.ended for r in stages[n]) - stages[n][0].sent) for n in loops)
    return steps, most, fitted


def test_half_of_a_ladder_of_vllm_foretells_the_other_half() -> None:
    """vLLM and the embedded model, behind ``switchyard serve`` on two cores that did nothing else; see docs/cost.md."""
    steps, most, _ = halves("ladder-embedded.json")
    below = [step for step in steps if step.rate < 0.8 * most]
    assert len(below) == 5
    for step in below:
        assert step.ttft_p90[1] == pytest.approx(step.ttft_p90[0], rel=0.25), step.name
        assert step.tpot_p90[1] == pytest.approx(step.tpot_p90[0], rel=0.1), step.name
    for limit in (0.3, 0.5, 0.7, 1.0, 1.5, 2.0):
        measured, simulated = rate_within(steps, limit)
        assert simulated == pytest.approx(measured, rel=0.15), limit


def test_half_of_a_ladder_of_known_steps_foretells_the_other_half() -> None:
    """Real HTTP, the real client and clock, an engine that sleeps its steps (tests/batching_server.py).

    Measured on a machine that other work kept at a load of 20 to 50, so only the lower loads are compared.
    """
    steps, most, fitted = halves("ladder-paced.json")
    for times in fitted:
        # The steps it really slept: 20 ms, and 1.5 ms for each request.
        assert times.step(4) == pytest.approx(0.026, rel=0.1)
    below = [step for step in steps if step.rate < 0.65 * most]
    assert len(below) == 3
    for step in below:
        assert step.ttft_p90[1] == pytest.approx(step.ttft_p90[0], rel=0.25), step.name
        assert step.tpot_p90[1] == pytest.approx(step.tpot_p90[0], rel=0.1), step.name
    for limit in (0.3, 0.5, 1.0, 1.5):
        measured, simulated = rate_within(steps, limit)
        assert simulated == pytest.approx(measured, rel=0.15), limit
