"""The options that the commands share, and what they mean. Wrong use ends here, with exit status 2 or an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import WorkloadError
from bench.terminal import wrong_use

if TYPE_CHECKING:
    from bench.measure import How
    from bench.options import Load
    from bench.protocol import Target
    from bench.statistics import Slo

UrlOption = Annotated[str, typer.Option(help="Where the service is.")]
ApiOption = Annotated[str, typer.Option(help="generate, completions or chat.")]
ModelOption = Annotated[str | None, typer.Option(help="The model's name. Default: the first of /v1/models.")]
HeaderOption = Annotated[list[str] | None, typer.Option("--header", help="'Name: value', sent with every request.")]
KeyOption = Annotated[str, typer.Option(help="Environment variable with the API key.")]
WorkloadOption = Annotated[str, typer.Option(help="random, shared-prefix or trace.")]
ShapeOption = Annotated[str, typer.Option(help="Prompt/answer tokens: 64/64, 128/128, 1024/128, 128/1024, 512/128.")]
ConcurrencyOption = Annotated[str, typer.Option(help="Closed loop: requests at a time; 1,8,32: a stage each.")]
RateOption = Annotated[str | None, typer.Option(help="Open loop, Poisson: requests a second; 1,2,4: a ladder.")]
RequestsOption = Annotated[
    int | None, typer.Option(min=1, help="In a closed-loop stage. Default: 8 times those at a time.")
]
DurationOption = Annotated[float, typer.Option(min=0.1, help="Seconds of an open-loop stage.")]
TraceOption = Annotated[str | None, typer.Option(help="JSONL file: at, prompt or messages, max_tokens a line.")]
SpeedOption = Annotated[float, typer.Option(min=0.01, help="Of a trace: 2 sends it in half the time.")]
GroupsOption = Annotated[int, typer.Option(min=1, help="Of shared-prefix: how many different beginnings.")]
ShareOption = Annotated[float, typer.Option(min=0, max=1, help="Of shared-prefix: share of the prompt that is shared.")]
SeedOption = Annotated[int, typer.Option(help="The same seed makes the same requests.")]
SloOption = Annotated[list[str] | None, typer.Option(help="ttft:MS, tpot:MS or e2e:MS, for goodput.")]
LogprobsOption = Annotated[bool, typer.Option("--logprobs", help="Ask for log-probabilities (completions, chat).")]
StreamOption = Annotated[bool, typer.Option("--stream/--whole", help="Events, or answers in one piece.")]
WarmupOption = Annotated[int, typer.Option(min=0, help="Requests before it begins, forgotten.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Of a request, seconds.")]
KeepGoingOption = Annotated[bool, typer.Option("--keep-going", help="Go on when the service is gone.")]
OutOption = Annotated[str | None, typer.Option("--out", help="Folder for the results. Default: build/bench/<time>.")]
ReportOption = Annotated[bool, typer.Option("--report/--no-report", help="Draw report.html and the pictures.")]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="table or json.")]
ConfidenceOption = Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of each interval.")]
LimitOption = Annotated[float, typer.Option(min=1, help="A difference below this factor does not matter.")]


def formats(output: str) -> None:
    """Refuse an output format that is none."""
    if output not in ("table", "json"):
        wrong_use(f"--output {output}: it can be table or json.")


def load_of(
    workload: str,
    shape: str,
    concurrency: str,
    rate: str | None,
    requests: int | None,
    duration: float,
    trace: str | None,
    speed: float,
    groups: int,
    share: float,
    seed: int,
    logprobs: bool,
) -> Load:
    """What to ask, from the options about it.

    Raises:
        WorkloadError: one is wrong, or the trace cannot be read.
    """
    from pathlib import Path

    from bench import options, workloads

    if trace is not None:
        workload = "trace"
    if workload not in options.WORKLOADS:
        raise WorkloadError(f"--workload {workload}: it can be {', '.join(options.WORKLOADS)}.")
    if workload == "trace" and trace is None:
        raise WorkloadError("--workload trace needs --trace FILE.")
    lines: tuple[str, list[str]] | None = None
    if trace is not None:
        try:
            lines = (Path(trace).name, Path(trace).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise WorkloadError(f"The trace {trace} cannot be read: {error}.") from None
    return options.Load(
        workload,
        workloads.shape(shape),
        options.whole_numbers(concurrency, "concurrency"),
        options.numbers(rate, "rate") if rate is not None else (),
        requests,
        duration,
        lines,
        speed,
        groups,
        share,
        seed,
        logprobs,
    )


def target_of(url: str, api: str, label: str, model: str | None, header: list[str] | None, variable: str) -> Target:
    """Who to ask, with the key of the environment variable.

    Raises:
        TargetError: that is no address, API or header.
    """
    from bench import options
    from bench.client import authorization

    return options.target(url, api, label, model, authorization(os.environ, variable) | options.headers(header or ()))


def how_of(stream: bool, timeout: float, warmup: int, keep_going: bool) -> How:
    """How to ask."""
    from bench.measure import How

    return How(stream, timeout, warmup, give_up=not keep_going)


def slo_of(given: list[str] | None) -> Slo:
    """The bounds of ``--slo``.

    Raises:
        WorkloadError: one is wrong.
    """
    from bench import options

    return options.slo(given or ())
