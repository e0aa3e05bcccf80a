"""What the HTTP side and the Python handle need of an engine. Pure: the seam at which tests put a fake."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from serve_app.errors import GenerationFailed
from serve_app.schema import Delta, Event, GenerateRequest, GenerateResponse


@dataclasses.dataclass(frozen=True)
class Health:
    """Whether the engine answers.

    Attributes:
        ok: it took a step within the window, and has not died.
        last_step_age_s: seconds since it last took one.
        in_flight: requests in the engine, waiting and running.
        reason: why it is not ok.
    """

    ok: bool
    last_step_age_s: float
    in_flight: int
    reason: str | None = None


class Engine(Protocol):
    """What the HTTP side and the Python handle need of an engine."""

    def stream(self, request: GenerateRequest, request_id: str) -> AsyncGenerator[Event, None]:
        """Generate: deltas, then one :class:`Finished`. Closing the generator aborts the request in the engine.

        Raises:
            BadRequest: before the first event, if the model cannot take the request.
            EngineUnavailable: before the first event, if the engine is dead or full.
            GenerationFailed: at any time.
        """
        ...

    def health(self) -> Health: ...

    def release(self) -> dict[str, Any]: ...


async def collect(events: AsyncGenerator[Event, None], request_id: str) -> GenerateResponse:
    """The whole answer out of a stream of events.

    Raises:
        RequestError: whatever the stream raises, or its missing end.
    """
    pieces: list[str] = []
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, Delta):
                pieces.append(event.text)
            else:
                end = event
                return GenerateResponse(
                    id=request_id,
                    text="".join(pieces),
                    finish_reason=end.finish_reason,
                    usage=end.usage,
                    model=end.model,
                    release=end.release,
                )
    raise GenerationFailed("The answer ended without a finish reason.")
