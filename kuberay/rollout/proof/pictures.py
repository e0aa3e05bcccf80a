"""The pictures of a rollout: who answered when, and how soon. Edge: matplotlib, by way of `bench.plots`.

Each is drawn twice: narrow for a phone, and wide. Phases are marked by their numbers in the report's list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import ToolMissing
from bench.plots import BAD, INK, SERIES, Plot, painted, plain_ticks, style
from kuberay.rollout.proof.story import Story, crossed
from kuberay.rollout.proof.trips import Outcome, Trip

NARROW, WIDE = (4.6, 4.8), (11.0, 5.2)
_BINS = 240
_MOST_POINTS = 700
_BEFORE_S, _AFTER_S = 30.0, 45.0
_DROPPED, _UNNAMED = "dropped", "release not told"


@dataclass(frozen=True)
class Picture:
    """One picture in two shapes."""

    narrow: Plot
    wide: Plot


def draw(story: Story) -> tuple[list[Picture], str]:
    """The whole rollout, and each switch from near; none without requests, or, as is then said, without matplotlib."""
    trips = story.trips
    if not trips:
        return (
            [],
            "No requests beside this rollout are kept, so there is no picture of its traffic. --load sends some, and "
            "keeps them when its command ends.",
        )
    try:
        return _drawn(story, trips), ""
    except ToolMissing:
        return [], "There are no pictures: matplotlib is not installed. make dev, or pip install 'switchyard[bench]'."


def _drawn(story: Story, trips: Sequence[Trip]) -> list[Picture]:
    begins = min(story.began, trips[0].sent)
    ends = max([one.ended for one in trips] + [one.ends for one in story.phases])
    spans = [("traffic", "Traffic during the whole rollout", begins, ends)]
    for place, at in enumerate(crossed(story)):
        name = "The switch" if place == 0 else "The way back"
        spans.append((f"crossing-{place + 1}", f"{name} from near", at - _BEFORE_S, at + _AFTER_S))
    colours = _colours(story, trips)
    with style():
        return [
            Picture(*(_painted(story, trips, colours, name, title, (low, high), size) for size in (NARROW, WIDE)))
            for name, title, low, high in spans
        ]


def _painted(
    story: Story,
    trips: Sequence[Trip],
    colours: Mapping[str, str],
    name: str,
    title: str,
    span: tuple[float, float],
    size: tuple[float, float],
) -> Plot:
    low, high = span
    seen = [one for one in trips if one.ended >= low and one.sent <= high]
    unit, per = ("minutes", 60.0) if high - low > 900 else ("s", 1.0)

    def paint(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        scaled = (low - story.began) / per, (high - story.began) / per
        _in_flight(top, seen, colours, story.began, per, span)
        _ttft(bottom, seen, colours, story.began, per)
        _marks(top, bottom, story, per, scaled, size[0])
        top.set(ylabel="requests in flight", xlim=scaled)
        top.set_ylim(bottom=0)
        bottom.set(xlabel=f"{unit} since the beginning", ylabel="first token, ms")
        handles, labels = top.get_legend_handles_labels()
        if labels:
            names = {story.record.blue.release: " (before)", story.record.green.release: " (new)"}
            labels = [f"{one}{names.get(one, '')}" for one in labels]
            figure.legend(handles, labels, loc="outside lower center", ncols=1 if size is NARROW else len(labels))

    caption = "Requests in flight by what became of them, and each one's time to the first token; crosses failed."
    return painted(name, title, caption, paint, size, salt=str(size))


def _colours(story: Story, trips: Sequence[Trip]) -> dict[str, str]:
    """By what is drawn, in the order in which it is stacked."""
    fixed = {story.record.blue.release: SERIES[0], story.record.green.release: SERIES[2], "": SERIES[5]}
    found = {release: fixed[release] for release in fixed if release and _any(trips, release)}
    others = sorted({one.release for one in trips} - set(fixed))
    found |= {release: SERIES[3 + place % 2] for place, release in enumerate(others)}
    if _any(trips, ""):
        found[_UNNAMED] = SERIES[5]
    return found | {_DROPPED: BAD} if any(one.outcome is Outcome.DROPPED for one in trips) else found


def _any(trips: Sequence[Trip], release: str) -> bool:
    return any(one.release == release and one.outcome is not Outcome.DROPPED for one in trips)


def _key(one: Trip) -> str:
    return _DROPPED if one.outcome is Outcome.DROPPED else one.release or _UNNAMED


def _in_flight(
    axes: Any, trips: Sequence[Trip], colours: Mapping[str, str], began: float, per: float, span: tuple[float, float]
) -> None:
    """Averages over short times: right for requests that stand for others, too."""
    low, high = span
    width = (high - low) / _BINS
    heights = {name: [0.0] * _BINS for name in colours}
    for one in trips:
        first = max(0, math.floor((one.sent - low) / width))
        last = min(_BINS - 1, math.floor((one.ended - low) / width))
        for place in range(first, last + 1):
            begins = low + place * width
            overlap = min(one.ended, begins + width) - max(one.sent, begins)
            heights[_key(one)][place] += one.weight * max(0.0, overlap) / width
    drawn = {name: values for name, values in heights.items() if any(values)}
    places = [(low + (number + 0.5) * width - began) / per for number in range(_BINS)]
    if drawn:
        axes.stackplot(
            places,
            *drawn.values(),
            colors=[colours[name] for name in drawn],
            labels=list(drawn),
            alpha=0.8,
            linewidth=0,
        )


def _ttft(axes: Any, trips: Sequence[Trip], colours: Mapping[str, str], began: float, per: float) -> None:
    step = max(1, -(-len(trips) // _MOST_POINTS))
    lowest = math.inf
    for name, colour in colours.items():
        points = [
            ((one.sent - began) / per, one.ttft * 1000)
            for one in trips
            if _key(one) == name and one.outcome is Outcome.FINISHED and one.ttft
        ]
        if points:
            axes.scatter(*zip(*points[::step], strict=True), s=8, color=colour, alpha=0.7, linewidths=0)
            lowest = min(lowest, *(value for _, value in points))
    bad = [(one.ended - began) / per for one in trips if one.outcome is Outcome.DROPPED]
    if bad:
        floor = lowest if math.isfinite(lowest) else 1
        axes.scatter(bad, [floor] * len(bad), marker="x", s=26, color=BAD)
    axes.set(yscale="log")
    plain_ticks(axes.yaxis)


def _marks(top: Any, bottom: Any, story: Story, per: float, span: tuple[float, float], inches: float) -> None:
    """Where phases begin. Numbers that would stand upon each other are joined."""
    room = (span[1] - span[0]) * 0.22 / inches
    groups: list[tuple[list[int], float]] = []
    for phase in story.phases:
        at = (phase.begins - story.began) / per
        if not span[0] <= at <= span[1]:
            continue
        for axes in (top, bottom):
            axes.axvline(at, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        if groups and at - groups[-1][1] < room * (len(groups[-1][0]) + 0.5):
            groups[-1][0].append(phase.number)
        else:
            groups.append(([phase.number], at))
    for numbers, at in groups:
        place = "left" if at < span[0] + room else "right" if at > span[1] - room else "center"
        text = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        top.text(at, 1.03, text, transform=top.get_xaxis_transform(), ha=place, va="bottom", fontsize=9)
