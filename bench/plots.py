"""The pictures of a run. Edge: matplotlib, without a display and without pyplot's global state.

Each is drawn narrow, for a phone; a page puts them side by side where there is room. In the SVG, colours are CSS
variables of the page, so that one picture is readable in light and in dark.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.comparison import Comparison
from bench.errors import ToolMissing
from bench.records import Record
from bench.statistics import Summary, metric

INK, GRID, BAD = "#1b1f24", "#d8dce2", "#c62f2f"
SERIES = ("#1f6fb2", "#d9730d", "#2f8f4e", "#8a4fbf", "#b0306a", "#6b7280")
_VARIABLES = {INK: "var(--ink)", GRID: "var(--grid)", BAD: "var(--bad)"} | {
    colour: f"var(--s{number})" for number, colour in enumerate(SERIES, 1)
}
_SIZE = (4.6, 3.3)  # inches; at 10 points, text is as large as the page's on a phone
_MOST_POINTS = 2500
_STYLE: Any = {
    "font.size": 10, "font.family": "sans-serif", "text.parse_math": False, "svg.fonttype": "none",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GRID, "xtick.color": INK, "ytick.color": INK,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.6,
    "legend.frameon": False, "legend.fontsize": 9, "legend.markerscale": 1.6,
}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        name: of its file, without what follows the dot.
        title, caption: plain text.
        svg: to be put into a page that has the CSS variables.
        png: the same for slides and chats, light.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def draw(
    groups: Mapping[str, Sequence[Record]],
    stages: Mapping[str, Summary] | None = None,
    comparison: Comparison | None = None,
) -> list[Plot]:
    """The pictures that a run has something to show in.

    Args:
        groups: records by what the colours are for: targets, or the stages of one.
        stages: summaries of different loads of one target, for the ladder.
        comparison: of two targets.

    Raises:
        ToolMissing: matplotlib is not installed.
    """
    found: list[Plot] = []

    def plot(name: str, title: str, caption: str, paint: Callable[[Any], None], height: float = _SIZE[1]) -> None:
        found.append(picture(name, title, caption, paint, height))

    with style():
        if comparison:
            lines = [line for line in comparison.lines if line.ratio.high < float("inf")]
            if lines:
                plot(
                    "comparison", "B over A", "Ratio with its confidence interval. Left of 1, B's value is smaller.",
                    lambda axes: _forest(axes, lines), 0.7 + 0.27 * len(lines),
                )  # fmt: skip
        if stages and len(stages) > 1:
            plot(
                "ladder", "Throughput against latency", "Each point is a load; time to first token.",
                lambda axes: _ladder(axes, list(stages.values()), "ttft"),
            )  # fmt: skip
            plot(
                "ladder-tpot", "Throughput against time per token", "Each point is a load.",
                lambda axes: _ladder(axes, list(stages.values()), "tpot"),
            )  # fmt: skip
        plot(
            "ttft-over-time", "Time to first token over time", "A dot a request, by when it was sent; crosses failed.",
            lambda axes: _over_time(axes, groups),
        )  # fmt: skip
        plot(
            "time-line", "Requests on the time line", "Ended well and failed, a second; the line: how many ran.",
            lambda axes: _time_line(axes, [record for records in groups.values() for record in records]),
        )  # fmt: skip
        for name, title in _CDFS.items():
            if any(metric(records, name) for records in groups.values()):
                plot(
                    f"cdf-{name}", title, "Share of requests that took at most so long."
                    if name != "itl" else "Share of the gaps between tokens.",
                    lambda axes, name=name: _cdf(axes, groups, name),
                )  # fmt: skip
    return found


_CDFS = {
    "ttft": "Time to first token",
    "itl": "Inter-token latency",
    "tpot": "Time per output token",
    "e2e": "End to end",
}


@contextmanager
def style() -> Generator[None]:
    """What every picture is drawn in.

    Raises:
        ToolMissing: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ToolMissing(
            "Reports need matplotlib, which is not installed: 'make dev', or pip install 'switchyard[bench]'."
        ) from None
    with matplotlib.rc_context(_STYLE):
        yield


def picture(name: str, title: str, caption: str, paint: Callable[[Any], None], height: float = _SIZE[1]) -> Plot:
    """One narrow picture of a single pair of axes, within :func:`style`.

    Args:
        paint: draws on matplotlib's axes.
        height: inches; it is as wide as the others.
    """
    return painted(name, title, caption, lambda figure: paint(figure.add_subplot()), (_SIZE[0], height))


def painted(
    name: str, title: str, caption: str, paint: Callable[[Any], None], size: tuple[float, float], salt: str = ""
) -> Plot:
    """One picture, within :func:`style`.

    Args:
        paint: draws on a matplotlib figure, with colours of :data:`SERIES` and so on.
        size: inches; text is 10 points.
        salt: makes two pictures of one name fit into one page.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without a salt of its own, the ids in one picture of a page would be those in another.
    with matplotlib.rc_context({"svg.hashsalt": name + salt}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=160, facecolor="white")
    svg = drawn.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # A hundredth of a point is finer than any screen; what stands between tags is text, such as a price.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Plot(name, title, caption, svg, image.getvalue())


def _thinned(items: Sequence[T]) -> Sequence[T]:
    return items if len(items) <= _MOST_POINTS else random.Random(0).sample(items, _MOST_POINTS)


def _over_time(axes: Any, groups: Mapping[str, Sequence[Record]]) -> None:
    for (name, records), colour in zip(groups.items(), SERIES * len(groups), strict=False):
        good = _thinned([(r.sent, r.ttft * 1000) for r in records if r.ok and r.ttft is not None])
        if good:
            axes.scatter(*zip(*good, strict=True), s=9, color=colour, alpha=0.7, linewidths=0, label=name)
    bad = _thinned([r.sent for records in groups.values() for r in records if not r.ok])
    if bad:
        low = min((r.ttft * 1000 for g in groups.values() for r in g if r.ok and r.ttft), default=1)
        axes.scatter(bad, [low] * len(bad), marker="x", s=24, color=BAD, label="failed")
    axes.set(xlabel="s since the beginning", ylabel="ms", yscale="log")
    plain_ticks(axes.yaxis)
    legend(axes, len(groups) + bool(bad))


def plain_ticks(axis: Any) -> None:
    """Numbers as people write them on a logarithmic axis, however little of a decade it shows. After all is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = high / low if low > 0 else 1
    axis.set_major_locator(MaxNLocator(5) if decades < 8 else LogLocator(subs=(1, 2, 5) if decades < 300 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def legend(axes: Any, entries: int) -> None:
    """A legend below, where there is more than one thing to tell apart."""
    if entries > 1:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2 if entries > 3 else entries, handlelength=1.2
        )


def _time_line(axes: Any, records: Sequence[Record]) -> None:
    end = max(record.ended for record in records)
    bins = max(1, min(60, int(end) or 1))
    width = end / bins
    counts = {True: [0.0] * bins, False: [0.0] * bins}
    for record in records:
        counts[record.ok][min(bins - 1, max(0, int(record.ended / width)))] += 1 / width
    left = [number * width for number in range(bins)]
    axes.bar(left, counts[True], width * 0.94, align="edge", color=SERIES[0], alpha=0.75, label="ended well/s")
    axes.bar(left, counts[False], width * 0.94, align="edge", bottom=counts[True], color=BAD, label="failed/s")
    edges = sorted([(record.sent, 1) for record in records] + [(record.ended, -1) for record in records])
    times, running, now = [0.0], [0], 0
    for at, change in edges:
        now += change
        times.append(at)
        running.append(now)
    step = max(1, len(times) // _MOST_POINTS)
    axes.step(times[::step], running[::step], where="post", color=SERIES[1], linewidth=1.1, label="running")
    axes.set(xlabel="s since the beginning", xlim=(0, end))
    axes.set_ylim(bottom=0)
    legend(axes, 3)


def _cdf(axes: Any, groups: Mapping[str, Sequence[Record]], name: str) -> None:
    for (label, records), colour in zip(groups.items(), SERIES * len(groups), strict=False):
        values = sorted(value * 1000 for value in metric(records, name) if value > 0)
        if not values:
            continue
        # Enough of them to draw, and all of the tail.
        places = sorted(
            {*range(0, len(values), max(1, len(values) // 400)), *range(max(0, len(values) - 50), len(values))}
        )
        shares = [(place + 1) / len(values) for place in places]
        axes.step([values[place] for place in places], shares, where="post", color=colour, label=label)
    axes.set(xlabel="ms", xscale="log", ylim=(0, 1.02))
    plain_ticks(axes.xaxis)
    axes.tick_params(axis="x", rotation=30)
    legend(axes, len(groups))


def _ladder(axes: Any, stages: Sequence[Summary], name: str) -> None:
    for (field, marker), colour in zip((("p50", "o"), ("p90", "s"), ("p99", "^")), SERIES, strict=False):
        values = [getattr(getattr(stage, name), field) * 1000 for stage in stages]
        axes.plot(
            [stage.requests_per_s for stage in stages], values, marker=marker, markersize=4, color=colour, label=field
        )
    axes.set(xlabel="requests a second that ended well", ylabel="ms", yscale="log")
    plain_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    legend(axes, 3)


def _forest(axes: Any, lines: Sequence[Any]) -> None:
    colours = {"better": SERIES[2], "worse": BAD}
    for place, line in enumerate(reversed(lines)):
        colour = colours.get(line.verdict, SERIES[5])
        axes.plot([line.ratio.low, line.ratio.high], [place, place], color=colour, linewidth=2)
        axes.plot(line.ratio.mid, place, marker="o", markersize=5, color=colour)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(
        range(len(lines)), [line.metric.replace("_per_s", "/s").replace("_", " ") for line in reversed(lines)]
    )
    axes.set(xscale="log")
    plain_ticks(axes.xaxis)
    axes.tick_params(axis="x", rotation=30)
