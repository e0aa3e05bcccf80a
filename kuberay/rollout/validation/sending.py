"""Sends requests to a release: one by one, at a load, in turn with another release, as a trace says. Edge: HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import aiohttp

from bench.client import Api, Request, Target, send
from bench.records import Record
from kuberay.rollout.validation.contract import Call
from kuberay.rollout.validation.evidence import Reply, Sides

_MAX_REPLY = 1 << 20
_PLAIN_S = 20.0
"""Longest time for a request that generates nothing, s."""
_PATIENCE = 5
"""Failures on end after which a comparison is given up."""
_POLL_S = 0.5
"""How often ``stop`` is asked while a trace has nothing to send, s."""


@dataclass(frozen=True)
class Place:
    """Where one release can be asked.

    Attributes:
        url: such as ``http://127.0.0.1:41231``, of :meth:`kuberay.api.client.Api.forward`.
        label: for texts, ``green`` or ``blue``.
        release: the id that ``/release`` and every answer must name.
        model: the served name.
        api_key: sent with every request; never shown.
        embeds: it is a model for embeddings.
    """

    url: str
    label: str
    release: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    embeds: bool = False

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key is not None else {}


class Sender:
    """Sends over one session.

    Attributes:
        stopped: it was told to stop; nothing more is sent.
    """

    def __init__(self, session: aiohttp.ClientSession, timeout_s: float, stop: Callable[[], bool]) -> None:
        self._session, self._timeout_s, self._stop = session, timeout_s, stop
        self._begun = time.perf_counter()
        self._told = False

    @property
    def stopped(self) -> bool:
        self._told = self._told or self._stop()
        return self._told

    async def send(self, place: Place, request: Request, *, stream: bool = True, api: Api = "generate") -> Record:
        """One request."""
        target = Target(place.url, api, place.headers(), place.label, place.model)
        return await send(self._session, target, request, begun=self._begun, stream=stream, timeout_s=self._timeout_s)

    async def load(
        self,
        place: Place,
        requests: Iterable[Request],
        concurrency: int = 1,
        *,
        stream: bool = True,
        api: Api = "generate",
        until: float = float("inf"),
    ) -> list[Record]:
        """The requests, ``concurrency`` at a time, begun before ``until`` (``time.monotonic()``); in order of index."""
        jobs = ((place, request) for request in requests)
        return await self._work(jobs, concurrency, stream, api, until)

    async def alternate(
        self,
        green: Place,
        blue: Place,
        requests: Sequence[Request],
        chance: random.Random,
        concurrency: int = 1,
        api: Api = "completions",
    ) -> Sides:
        """Each request to both, which one first by chance. Ends where one of them only fails."""
        jobs: list[tuple[Place, Request]] = []
        for request in requests:
            jobs += [(place, request) for place in chance.sample([green, blue], 2)]
        records = await self._work(jobs, concurrency, True, api, patience=_PATIENCE)
        side = {
            place.label: tuple(record for record in records if record.target == place.label) for place in (green, blue)
        }
        return Sides(side[green.label], side[blue.label])

    async def on_time(self, place: Place, requests: Sequence[Request]) -> list[Record]:
        """Each request when it is due, ``request.at`` seconds from now, however many that makes at a time."""
        self._begun = begun = time.perf_counter()
        running: list[asyncio.Task[Record]] = []
        for request in requests:
            while not self.stopped and (left := begun + request.at - time.perf_counter()) > 0:
                await asyncio.sleep(min(left, _POLL_S))
            if self.stopped:
                break
            running.append(asyncio.create_task(self.send(place, request)))
        return list(await asyncio.gather(*running))

    async def _work(
        self,
        jobs: Iterable[tuple[Place, Request]],
        concurrency: int,
        stream: bool,
        api: Api,
        until: float = float("inf"),
        patience: float = float("inf"),
    ) -> list[Record]:
        """``patience``: so many failures of one release on end, and no more is sent."""
        waiting, done = iter(jobs), list[Record]()
        failed = Counter[str]()

        async def worker() -> None:
            while not self.stopped and time.monotonic() < until and max(failed.values(), default=0) < patience:
                job = next(waiting, None)
                if job is None:
                    return
                record = await self.send(*job, stream=stream, api=api)
                done.append(record)
                failed[record.target] = 0 if record.ok else failed[record.target] + 1

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return sorted(done, key=lambda record: record.index)

    async def calls(self, place: Place, calls: Sequence[Call]) -> list[Reply]:
        """The fixed requests in turn. One that is not answered at all ends it: the others would wait as long."""
        found: list[Reply] = []
        for call in calls:
            if self.stopped:
                break
            found.append(await self._call(place, call))
            if not found[-1].status:
                break
        return found

    async def _call(self, place: Place, call: Call) -> Reply:
        headers = {} if call.keyless else place.headers()
        data = None
        if call.body is not None:
            headers, data = {**headers, "content-type": "application/json"}, json.dumps(call.body)
        limit = _PLAIN_S if call.body is None else self._timeout_s
        status, names, body, error = 0, dict[str, str](), bytearray(), ""
        try:
            async with self._session.request(
                call.method,
                place.url.rstrip("/") + call.path,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as response:
                status, names = response.status, {name.lower(): value for name, value in response.headers.items()}
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_REPLY:
                        break
        except TimeoutError:
            error = f"no whole answer within {limit:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            error = f"the connection broke: {' '.join(str(fault).split()) or type(fault).__name__}"
        return Reply(call.name, status, names, body.decode("utf-8", "replace"), error)
