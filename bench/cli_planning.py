"""``switchyard cost`` and ``switchyard plan-capacity``. Exit codes: 0 done, 1 bad input, 2 wrong use."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bench.arguments import OutputOption, SloOption, formats, slo_of
from bench.terminal import failing, table, wrong_use

MACHINE_PRICES = "switchyard.machine-prices"
"""Key of ``ctx.meta``: a function from a region to :class:`bench.price_table.Prices`, handed over by who knows them."""


def cost(
    ctx: typer.Context,
    results: Annotated[str | None, typer.Argument(help="Folder of a run of 'switchyard bench run'.")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Output tokens a second of a busy replica, instead of a run.")
    ] = None,
    prompt_ratio: Annotated[
        float | None, typer.Option(min=0, help="Prompt tokens for each output token. Default: as measured, else 1.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Of the run. Default: the quickest within --slo.")] = None,
    slo: SloOption = None,
    measured_replicas: Annotated[int, typer.Option(min=1, help="That served the run.")] = 1,
    machine: Annotated[str | None, typer.Option(help="Machine of a replica, such as g2-standard-4.")] = None,
    region: Annotated[str, typer.Option(help="Of the machine.")] = "us-central1",
    hourly: Annotated[float | None, typer.Option(min=0, help="USD an hour of a machine, instead of a list.")] = None,
    prices: Annotated[str | None, typer.Option(help="File of prices, JSON or YAML; see docs/cost.md.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Machines that are on, at least.")] = 1,
    hours: Annotated[float, typer.Option(min=1, max=744, help="Of a month.")] = 730.0,
    off_hours: Annotated[float, typer.Option(min=0, max=23.9, help="A day, in which nothing runs.")] = 0.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="Highest mean share of the time on that a machine is used.")
    ] = 0.7,
    rollouts: Annotated[float, typer.Option(min=0, help="Upgrades a month.")] = 4.0,
    rollout_minutes: Annotated[float, typer.Option(min=0, help="Of an upgrade, with both clusters up.")] = 10.0,
    keep_old: Annotated[float, typer.Option(min=0, help="Minutes that the old cluster is kept after it.")] = 10.0,
    fixed: Annotated[
        float | None, typer.Option(min=0, help="USD a month whatever runs. Default: the price list's.")
    ] = None,
    html: Annotated[str | None, typer.Option(help="Write a page with plots to this file.")] = None,
    output: OutputOption = "table",
) -> None:
    """Say what tokens cost on one's own machines, and from how many a day that is less than an API.

    Example: switchyard cost build/bench/20261122-101500 --machine g2-standard-4 --slo ttft:500 --html cost.html
    """
    formats(output)
    if (results is None) == (tokens_per_second is None):
        wrong_use("Give the folder of a run, or --tokens-per-second; not both. See: switchyard cost --help")
    with failing():
        from dataclasses import replace

        from bench import planning
        from bench.cost import Speed, Usage
        from bench.cost_report import Input, to_json

        known = planning.read_prices(prices, ctx.meta.get(MACHINE_PRICES), region)
        offers, price = planning.offers_of(known, machine, hourly)
        if results is not None:
            speed, found = planning.measured_speed(results, stage, slo_of(slo), 0.9 if slo else 0.0, measured_replicas)
        else:
            speed = Speed(tokens_per_second or 0.0, 1.0, "as told", False)
            told = f"{speed.output_per_s:g} (--tokens-per-second)"
            found = Input("output tokens a second of a replica", told, "assumed")
        if prompt_ratio is not None:
            speed = replace(speed, prompt_ratio=prompt_ratio)
        usage = Usage(
            replicas, hours, off_hours, rollouts, rollout_minutes, keep_old,
            known.fixed_per_month if fixed is None else fixed, utilisation,
        )  # fmt: skip
        asked = planning.question(speed, found, known, offers, price, usage, prompt_ratio is not None)
        if html:
            planning.write_page(asked, html)
        if output == "json":
            print(json.dumps(to_json(asked), indent=2))
            return
        from bench import cost_report as tables

        kinds = {"never": "red"}
        for item in asked.inputs:
            print(f"{item.kind:8}  {item.name}: {item.value}")
        print()
        table(tables.MONTH_HEADER, tables.month_rows(asked), {})
        for offer in offers:
            print(f"\n{offer.name}, {offer.hourly:.3f} USD an hour a machine")
            table(tables.USE_HEADER, tables.use_rows(asked, offer), {})
            print()
            table(tables.EVEN_HEADER, tables.even_rows(asked, offer), kinds)
        print("\nLeft out: disks, traffic, storage, the time of people.")
        if html:
            print(f"Page: {html}")


def plan_capacity(
    results: Annotated[list[str], typer.Argument(help="Folders of runs of one replica, at several loads.")],
    rate: Annotated[float | None, typer.Option(min=0, help="Requests a second to plan for (Poisson).")] = None,
    trace: Annotated[str | None, typer.Option(help="Recorded arrivals (JSONL) to plan for, instead.")] = None,
    speed: Annotated[float, typer.Option(min=0.01, help="Of the trace: 2 is twice the load.")] = 1.0,
    shape: Annotated[str | None, typer.Option(help="Mean prompt/answer tokens. Default: as measured.")] = None,
    variation: Annotated[
        float, typer.Option(min=0, max=5, help="Standard deviation of lengths over their mean, with --shape.")
    ] = 0.0,
    slo: Annotated[
        list[str] | None, typer.Option(help="METRIC:PERCENTILE:MS; ttft, tpot or e2e. Default: ttft:p90:1000.")
    ] = None,
    max_running: Annotated[int, typer.Option(min=1, help="Requests a replica runs at a time (max_num_seqs).")] = 256,
    step_tokens: Annotated[int, typer.Option(min=16, help="Tokens of an engine step (max_num_batched_tokens).")] = 2048,
    kv_tokens: Annotated[int, typer.Option(min=0, help="Tokens its KV cache holds; 0: no limit.")] = 0,
    gpus_each: Annotated[int, typer.Option("--gpus-per-replica", min=0, help="GPUs of a replica.")] = 1,
    spare: Annotated[int, typer.Option(min=0, help="Replicas that may be lost without breaking the SLO.")] = 0,
    growth: Annotated[float, typer.Option(min=1, max=100, help="Times that the load may grow to.")] = 1.5,
    growth_minutes: Annotated[float, typer.Option(min=0, help="In so many minutes; 0: at once.")] = 10.0,
    start_minutes: Annotated[float, typer.Option(min=0, help="Until a new replica serves.")] = 3.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = 0,
    output: OutputOption = "table",
) -> None:
    """Say how many replicas a load needs, by simulating an engine with the step times that runs have measured.

    Example: switchyard plan-capacity build/bench/ladder --rate 40 --shape 512/128 --slo ttft:p90:500 --slo tpot:p99:60
    """
    formats(output)
    if (rate is None) == (trace is None):
        wrong_use("Give --rate or --trace; not both. See: switchyard plan-capacity --help")
    if trace is not None and (shape is not None or variation):
        wrong_use("A trace has its own lengths: leave --shape and --variation out.")
    with failing():
        from bench import capacity_report as shown
        from bench import planning
        from bench.capacity import Growth, bound, plan, plan_trace
        from bench.queueing import Limits, spread
        from bench.workloads import shape as parsed

        bounds = [bound(text) for text in slo or ["ttft:p90:1000"]]
        given = planning.ladder(results)
        limits = Limits(max_running, step_tokens, kv_tokens)
        replica, steps = planning.replica_of(given, limits, seed)
        if trace is not None:
            arrivals = planning.trace_arrivals(trace, speed)
            lengths = planning.lengths_of(arrivals)
            found = plan_trace(replica, arrivals, bounds, spare, gpus_each)
        else:
            lengths = planning.measured_lengths(given)
            if shape is not None:
                wanted = parsed(shape)
                lengths = spread(wanted.prompt, wanted.answer, variation, seed)
            growing = Growth(growth, growth_minutes * 60, start_minutes * 60)
            found = plan(replica, rate or 0.0, lengths, bounds, growing, spare, gpus_each)
        notes = shown.cautions(replica.times, lengths, limits, found, bounds)
        if output == "json":
            print(json.dumps(shown.plan_json(found, replica, steps, bounds, notes), indent=2))
            return
        table(("plan", "value"), shown.plan_rows(found, bounds), {})
        print()
        table(("measured", "value"), shown.fit_rows(replica.times), {})
        if steps:
            print("\nThe ladder's open loops, measured and simulated:")
            table(shown.STEP_HEADER, shown.step_rows(steps), {})
        for note in notes:
            print(f"Note: {note}")
