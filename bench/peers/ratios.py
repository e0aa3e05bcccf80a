"""What the rounds say: figures of each server, and the ratios that the targets are about. Pure.

A ratio is made within each round, of servers that were measured minutes apart; what is reported is the median of the
rounds' ratios, with the bootstrap interval of :func:`bench.bootstrap.bootstrap_rounds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.bootstrap import MEDIAN, Percentile, Statistic, bootstrap_rounds
from bench.peers.processes import KINDS
from bench.peers.store import Load, Visit
from bench.statistics import metric, summary

Values = Callable[[Load], Sequence[float]]


def throughput(load: Load) -> list[float]:
    """Requests a second that ended well."""
    return [summary(load.records).requests_per_s]


def ttft(load: Load) -> list[float]:
    """Times to the first token, s."""
    return metric(load.records, "ttft")


def cpu_ms(load: Load, kind: str) -> float:
    """CPU milliseconds a request that a kind of process took; ``client``: the load generator."""
    good = sum(record.ok for record in load.records)
    spent = load.client_cpu_s if kind == "client" else load.cpu_s.get(kind, 0.0)
    return spent / good * 1e3 if good else math.nan


def server_cpu(load: Load) -> list[float]:
    """CPU milliseconds a request of the API server, or of the replica in its place."""
    return [cpu_ms(load, "server")]


@dataclass(frozen=True)
class Wanted:
    """A ratio that is reported.

    Attributes:
        name: its key in ``build/bench.json``.
        what: in words.
        load, server: what is above the line.
        other_load, other: what is below it.
        values, statistic: of each load.
        target: what it must reach.
        at_most: whether the target is an upper bound.
    """

    name: str
    what: str
    load: str
    other: str
    values: Values
    statistic: Statistic
    target: float | None
    at_most: bool = False
    server: str = "switchyard"
    below: str = ""

    def reached(self, ratio: float) -> bool | None:
        """Whether the target is met; None where nothing can be said."""
        if self.target is None or math.isnan(ratio):
            return None
        return ratio <= self.target if self.at_most else ratio >= self.target


@dataclass(frozen=True)
class Ratio:
    """What came of it: the median of the rounds' ratios, and the interval; infinite where there are too few rounds."""

    wanted: Wanted
    mid: float
    low: float
    high: float
    rounds: int


def wanted(cores: int) -> list[Wanted]:
    """The ratios; how much of bare's throughput is wanted depends on whether client and server have a core each."""
    share = 0.95 if cores >= 4 else 0.80
    p99 = Percentile(99)
    bare, llm, at_32, ours = "vllm serve", "ray.serve.llm", "32 at a time", "switchyard"
    handle = "Python handle / HTTP"
    return [
        Wanted("throughput_c32", f"throughput, {at_32} / {bare}", "c32", "bare", throughput, MEDIAN, share),
        Wanted("throughput_c64", f"throughput, 64 at a time / {bare}", "c64", "bare", throughput, MEDIAN, share),
        Wanted("ttft_open_p50", f"TTFT p50, open loop / {bare}", "open", "bare", ttft, MEDIAN, 1.15, True),
        Wanted("ttft_open_p99", f"TTFT p99, open loop / {bare}", "open", "bare", ttft, p99, 1.5, True),
        Wanted("replica_cpu", f"replica's CPU, {at_32} / {bare}", "c32", "bare", server_cpu, MEDIAN, 1.15, True),
        Wanted("replica_cpu_open", f"the same, open loop / {bare}", "open", "bare", server_cpu, MEDIAN, None, True),
        Wanted("vs_ray_serve_llm", f"throughput, {at_32} / {llm}", "c32", "ray-default", throughput, MEDIAN, None),
        Wanted("vs_ray_serve_llm_best", f"throughput, {at_32} / its best", "c32", "ray-best", throughput, MEDIAN, 1.3),
        Wanted(
            "handle_vs_http", f"{handle}, whole answers: throughput", "handle whole", ours, throughput, MEDIAN,
            0.9, below="http whole",
        ),
        Wanted(
            "handle_vs_http_stream", f"{handle}, streams: throughput", "handle stream", ours, throughput, MEDIAN,
            None, below="http stream",
        ),
    ]  # fmt: skip


def ratio(wanted: Wanted, visits: Sequence[Visit]) -> Ratio:
    """One ratio, from the rounds that have both of its sides."""
    above = _by_round(visits, wanted.server, wanted.load, wanted.values)
    below = _by_round(visits, wanted.other, wanted.below or wanted.load, wanted.values)
    numbers = sorted(above.keys() & below.keys())
    pairs = [(below[number], above[number]) for number in numbers if below[number] and above[number]]
    if not pairs:
        return Ratio(wanted, math.nan, 0.0, math.inf, 0)
    each = [wanted.statistic(ours) / max(wanted.statistic(others), 1e-9) for others, ours in pairs]
    interval = bootstrap_rounds([one for one, _ in pairs], [other for _, other in pairs], wanted.statistic)
    return Ratio(wanted, median(each), interval.low, interval.high, len(pairs))


def _by_round(visits: Sequence[Visit], server: str, load: str, values: Values) -> dict[int, Sequence[float]]:
    return {
        visit.number: values(visit.loads[load]) for visit in visits if visit.server == server and load in visit.loads
    }


@dataclass(frozen=True)
class Figures:
    """A server under one load: medians over the rounds.

    Attributes:
        server, load: which.
        requests_per_s: throughput.
        ttft_p50, ttft_p99, tpot_p50: s.
        cpu_ms: CPU milliseconds a request, by kind of process, and ``client``.
        background_cores: cores that Ray's own processes and helpers used.
        failed: requests, of all rounds.
    """

    server: str
    load: str
    requests_per_s: float
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float
    cpu_ms: dict[str, float]
    background_cores: float
    failed: int


def figures(visits: Sequence[Visit]) -> list[Figures]:
    """Every load of every server, in the order of the visits."""
    found: dict[tuple[str, str], list[Load]] = {}
    for visit in visits:
        for load in visit.loads.values():
            found.setdefault((visit.server, load.name), []).append(load)
    return [_figures(server, name, loads) for (server, name), loads in found.items()]


def _figures(server: str, name: str, loads: Sequence[Load]) -> Figures:
    each = [summary(load.records) for load in loads]
    return Figures(
        server=server,
        load=name,
        requests_per_s=median(one.requests_per_s for one in each),
        ttft_p50=median(one.ttft.p50 for one in each),
        ttft_p99=median(one.ttft.p99 for one in each),
        tpot_p50=median(one.tpot.p50 for one in each),
        cpu_ms={kind: median(cpu_ms(load, kind) for load in loads) for kind in (*KINDS, "client")},
        background_cores=median(load.cpu_s.get("background", 0.0) / load.wall_s for load in loads),
        failed=sum(one.failed for one in each),
    )
