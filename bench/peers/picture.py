"""One picture of the comparison: throughput as requests at a time grow, and where the CPU time of a request goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.peers.processes import KINDS
from bench.peers.ratios import Figures
from bench.peers.servers import TITLES
from bench.plots import SERIES, Plot, painted, style

_SIZE = (9.2, 3.6)
_STACKED = (*KINDS, "client")


def draw(figures: Sequence[Figures], at: str) -> Plot:
    """The picture.

    Args:
        figures: of all servers and loads.
        at: the closed loop whose CPU time is shown, such as ``c32``.

    Raises:
        ToolMissing: matplotlib is not installed.
    """

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _throughput(left, figures)
        _cpu(right, [one for one in figures if one.load == at], at)

    with style():
        return painted("peers", "Beside its peers", "", paint, _SIZE)


def _throughput(axes: Any, figures: Sequence[Figures]) -> None:
    for colour, server in zip(SERIES, dict.fromkeys(one.server for one in figures), strict=False):
        closed = [one for one in figures if one.server == server and one.load[1:].isdigit()]
        axes.plot(
            [one.load[1:] for one in closed], [one.requests_per_s for one in closed], "o-", color=colour,
            label=TITLES[server],
        )  # fmt: skip
    axes.set(xlabel="requests at a time", ylabel="requests a second", ylim=(0, None))
    axes.legend(loc="upper left", fontsize=8)


def _cpu(axes: Any, figures: Sequence[Figures], at: str) -> None:
    names = [TITLES[one.server] for one in figures]
    reached = [0.0] * len(figures)
    for colour, kind in zip((*SERIES, "#b8bec8"), _STACKED, strict=True):
        own = [one.cpu_ms[kind] for one in figures]
        if any(own):
            axes.barh(names, own, left=reached, color=colour, label=kind, height=0.6)
        reached = [before + more for before, more in zip(reached, own, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel=f"CPU ms a request, {at[1:]} at a time")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper right", fontsize=8)
