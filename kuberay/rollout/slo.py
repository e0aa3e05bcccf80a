"""Whether a release keeps after the switch what it promised before: error rate and latency from counters. Pure.

A limit counts as broken only where that is shown: the lower end of a 95 % interval is beyond it. So few requests, or
bad luck, take no release back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from kuberay.rollout_config import Watch

_Z = NormalDist().inv_cdf(0.95)
"""One-sided: the question is only whether it is worse."""
_SLOW_SHARE = 0.01
"""Of the requests may be slower than the p99 they are held to."""
_SHOWN = 3


@dataclass(frozen=True)
class Sample:
    """What one pod had counted at one moment, since its processes began.

    Attributes:
        pod: its name; counters of different pods are never compared.
        at: when, s on any clock that all samples share.
        requests: answered, whatever the status.
        errors: answered with 5xx, or broken off by the server.
        ttft_buckets, e2e_buckets: cumulative histograms: by upper bound (s; ``inf`` last) the number of requests not
            slower. Empty where the pod does not export them.
        in_flight: requests it has just now.
        since: when the process that counts requests and errors began, s on its own clock.
    """

    pod: str
    at: float
    requests: float
    errors: float
    ttft_buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    e2e_buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    in_flight: float = 0
    since: float = 0


@dataclass(frozen=True)
class Health:
    """How it goes.

    Attributes:
        ok: nothing is shown to be wrong.
        judged: there was enough to judge by.
        text: in a sentence.
        figures: by name, units in the names; nan where unknown.
    """

    ok: bool
    judged: bool
    text: str
    figures: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Traffic:
    """What happened between the first and the last sample of each pod, all pods together.

    Attributes:
        requests, errors: how many.
        ttft, e2e: cumulative histograms of the time, as in :class:`Sample`.
    """

    requests: float
    errors: float
    ttft: Mapping[float, float]
    e2e: Mapping[float, float]


def samples_text(samples: Iterable[Sample]) -> str:
    """Samples as they are kept with a revision."""
    return json.dumps([asdict(sample) for sample in samples])


def samples_from(text: str) -> list[Sample]:
    """Back from :func:`samples_text`; none where nobody can read it."""
    try:
        return [_sample(**one) for one in json.loads(text or "[]")]
    except (ValueError, TypeError, AttributeError):
        return []


def _sample(ttft_buckets: Mapping[str, float], e2e_buckets: Mapping[str, float], **others: Any) -> Sample:
    """JSON has no numbers as keys."""
    ttft, e2e = ({float(bound): count for bound, count in one.items()} for one in (ttft_buckets, e2e_buckets))
    return Sample(**others, ttft_buckets=ttft, e2e_buckets=e2e)


def traffic(samples: Sequence[Sample]) -> Traffic:
    """Add up what each pod counted from its first sample on; a process that was replaced began anew at 0.

    What a pod had counted before its first sample (its start, a validation) is left out, so the first requests of a
    pod that came later are lost.
    """
    pods: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.at):
        pods.setdefault(sample.pod, []).append(sample)
    pairs = [pair for seen in pods.values() for pair in pairwise(seen)]
    # HAProxy is replaced, and counts from 0, whenever replicas come or go; what the old one counted last is lost.
    steps = [(a if a.since == b.since and a.requests <= b.requests else Sample(a.pod, a.at, 0, 0), b) for a, b in pairs]
    return Traffic(
        requests=sum(b.requests - a.requests for a, b in steps),
        errors=sum(max(0.0, b.errors - a.errors) for a, b in steps),
        ttft=_histogram(pods.values(), lambda sample: sample.ttft_buckets),
        e2e=_histogram(pods.values(), lambda sample: sample.e2e_buckets),
    )


def _histogram(pods: Iterable[list[Sample]], buckets: Callable[[Sample], Mapping[float, float]]) -> dict[float, float]:
    total: dict[float, float] = {}
    for seen in pods:
        known = [buckets(sample) for sample in seen if buckets(sample)]
        for a, b in pairwise(known):
            # Ray adds a new replica's series to those of dead ones, and drops these later: fewer means no news.
            if any(b.get(bound, 0) < count for bound, count in a.items()):
                continue
            for bound, count in b.items():
                total[bound] = total.get(bound, 0) + count - a.get(bound, 0)
    return dict(sorted(total.items()))


def quantile(buckets: Mapping[float, float], q: float) -> float:
    """The ``q``-quantile (0 to 1) of a cumulative histogram, s; linear within a bucket as Prometheus'
    ``histogram_quantile``, the highest finite bound for what is beyond it; nan for an empty one.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if total <= 0:
        return math.nan
    low, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= q * total:
            if math.isinf(bound):
                return low
            return bound if count <= below else low + (bound - low) * max(q * total - below, 0) / (count - below)
        low, below = bound, count
    return low


def at_least(count: float, of: float) -> float:
    """The share that is shown with 95 % confidence by ``count`` of ``of``: Wilson's lower bound (1927); 0 of none."""
    if count <= 0 or of <= 0:
        return 0.0
    share, z2 = min(count / of, 1.0), _Z**2
    middle = share + z2 / (2 * of)
    return max(0.0, (middle - _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))) / (1 + z2 / of))


def judge(
    before: Sequence[Sample], after: Sequence[Sample], limits: Watch, golden_failures: Sequence[str] = ()
) -> Health:
    """Compare what happened before the switch with what has happened since.

    Args:
        before: samples of the cluster that served, from some time before the switch up to it. None: latency is not
            judged, for want of something to hold it to.
        after: samples of the one that serves now, from the switch on.
        golden_failures: answers that were wrong since; any is a breach, however few requests there were.
    """
    old, new = traffic(before), traffic(after)
    p99 = quantile(old.ttft, 0.99)
    slow_from, slow = _slow(old.ttft, new.ttft, limits)
    figures = {
        "requests": new.requests,
        "errors": new.errors,
        "error_rate": new.errors / new.requests if new.requests else math.nan,
        "error_rate_before": old.errors / old.requests if old.requests else math.nan,
        "ttft_p99_s": quantile(new.ttft, 0.99),
        "ttft_p99_before_s": p99,
        "e2e_p99_s": quantile(new.e2e, 0.99),
        "e2e_p99_before_s": quantile(old.e2e, 0.99),
        "in_flight": sum(sample.in_flight for sample in _latest(after)),
    }
    wrong: list[str] = []
    if golden_failures:
        more = f"; and {len(golden_failures) - _SHOWN} more" if len(golden_failures) > _SHOWN else ""
        wrong.append(f"wrong answers: {'; '.join(golden_failures[:_SHOWN])}{more}")
    enough = new.requests >= limits.min_requests
    if enough and at_least(new.errors, new.requests) > limits.max_error_rate:
        wrong.append(
            f"{new.errors:.0f} of {new.requests:.0f} requests failed "
            f"({100 * figures['error_rate']:.3g} %, allowed: {100 * limits.max_error_rate:.3g} %)"
        )
    timed = new.ttft.get(math.inf, 0)
    if timed >= limits.min_requests and at_least(slow, timed) > _SLOW_SHARE:
        wrong.append(
            f"{100 * slow / timed:.3g} % of the first tokens took longer than {slow_from:g} s; 99 % came within "
            f"{p99:.3g} s before, allowed: {limits.max_ttft_p99_ratio:g} times as long"
        )
    if wrong:
        return Health(False, True, "; ".join(wrong), figures)
    if not enough:
        text = f"{new.requests:.0f} requests since the switch; {limits.min_requests} are needed to judge by"
        return Health(True, False, text, figures)
    text = f"{new.errors:.0f} of {new.requests:.0f} requests failed"
    if timed:
        text += f", first tokens within {figures['ttft_p99_s']:.3g} s (p99)"
        text += "" if math.isnan(p99) else f", {p99:.3g} s before"
    return Health(True, True, text, figures)


def _slow(old: Mapping[float, float], new: Mapping[float, float], limits: Watch) -> tuple[float, float]:
    """From which time on a first token is too late, and how many were later.

    That time is the first bucket's bound at or above the limit, so that nothing depends on where in a bucket the times
    lie. 0 of them where there was too little before to hold anything to, or the limit is beyond the last bound.
    """
    if old.get(math.inf, 0) < limits.min_requests:
        return math.inf, 0.0
    limit = quantile(old, 0.99) * limits.max_ttft_p99_ratio
    bound = min((bound for bound in new if bound >= limit), default=math.inf)
    return bound, new.get(math.inf, 0) - new.get(bound, 0)


def _latest(samples: Sequence[Sample]) -> list[Sample]:
    """Each pod's last sample, of those that were there in the last round."""
    last = max((sample.at for sample in samples), default=0.0)
    return [sample for sample in samples if sample.at == last]
