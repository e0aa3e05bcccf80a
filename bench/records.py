"""One request as it was measured, and how it is kept: one JSON object a line. Pure: stdlib only.

All times are seconds. Those that say when are counted from the beginning of the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from bench.errors import ResultError

GIVEN_UP = "given up by the client before the end"
"""The error of a request that was running when its run was ended: nobody's failure."""


@dataclass(frozen=True)
class Record:
    """What became of one request.

    Attributes:
        index: its number in the workload. The same number is the same input, whoever was asked.
        target: the label of who was asked.
        at: when it was due; ``sent - at`` is the client's own delay.
        sent: when it was handed to the connection pool, so that connecting counts.
        first: when the first token was there; None if none came. A whole (not streamed) answer comes at once.
        gaps: time between one token event and the next. A server that puts several tokens into one event, or a network
            that joins events, makes fewer gaps than tokens, or gaps of 0.
        ended: when the answer, or the failure, was complete.
        status: HTTP status; 0 when there was no answer.
        finish_reason: why the generation ended, in the server's words. None: it did not, and the request has failed.
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not say. A failed request has what
            had arrived: its token events.
        text: the answer.
        tokens, logprobs: each token of the answer and its log-probability, where asked for; else None.
        served_by: the release (or whatever the server calls it) that answered, '' where it does not say.
        error: what went wrong, in one sentence; '' if nothing did.
        round: the round of a comparison, the step of a ladder; 0 otherwise.
        retry_after: the header of that name, of a service that asks to come again; '' without.
    """

    index: int
    target: str
    at: float
    sent: float
    first: float | None
    gaps: tuple[float, ...]
    ended: float
    status: int
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    text: str = ""
    tokens: tuple[str, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    served_by: str = ""
    error: str = ""
    round: int = 0
    retry_after: str = ""

    @property
    def ok(self) -> bool:
        """Whether the answer is whole: it ended for a reason that the server gave, and nothing went wrong."""
        return not self.error and self.finish_reason is not None

    @property
    def ttft(self) -> float | None:
        """Time to first token, s, from sending; None if no token came."""
        return None if self.first is None else self.first - self.sent

    @property
    def itl(self) -> list[float]:
        """Inter-token latencies, s: the gaps."""
        return list(self.gaps)

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first, s; None for fewer than two tokens.

        As `vllm bench serve` defines it: (end to end - time to first token) / (output tokens - 1).
        """
        if self.first is None or self.completion_tokens < 2:
            return None
        return (self.ended - self.first) / (self.completion_tokens - 1)

    @property
    def e2e(self) -> float:
        """Time from sending to the end, s."""
        return self.ended - self.sent

    @property
    def lag(self) -> float:
        """How late the client sent it, s. Large ones mean that the client was the bottleneck."""
        return max(0.0, self.sent - self.at)


_NAMES = {field.name for field in fields(Record)}
_REQUIRED = ("index", "target", "at", "sent", "ended", "status")
_LEFT_OUT: dict[str, Any] = {
    "first": None,
    "gaps": (),
    "finish_reason": None,
    "prompt_tokens": 0,
    "completion_tokens": 0,
}
_DIGITS = 6  # microseconds


def to_line(record: Record) -> str:
    """The record as one line of JSON, without the newline. Times are rounded to microseconds."""
    data = asdict(record)
    for name in ("at", "sent", "first", "ended"):
        if data[name] is not None:
            data[name] = round(data[name], _DIGITS)
    data["gaps"] = [round(gap, _DIGITS) for gap in record.gaps]
    return json.dumps({name: value for name, value in data.items() if value not in (None, "")}, ensure_ascii=False)


def from_line(line: str) -> Record:
    """A record from a line of JSON.

    Raises:
        ValueError: it is none.
    """
    parsed: object = json.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    data = cast("dict[str, Any]", parsed)
    if absent := [name for name in _REQUIRED if name not in data]:
        raise ValueError(f"no '{absent[0]}'")
    known: dict[str, Any] = {name: value for name, value in data.items() if name in _NAMES}  # others: a newer version's
    for name in ("gaps", "tokens", "logprobs"):
        if known.get(name) is not None:
            known[name] = tuple(known[name])
    record = Record(**{**_LEFT_OUT, **known})
    times = (record.at, record.sent, record.ended, *record.gaps, *(() if record.first is None else (record.first,)))
    if any(type(time) not in (int, float) or not math.isfinite(time) for time in times):
        raise ValueError("a time is no number")
    return record


def read(lines: Iterable[str], source: str) -> list[Record]:
    """The records of a file. A last line that is broken (a run that was killed while writing) is left out.

    Raises:
        ResultError: any other line is no record.
    """
    found: list[Record] = []
    broken: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if broken:
            raise ResultError(
                f"{source}:{broken[0]}: not a record of a request ({broken[1]}). Give the .jsonl file that "
                "'switchyard bench' wrote."
            )
        try:
            found.append(from_line(line))
        except (ValueError, TypeError) as error:
            broken = (number, str(error))
    if broken and not found:
        raise ResultError(
            f"{source}:{broken[0]}: not a record of a request ({broken[1]}). Give the .jsonl file that "
            "'switchyard bench' wrote."
        )
    return found
