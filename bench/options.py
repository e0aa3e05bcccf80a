"""What the command line says, understood: loads, SLOs, targets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench import trace, workloads
from bench.errors import TargetError, WorkloadError
from bench.protocol import APIS, Api, Request, Target
from bench.statistics import Slo
from bench.workloads import Measure, Shape, Stage

WORKLOADS = ("random", "shared-prefix", "trace")


@dataclass(frozen=True)
class Load:
    """What to ask, and how much of it at a time.

    Attributes:
        workload: one of :data:`WORKLOADS`.
        shape: tokens of prompts and answers; not for traces.
        concurrency: a closed-loop stage each.
        rates: an open-loop stage each, requests a second; used instead of ``concurrency`` if there are any.
        requests: in a closed-loop stage; None: eight for each at a time, 64 at least.
        duration_s: of an open-loop stage.
        trace: the file's name and its lines.
        speed: of a trace.
        groups, share: of shared prefixes, see :func:`bench.workloads.shared_prefix`.
        seed: decides everything that is random.
        logprobs: ask for log-probabilities.
    """

    workload: str
    shape: Shape
    concurrency: tuple[int, ...]
    rates: tuple[float, ...] = ()
    requests: int | None = None
    duration_s: float = 30.0
    trace: tuple[str, Sequence[str]] | None = None
    speed: float = 1.0
    groups: int = 4
    share: float = 0.8
    seed: int = 0
    logprobs: bool = False

    def source(self, measure: Measure) -> Iterator[Request]:
        """The requests, without end; not for traces."""
        if self.workload == "shared-prefix":
            return workloads.shared_prefix(self.shape, measure, self.groups, self.share, self.seed)
        return workloads.fixed(self.shape, measure, self.seed)

    def stages(self, measure: Measure, source: Iterator[Request] | None = None) -> list[Stage]:
        """The stages of a run, numbered.

        Raises:
            WorkloadError: the trace is wrong, or there is nothing to send.
        """
        if self.trace is not None:
            name, lines = self.trace
            return [trace.parse(lines, name, measure, self.seed, self.speed)]
        source = source or self.source(measure)
        if self.rates:
            return workloads.ladder(source, self.rates, self.duration_s, self.seed)
        found = [workloads.closed(source, many, self.requests or max(64, 8 * many)) for many in self.concurrency]
        return [stage.as_round(number) for number, stage in enumerate(found)]

    def about(self) -> dict[str, Any]:
        """For ``run.json``."""
        loop = {"rates": list(self.rates)} if self.rates else {"concurrency": list(self.concurrency)}
        if self.trace is not None:
            return {"workload": "trace", "file": self.trace[0], "speed": self.speed, "seed": self.seed}
        prefix = {"groups": self.groups, "share": self.share} if self.workload == "shared-prefix" else {}
        return {"workload": self.workload, "shape": str(self.shape), **prefix, **loop, "seed": self.seed}


def numbers(text: str, name: str) -> tuple[float, ...]:
    """``1,2,4`` as numbers above 0.

    Raises:
        WorkloadError: they are none.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or any(not 0 < value < workloads.MAX_REQUESTS for value in found):
        raise WorkloadError(f"--{name} {text}: give a number above 0, or several with commas, such as 1,2,4.")
    return found


def whole_numbers(text: str, name: str) -> tuple[int, ...]:
    """``1,8,32`` as whole numbers above 0.

    Raises:
        WorkloadError: they are none.
    """
    found = numbers(text, name)
    if any(value != int(value) for value in found):
        raise WorkloadError(f"--{name} {text}: give whole numbers.")
    return tuple(int(value) for value in found)


def slo(given: Sequence[str]) -> Slo:
    """``ttft:500`` and so on, in milliseconds, as `vllm bench serve --goodput` takes them.

    Raises:
        WorkloadError: it is none.
    """
    bounds: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition(":")
        if name not in ("ttft", "tpot", "e2e"):
            raise WorkloadError(f"--slo {text}: give ttft:MS, tpot:MS or e2e:MS, such as ttft:500.")
        bounds[name] = numbers(value, f"slo {name}:")[0] / 1000
    return Slo(**bounds)


def headers(given: Sequence[str]) -> dict[str, str]:
    """``Name: value`` lines as headers.

    Raises:
        TargetError: one has no colon. Its text is not repeated: a key may be in it.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(given, 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or any(mark in line for mark in "\r\n"):
            raise TargetError(f"--header, the {number}. one: give 'Name: value'.")
        found[name.strip()] = value.strip()
    return found


def target(url: str, api: str, label: str, model: str | None, sent: Mapping[str, str]) -> Target:
    """Who is to be asked.

    Raises:
        TargetError: that is no address, or no API.
    """
    known: dict[str, Api] = {name: name for name in APIS}
    if api not in known:
        raise TargetError(f"--api {api}: it can be {', '.join(APIS)}.")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TargetError(f"{shown(url)!r} is no address of a service. It looks like http://localhost:8000.")
    return Target(url, known[api], sent, label, model)


def shown(url: str) -> str:
    """An address without a name and password in it, for results and messages."""
    try:
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        return url.rpartition("@")[2]


def is_address(text: str) -> bool:
    """Whether it is an address rather than a file."""
    return "://" in text
