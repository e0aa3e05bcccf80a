"""What a service costs, worked out and drawn: tables, one HTML page, two pictures. Pure but for matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from bench import plots
from bench.cost import BreakEven, Speed, Usage, at_use, break_even, curve, month, per_day
from bench.page import document, figure, table
from bench.price_table import Api
from bench.tables import as_json

USES = (0.1, 0.3, 0.5, 0.7, 1.0)
INPUT_HEADER = ("input", "value", "which is")
MONTH_HEADER = ("USD a month", "machines", "upgrades", "fixed", "together")
USE_HEADER = ("utilisation", "idle hours", "M output tokens", "USD / M output", "USD / M total")
EVEN_HEADER = ("cheaper than", "USD / M output there", "from output tokens a day", "replicas", "their utilisation")


@dataclass(frozen=True)
class Input:
    """One thing that went in.

    Attributes:
        name, value: for people.
        kind: ``measured``, ``listed`` (a price list says so) or ``assumed``.
    """

    name: str
    value: str
    kind: str


@dataclass(frozen=True)
class Offer:
    """One way to pay for the machines: ``on demand``, ``spot`` or ``as told``; USD an hour each."""

    name: str
    hourly: float


@dataclass(frozen=True)
class Question:
    """All that the cost depends on."""

    speed: Speed
    usage: Usage
    offers: tuple[Offer, ...]
    apis: tuple[Api, ...]
    inputs: tuple[Input, ...]

    def evens(self, offer: Offer) -> list[BreakEven]:
        """The break-even against each API."""
        return [break_even(api, self.speed, offer.hourly, self.usage) for api in self.apis]


def to_json(question: Question) -> dict[str, Any]:
    """Everything, for ``--output json``. Never is null."""
    speed, usage = question.speed, question.usage
    return {
        "inputs": as_json([vars(item) for item in question.inputs]),
        "measured": speed.measured,
        "offers": {
            offer.name: {
                "usd_per_hour": offer.hourly,
                "month": as_json(month(offer.hourly, usage)) | {"total": as_json(month(offer.hourly, usage).total)},
                "at_use": as_json([at_use(speed, offer.hourly, usage, use) for use in USES]),
                "break_even": as_json(question.evens(offer)),
            }
            for offer in question.offers
        },
    }


def month_rows(question: Question) -> list[tuple[str, ...]]:
    """The table of a month's cost."""
    found: list[tuple[str, ...]] = []
    for offer in question.offers:
        cost = month(offer.hourly, question.usage)
        sums = (cost.running, cost.upgrades, cost.fixed, cost.total)
        found.append((offer.name, *(f"{value:,.2f}" for value in sums)))
    return found


def use_rows(question: Question, offer: Offer) -> list[tuple[str, ...]]:
    """The table over utilisations."""
    rows = [at_use(question.speed, offer.hourly, question.usage, use) for use in USES]
    return [
        (
            f"{row.utilisation:.0%}",
            f"{row.idle_hours:,.0f}",
            f"{row.output_tokens / 1e6:,.1f}",
            dollars(row.per_million_output),
            dollars(row.per_million_total),
        )
        for row in rows
    ]


def even_rows(question: Question, offer: Offer) -> list[tuple[str, ...]]:
    """The table of break-evens."""
    found: list[tuple[str, ...]] = []
    for row in question.evens(offer):
        if math.isfinite(row.tokens_a_day):
            found.append(
                (
                    row.api.name,
                    dollars(row.per_million),
                    many(row.tokens_a_day),
                    str(row.replicas),
                    f"{row.utilisation:.0%}",
                )
            )
        else:
            found.append((row.api.name, dollars(row.per_million), "never", "-", "-"))
    return found


def dollars(value: float) -> str:
    """An amount with three figures at least."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def many(value: float) -> str:
    """A number of tokens, short."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def pictures(question: Question) -> list[plots.Plot]:
    """The break-even, and the cost of tokens over utilisation.

    Raises:
        ToolMissing: matplotlib is not installed.
    """
    with plots.style():
        return [
            plots.picture(
                "break-even", "From where on is it cheaper?",
                "USD a month over output tokens a day. Stairs: own machines; straight: what APIs take; "
                "dots: break-even.",
                lambda axes: _even(axes, question), 3.8,
            ),
            plots.picture(
                "utilisation", "What idle time costs", "USD for a million output tokens; dashed: what APIs take.",
                lambda axes: _use(axes, question), 3.8,
            ),
        ]  # fmt: skip


def _even(axes: Any, question: Question) -> None:
    room = per_day(question.speed, question.usage, 1)
    evens = [even for offer in question.offers for even in question.evens(offer) if math.isfinite(even.tokens_a_day)]
    most = max([4 * room * question.usage.replicas, *(2 * even.tokens_a_day for even in evens)])
    low = min([most / 300, *(even.tokens_a_day / 3 for even in evens)])
    days = [low * (most / low) ** (number / 400) for number in range(401)]
    for offer, colour in zip(question.offers, plots.SERIES, strict=False):
        points = curve(question.speed, offer.hourly, question.usage, days)
        axes.step(*zip(*points, strict=True), where="post", color=colour, label=offer.name)
    for api, colour in zip(question.apis, plots.SERIES[len(question.offers) :] * len(question.apis), strict=False):
        price = api.per_million_output(question.speed.prompt_ratio) * question.usage.days / 1e6
        axes.plot(days, [price * day for day in days], color=colour, linewidth=1, label=api.name)
    for even in evens:
        cost = even.tokens_a_day * even.per_million * question.usage.days / 1e6
        axes.plot(even.tokens_a_day, cost, marker="o", markersize=5, color=plots.INK)
    axes.set(xlabel="output tokens a day", ylabel="USD a month", xscale="log", yscale="log")
    plots.plain_ticks(axes.yaxis)
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: many(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    plots.legend(axes, len(question.offers) + len(question.apis))


def _use(axes: Any, question: Question) -> None:
    uses = [number / 100 for number in range(5, 101)]
    for offer, colour in zip(question.offers, plots.SERIES, strict=False):
        costs = [at_use(question.speed, offer.hourly, question.usage, use).per_million_output for use in uses]
        axes.plot([100 * use for use in uses], costs, color=colour, label=offer.name)
    for api, colour in zip(question.apis, plots.SERIES[len(question.offers) :] * len(question.apis), strict=False):
        price = api.per_million_output(question.speed.prompt_ratio)
        axes.axhline(price, color=colour, linewidth=1, linestyle="--", label=api.name)
    axes.set(xlabel="utilisation, %", ylabel="USD / M output tokens", yscale="log")
    plots.plain_ticks(axes.yaxis)
    plots.legend(axes, len(question.offers) + len(question.apis))


def page(question: Question, drawn: Sequence[plots.Plot]) -> str:
    """The whole page, one file that fetches nothing."""
    kinds: Mapping[str, str] = {"measured": "good", "assumed": "bad", "never": "bad"}
    parts = [
        "<h1>What it costs</h1>",
        table(MONTH_HEADER, month_rows(question), {}),
        f'<div class="plots">{"".join(figure(plot) for plot in drawn)}</div>',
    ]
    for offer in question.offers:
        parts.append(f"<h2>{escape(offer.name)}, {offer.hourly:.3f} USD an hour a machine</h2>")
        parts.append(table(EVEN_HEADER, even_rows(question, offer), kinds))
        parts.append(table(USE_HEADER, use_rows(question, offer), {}))
    parts.append("<h2>What went in</h2>")
    parts.append(table(INPUT_HEADER, [(i.name, i.value, i.kind) for i in question.inputs], kinds))
    parts.append('<p class="soft">Left out: disks, traffic, storage, the time of people.</p>')
    return document("What it costs", parts)
