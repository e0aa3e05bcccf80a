"""What was measured of a new release and of the one that serves: requests and answers, nothing concluded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records import Record


@dataclass(frozen=True)
class Reply:
    """What came back to one request of :func:`kuberay.rollout.validation.contract.calls`.

    Attributes:
        call: the request's name there.
        status: HTTP status, 0 where there was no answer.
        headers: names in lower case.
        body: the answer's text, a long one cut.
        error: why there was no answer, or no whole one; '' where there was.
    """

    call: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""
    error: str = ""


@dataclass(frozen=True)
class Sides:
    """The requests of one check to both releases. ``index`` pairs the same prompt, ``round`` the same round."""

    green: tuple[Record, ...] = ()
    blue: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Everything one validation measured. None (or an absent side): it was not measured.

    Attributes:
        release: that was expected to answer.
        model: the model name that was asked for.
        against: the release beside it; empty where none served.
        embeds: it is a model for embeddings, which generates no text.
        keyed: an API key is asked for.
        replies: to the fixed requests of the checks ``contract`` and ``streaming``.
        streamed, whole: the same prompts, asked for as a stream and as one answer; paired by ``index``.
        golden: in the order of the golden prompts.
        ready: ready endpoints of the new release and of the one that serves (None: no such).
        replay_fault: why the trace could not be read.
        stopped: the check before which, or in which, it was told to stop; '' if it went to the end.
        seconds: how long it all took.
    """

    release: str
    model: str
    against: str = ""
    embeds: bool = False
    keyed: bool = False
    replies: tuple[Reply, ...] | None = None
    streamed: tuple[Record, ...] | None = None
    whole: tuple[Record, ...] | None = None
    golden: tuple[Record, ...] | None = None
    answers: Sides | None = None
    latency: Sides | None = None
    throughput: Sides | None = None
    soak: tuple[Record, ...] | None = None
    replay: tuple[Record, ...] | None = None
    replay_fault: str = ""
    ready: tuple[int | None, int | None] = (None, None)
    stopped: str = ""
    seconds: float = 0.0
