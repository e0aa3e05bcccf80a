"""What ``cost`` and ``plan-capacity`` are asked, read from files and options. Edge: files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench import price_table
from bench.calibration import Step, calibrate, check
from bench.capacity import Replica
from bench.cost import Speed, Usage, speed_of
from bench.cost_report import Input, Offer, Question, page, pictures
from bench.errors import PriceError, ResultError, WorkloadError
from bench.price_table import Prices
from bench.queueing import Arrival, Lengths, Limits
from bench.records import GIVEN_UP, Record
from bench.results import Run, load
from bench.statistics import Slo, Summary
from bench.tables import by_stage
from bench.trace import parse
from bench.workloads import Measure

Listed = Callable[[str], Prices]
"""Machine prices of a region, from whoever knows them."""
_TOKENS_PER_WORD = 4 / 3  # of English text, for traces that have texts instead of lengths


def read_prices(file: str | None, listed: Listed | None, region: str) -> Prices:
    """The price file where there is one, completed by the list that was handed over and the shipped API prices.

    Raises:
        PriceError: a file is broken, or cannot be read.
    """
    shipped = price_table.parse(_text(price_table.SHIPPED_APIS), str(price_table.SHIPPED_APIS))
    found = listed(region).over(shipped) if listed else shipped
    return price_table.parse(_text(Path(file)), file).over(found) if file else found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"The price file {path} cannot be read: {error}.") from None


def offers_of(prices: Prices, machine: str | None, hourly: float | None) -> tuple[tuple[Offer, ...], Input]:
    """What a machine costs an hour, on demand and as spot; and where that is from.

    Raises:
        PriceError: no price is known.
    """
    if hourly is not None:
        return (Offer("as told", hourly),), Input("machine, USD an hour", f"{hourly:g}", "assumed")
    if machine is None:
        raise PriceError("Which machine does it run on? Give --machine, such as g2-standard-4, or --hourly USD.")
    found = prices.machine(machine)
    both = (("on demand", found.on_demand), ("spot", found.spot))
    offers = tuple(Offer(name, value) for name, value in both if value is not None)
    told = ", ".join(f"{offer.hourly:.3f} {offer.name}" for offer in offers)
    return offers, Input(f"{machine}, USD an hour", f"{told}: {prices.label}", "listed")


def measured_speed(folder: str, stage: str | None, slo: Slo, share: float, replicas: int) -> tuple[Speed, Input]:
    """The speed of one replica as a run measured it.

    Raises:
        ResultError: the folder has no such run.
    """
    run = _run(folder)
    speed = speed_of(stages_of(run, slo), run.name, stage, replicas, share)
    on: Mapping[str, Any] = run.about.get("machine") or {}
    where = f", {str(run.about.get('started', ''))[:10]}, client on {on.get('cores')} x {on.get('cpu')}" if on else ""
    value = f"{speed.output_per_s:.0f} ({speed.source}{where})"
    return speed, Input("output tokens a second of a replica", value, "measured")


def _run(folder: str) -> Run:
    run = load(Path(folder))
    if len(run.labels) > 1:
        raise ResultError(f"{run.name} is a comparison of {' and '.join(run.labels)}: give a run of one service.")
    return run


def stages_of(run: Run, slo: Slo | None = None) -> dict[str, Summary]:
    """A summary for each stage."""
    return by_stage(_counted(run), _names(run), slo)


def _counted(run: Run) -> list[Record]:
    return [record for record in run.records if record.error != GIVEN_UP]


def _names(run: Run) -> list[str]:
    return [str(stage.get("name")) for stage in cast("Sequence[Mapping[str, Any]]", run.about.get("stages", ()))]


def question(
    speed: Speed,
    found: Input,
    prices: Prices,
    offers: tuple[Offer, ...],
    price: Input,
    usage: Usage,
    ratio_told: bool,
) -> Question:
    """Everything in one, with a line for each input."""
    ratio = "measured" if speed.measured and not ratio_told else "assumed"
    inputs = [
        found,
        Input("prompt tokens for each output token", f"{speed.prompt_ratio:.2f}", ratio),
        price,
        Input("that this machine is as quick as the one measured, one replica on each", "yes", "assumed"),
        Input("API prices", prices.apis_label, "assumed"),
        Input("replicas", str(usage.replicas), "assumed"),
        Input("hours a month, hours off a day", f"{usage.hours:g}, {usage.off_hours:g}", "assumed"),
        Input("highest mean utilisation", f"{usage.most:.0%}", "assumed"),
        Input(
            "rollouts a month; minutes of both clusters, and of keeping the old one",
            f"{usage.rollouts:g}; {usage.rollout_minutes:g} and {usage.keep_old_minutes:g}",
            "assumed",
        ),
        Input("fixed, USD a month", f"{usage.fixed:.2f}", "assumed"),
    ]  # fmt: skip
    return Question(speed, usage, offers, prices.apis, tuple(inputs))


@dataclass(frozen=True)
class Ladder:
    """Runs that were read for the planner.

    Attributes:
        records: of all of them; each stage of each run has a round of its own.
        loops: records of the open-loop stages, for checking: by rate and shape, all runs together.
    """

    records: list[Record]
    loops: dict[str, list[Record]]


def ladder(folders: Sequence[str]) -> Ladder:
    """Read runs of one service, taken together.

    Raises:
        ResultError: one is none.
    """
    records: list[Record] = []
    loops: dict[str, list[Record]] = {}
    count = 0
    for folder in folders:
        run = _run(folder)
        stages = cast("Sequence[Mapping[str, Any]]", run.about.get("stages", ()))
        for number in sorted({record.round for record in _counted(run)}):
            # Times are counted from each run's beginning, so a stage must not meet another run's.
            part = [replace(record, round=count) for record in _counted(run) if record.round == number]
            count += 1
            records += part
            about: Mapping[str, Any] = stages[number] if number < len(stages) else {}
            if about.get("rate"):
                load_about: Mapping[str, Any] = run.about.get("load") or {}
                loops.setdefault(f"{about.get('name')}, {load_about.get('shape', 'trace')}", []).extend(part)
    return Ladder(records, loops)


def replica_of(given: Ladder, limits: Limits, seed: int) -> tuple[Replica, list[Step]]:
    """One replica as the ladder shows it, and how its simulation compares with the ladder's open loops.

    Raises:
        ResultError: the ladder is not enough for a fit.
    """
    times = calibrate(given.records, limits, [record for loop in given.loops.values() for record in loop])
    return Replica(times, limits, seed), check(times, given.loops, limits, seed)


def measured_lengths(given: Ladder) -> Lengths:
    """Lengths as the ladder had them."""
    pairs = tuple((r.prompt_tokens, r.completion_tokens) for r in given.records if r.ok)
    return Lengths(pairs)


def trace_arrivals(file: str, speed: float) -> list[Arrival]:
    """The requests of a trace. Texts are counted as 4 tokens for 3 words.

    Raises:
        WorkloadError: it cannot be read, or has wrong lines.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"The trace {file} cannot be read: {error}.") from None
    found: list[Arrival] = []
    for request in parse(lines, Path(file).name, Measure(), speed=speed).requests:
        text = request.prompt or " ".join(message["content"] for message in request.messages or ())
        # ``ignore_eos`` marks recorded lengths: there, a word is a token.
        each = 1.0 if request.ignore_eos else _TOKENS_PER_WORD
        prompt = round(len(text.split()) * each) if isinstance(text, str) else len(text)
        found.append(Arrival(request.at, max(1, prompt), request.max_tokens))
    return found


def lengths_of(arrivals: Sequence[Arrival]) -> Lengths:
    """Lengths as a trace has them."""
    return Lengths(tuple((arrival.prompt, arrival.answer) for arrival in arrivals))


def write_page(asked: Question, file: str) -> None:
    """Write the page about the cost.

    Raises:
        ToolMissing: matplotlib is not installed.
        ResultError: the file cannot be written.
    """
    path = Path(file)
    html = page(asked, pictures(asked))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ResultError(f"The page {file} cannot be written: {error}. Name another file with --html.") from None
