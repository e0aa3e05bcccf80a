"""Whether a release keeps after the switch what it promised before: error rate and latency from counters. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kuberay.rollout_config import Watch


@dataclass(frozen=True)
class Sample:
    """What one pod had counted at one moment, since its processes began.

    Attributes:
        pod: its name; counters of different pods are never compared.
        at: when, s on any clock that all samples share.
        requests: answered, whatever the status.
        errors: answered with 5xx, or not at all.
        ttft_buckets, e2e_buckets: cumulative histograms: by upper bound (s; ``inf`` last) the number of requests not
            slower. Empty where the pod could not be asked.
        in_flight: requests it has just now.
    """

    pod: str
    at: float
    requests: float
    errors: float
    ttft_buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    e2e_buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    in_flight: float = 0


@dataclass(frozen=True)
class Health:
    """How it goes.

    Attributes:
        ok: nothing is shown to be wrong.
        judged: there was enough to judge by.
        text: in a sentence.
        figures: by name, units in the names.
    """

    ok: bool
    judged: bool
    text: str
    figures: Mapping[str, float] = field(default_factory=dict[str, float])


def judge(
    before: Sequence[Sample], after: Sequence[Sample], limits: Watch, golden_failures: Sequence[str] = ()
) -> Health:
    """Compare what happened between the first and the last sample of each pod, before the switch and after it."""
    raise NotImplementedError
