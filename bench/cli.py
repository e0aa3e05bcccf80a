"""The sub-commands of ``switchyard bench``. ``terminal.py`` prints for them.

Exit codes: 0 done (``compare``: B is nowhere worse), 1 failed (a request did, or a service is gone), 2 wrong use
(``compare``: B is worse somewhere), 130 Ctrl-C. What had been measured is kept in every case.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bench.arguments import (
    ApiOption,
    ConcurrencyOption,
    ConfidenceOption,
    DurationOption,
    GroupsOption,
    HeaderOption,
    KeepGoingOption,
    KeyOption,
    LimitOption,
    LogprobsOption,
    ModelOption,
    OutOption,
    OutputOption,
    RateOption,
    ReportOption,
    RequestsOption,
    SeedOption,
    ShapeOption,
    ShareOption,
    SloOption,
    SpeedOption,
    StreamOption,
    TimeoutOption,
    TraceOption,
    UrlOption,
    WarmupOption,
    WorkloadOption,
    formats,
    how_of,
    load_of,
    slo_of,
    target_of,
)
from bench.cli_running import compare_files, measured
from bench.terminal import failing, show, where, wrong_use

app = typer.Typer(no_args_is_help=True, help="Put a service under load, compare two, and draw what came out.")

LOCAL = "http://localhost:8000"


@app.command()
def run(
    url: UrlOption = LOCAL,
    api: ApiOption = "generate",
    model: ModelOption = None,
    header: HeaderOption = None,
    api_key_env: KeyOption = "SWITCHYARD_API_KEY",
    workload: WorkloadOption = "random",
    shape: ShapeOption = "64/64",
    concurrency: ConcurrencyOption = "8",
    rate: RateOption = None,
    requests: RequestsOption = None,
    duration: DurationOption = 30.0,
    trace: TraceOption = None,
    speed: SpeedOption = 1.0,
    groups: GroupsOption = 4,
    share: ShareOption = 0.8,
    seed: SeedOption = 0,
    slo: SloOption = None,
    logprobs: LogprobsOption = False,
    stream: StreamOption = True,
    warmup: WarmupOption = 8,
    timeout: TimeoutOption = 600.0,
    keep_going: KeepGoingOption = False,
    out: OutOption = None,
    report: ReportOption = True,
    output: OutputOption = "table",
) -> None:
    """Put a service under load and measure every request.

    Example: switchyard bench run --api completions --shape 128/128 --rate 1,2,4,8 --slo ttft:500
    """
    formats(output)
    with failing():
        load = load_of(
            workload, shape, concurrency, rate, requests, duration, trace, speed, groups, share, seed, logprobs
        )
        target = target_of(url, api, "service", model, header, api_key_env)
        how = how_of(stream, timeout, warmup, keep_going)
        measured([target], load, how, 0, slo_of(slo), out, report, output, 0.95, 1.0)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Address of a service, or a result folder or file.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    api: ApiOption = "generate",
    model: ModelOption = None,
    api_b: Annotated[str | None, typer.Option(help="Of B, where it is another than A's.")] = None,
    model_b: Annotated[str | None, typer.Option(help="Of B, where it is another than A's.")] = None,
    header: HeaderOption = None,
    api_key_env: KeyOption = "SWITCHYARD_API_KEY",
    workload: WorkloadOption = "random",
    shape: ShapeOption = "64/64",
    concurrency: ConcurrencyOption = "8",
    rate: RateOption = None,
    requests: RequestsOption = None,
    duration: DurationOption = 10.0,
    trace: TraceOption = None,
    speed: SpeedOption = 1.0,
    groups: GroupsOption = 4,
    share: ShareOption = 0.8,
    seed: SeedOption = 0,
    rounds: Annotated[int, typer.Option(min=3, help="How often both are measured, in alternating order.")] = 5,
    confidence: ConfidenceOption = 0.95,
    limit: LimitOption = 1.05,
    slo: SloOption = None,
    logprobs: LogprobsOption = False,
    stream: StreamOption = True,
    warmup: WarmupOption = 8,
    timeout: TimeoutOption = 600.0,
    keep_going: KeepGoingOption = False,
    out: OutOption = None,
    report: ReportOption = True,
    output: OutputOption = "table",
) -> None:
    """Compare B with A: two services under the same requests in alternating rounds, or the results of two runs.

    Example: switchyard bench compare http://localhost:8000 http://localhost:8001 --api completions --concurrency 16
    """
    from bench.options import is_address

    formats(output)
    bounds = slo_of(slo)
    if is_address(a) != is_address(b):
        wrong_use("Give two addresses (http://...), or two results.")
    with failing():
        if not is_address(a):
            compare_files(a, b, bounds, out, report, output, confidence, limit)
        load = load_of(
            workload, shape, concurrency, rate, requests, duration, trace, speed, groups, share, seed, logprobs
        )
        if len(load.rates or load.concurrency) > 1:
            wrong_use("A comparison is made under one load: give one --concurrency, or one --rate.")
        targets = [
            target_of(a, api, "A", model, header, api_key_env),
            target_of(b, api_b or api, "B", model_b or (None if api_b else model), header, api_key_env),
        ]
        how = how_of(stream, timeout, warmup, keep_going)
        measured(targets, load, how, rounds, bounds, out, report, output, confidence, limit)


@app.command("report")
def draw(
    results: Annotated[str, typer.Argument(help="Folder of a run, also of one that was killed.")],
    slo: SloOption = None,
    confidence: ConfidenceOption = 0.95,
    limit: LimitOption = 1.05,
    output: OutputOption = "table",
) -> None:
    """Work a run out again and draw its report: after a kill, or with another SLO.

    Example: switchyard bench report build/bench/20261122-101500 --slo ttft:300
    """
    from pathlib import Path

    formats(output)
    with failing():
        from bench.finish import findings, to_json, write_report, write_summary
        from bench.results import load

        done = load(Path(results))
        found = findings(done, slo_of(slo), confidence, limit)
        write_summary(done, found)
        write_report(done, found)
        print(json.dumps(to_json(found), indent=2)) if output == "json" else show(found)
        where(done, report=True)


@app.command()
def ceiling(
    tokens: Annotated[int, typer.Option(min=1, help="Of an answer, an event each.")] = 64,
    concurrency: Annotated[int, typer.Option(min=1, help="Answers at a time.")] = 32,
    duration: Annotated[float, typer.Option(min=0.5, help="Seconds of each of the two measurements.")] = 5.0,
    output: OutputOption = "table",
) -> None:
    """Measure what this client can do at most, against a server that does nothing.

    Example: switchyard bench ceiling --concurrency 64
    """
    import asyncio

    formats(output)
    with failing():
        from bench.ceiling import measure
        from bench.client import event_loop
        from bench.tables import as_json

        with asyncio.Runner(loop_factory=event_loop) as runner:
            found = runner.run(measure(tokens, concurrency, duration))
        if output == "json":
            print(json.dumps(as_json(found) | {"most_events_per_s": round(found.most_events_per_s)}, indent=2))
            return
        print(f"{found.requests_per_s:.0f} answers of {tokens} tokens a second ({found.events_per_s:.0f} events)")
        print(f"{found.cpu_ms_per_request:.2f} ms of CPU an answer, {found.cpu_us_per_event:.0f} us an event")
        print(
            f"A whole core follows {found.most_events_per_s:.0f} events a second; load a service with less than half."
        )
