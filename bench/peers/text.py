"""The results as text: the section of ``docs/performance.md``, and ``build/bench.json``. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import ResultError
from bench.peers.processes import KINDS
from bench.peers.ratios import Figures, Ratio
from bench.peers.servers import TITLES
from bench.peers.store import Plan, Visit
from bench.tables import as_json

RATIO_HEADER = ("ratio, Switchyard's above the line", "median", "95 % interval", "target", "")
LOAD_HEADER = ("server", "load", "req/s", "TTFT p50 ms", "TTFT p99 ms", "TPOT p50 ms", "failed")
CPU_HEADER = ("server", "load", *KINDS[:-1], "background, cores", "client")
ROOFLINE_HEADER = ("server", "load", "tokens/s", "ceiling", "share of it")
START_HEADER = ("server", "start to first answer s", "memory MiB", "of these the server", "engine core", "worker")

Rows = Sequence[Sequence[str]]


def ratio_rows(ratios: Sequence[Ratio]) -> list[list[str]]:
    """A line a ratio."""
    found: list[list[str]] = []
    for one in ratios:
        wanted, reached = one.wanted, one.wanted.reached(one.mid)
        target = "" if wanted.target is None else f"{'<=' if wanted.at_most else '>='} {wanted.target:g}"
        interval = f"{one.low:.2f}-{one.high:.2f}" if math.isfinite(one.high) else "-"
        said = {True: "met", False: "missed", None: ""}[reached]
        found.append([wanted.what, _number(one.mid, 2), interval, target, said])
    return found


def load_rows(figures: Sequence[Figures]) -> list[list[str]]:
    """A line a server and load."""
    return [
        [
            TITLES[one.server],
            one.load,
            _number(one.requests_per_s, 1),
            _number(one.ttft_p50 * 1e3, 0),
            _number(one.ttft_p99 * 1e3, 0),
            _number(one.tpot_p50 * 1e3, 1),
            str(one.failed),
        ]
        for one in figures
    ]


def cpu_rows(figures: Sequence[Figures]) -> list[list[str]]:
    """A line a server and load: CPU milliseconds a request by kind of process, Ray's own in cores."""
    return [
        [
            TITLES[one.server],
            one.load,
            *(_number(one.cpu_ms[kind], 1) if one.cpu_ms[kind] else "-" for kind in KINDS[:-1]),
            _number(one.background_cores, 3),
            _number(one.cpu_ms["client"], 1),
        ]
        for one in figures
    ]


def start_rows(visits: Sequence[Visit]) -> list[list[str]]:
    """A line a server."""
    found: list[list[str]] = []
    for server in dict.fromkeys(visit.server for visit in visits):
        own = [visit for visit in visits if visit.server == server]
        memory = {kind: median(visit.memory_mib.get(kind, 0.0) for visit in own) for kind in KINDS}
        found.append(
            [
                TITLES[server],
                _number(median(visit.started_s for visit in own), 0),
                _number(sum(memory.values()), 0),
                *(_number(memory[kind], 0) for kind in ("server", "engine core", "worker")),
            ]
        )
    return found


def roofline_rows(plan: Plan, figures: Sequence[Figures], ceilings: Mapping[str, float]) -> list[list[str]]:
    """A line a server and closed loop: output tokens a second beside what the GPU allows (:mod:`bench.roofline`)."""
    return [
        [
            TITLES[one.server],
            one.load,
            _number(one.requests_per_s * plan.answer, 0),
            _number(ceilings[one.load], 0),
            f"{one.requests_per_s * plan.answer / ceilings[one.load]:.0%}",
        ]
        for one in figures
        if one.load in ceilings
    ]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def load_of_machine(visits: Sequence[Visit]) -> str:
    """How busy the machine was before the visits, in words."""
    loads = sorted(visit.machine_load for visit in visits)
    others = sorted(load.others for visit in visits for load in visit.loads.values())
    if not others:
        return "nothing measured yet"
    return (
        f"load average before each start {loads[0]:.1f} to {loads[-1]:.1f}; other work took {others[0]:.2f} to "
        f"{others[-1]:.2f} cores beside the loads (median {median(others):.2f})"
    )


def target(plan: Plan) -> str:
    """Of the Makefile."""
    return "bench-gpu" if plan.gpu else "bench"


def marks(plan: Plan) -> tuple[str, str]:
    """The lines of the page that the section stands between."""
    return f"<!-- make {target(plan)}: begin -->", f"<!-- make {target(plan)}: end -->"


def as_document(
    plan: Plan,
    about: Mapping[str, Any],
    visits: Sequence[Visit],
    ratios: Sequence[Ratio],
    found: Sequence[Figures],
    ceilings: Mapping[str, float],
) -> str:
    """The section as Markdown, between its two marks."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = load_of_machine(visits)
    begin, end = marks(plan)
    engine = f"{plan.prompt}/{plan.answer} tokens, {plan.dtype}" + ("" if plan.gpu else ", eager")
    where = f"{plan.gpu}, " if plan.gpu else ""
    roofline = ["", *_table(ROOFLINE_HEADER, roofline_rows(plan, found, ceilings))] if ceilings else []
    return "\n".join(
        [
            begin,
            f"{about['date']}, {where}{about['cores']} cores ({about['cpu']}), commit `{about['commit']}`, {versions}. "
            f"{machine[0].upper()}{machine[1:]}. {Path(plan.model).name}, {engine}; "
            f"{ratios[0].rounds if ratios else 0} rounds, medians. `make {target(plan)}`",
            "",
            f"![Throughput, and CPU time a request, by server](pictures/{target(plan)}.png)",
            "",
            *_table(RATIO_HEADER, ratio_rows(ratios)),
            "",
            *_table(LOAD_HEADER, load_rows(found)),
            *roofline,
            "",
            "CPU milliseconds a request, by process:",
            "",
            *_table(CPU_HEADER, cpu_rows(found)),
            "",
            *_table(START_HEADER, start_rows(visits)),
            end,
        ]
    )


def _table(header: Sequence[str], rows: Rows) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def replaced(page: str, section: str) -> str:
    """The page with what is between the marks replaced; they are the section's first and last line.

    Raises:
        ResultError: the marks are not there, once each and in order.
    """
    begin, *_, end = section.splitlines()
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended or begin in rest or end in after:
        raise ResultError(f"The page has not one '{begin}' and one '{end}' after it. Put them where the tables go.")
    return before + section + after


def as_file(
    plan: Plan, about: Mapping[str, Any], visits: Sequence[Visit], ratios: Sequence[Ratio], found: Sequence[Figures]
) -> dict[str, Any]:
    """``build/bench.json``."""
    return {
        "about": {**about, "machine_load": load_of_machine(visits)},
        "plan": as_json(plan),
        "complete": len(visits) == plan.rounds * len(plan.servers),
        "ratios": {one.wanted.name: as_json(one.mid) for one in ratios},
        "intervals": {one.wanted.name: as_json([one.low, one.high]) for one in ratios},
        "rounds": {one.wanted.name: one.rounds for one in ratios},
        "figures": as_json(list(found)),
    }
