"""A proof load beside a rollout: begun before it, ended after it, kept with the revision. Edge."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kuberay.api.client import Api
from kuberay.errors import ApiError, Refused
from kuberay.rollout.proof import load
from kuberay.rollout.proof.account import account, moves
from kuberay.rollout.proof.trips import Load, pack, unpack
from kuberay.rollout.store import Store

KEY = "load-"
"""What the keys begin with under which loads are kept, one for each process."""
MOST = 300 * 1024
"""Characters of all loads of a revision. With its objects they stay below the megabyte that a ConfigMap may have."""
LEAST = 16 * 1024
AFTER_S = 5.0
"""The load outlives the rollout by so much: it is to show who serves in the end."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line.

    Attributes:
        streams: how many at a time; 0: none.
        url: where to send them; None: through the API server.
        max_tokens: of each answer.
        pause_s: from an answer to the stream's next request.
        out: file for a line each request; None: below ``build/rollouts``.
    """

    streams: int = 0
    url: str | None = None
    max_tokens: int = 128
    pause_s: float = 0.0
    out: Path | None = None


class Proof:
    """A load on one service, as it was wanted, or none.

    Args:
        say: told the phase, and what happens in it.
    """

    def __init__(self, api: Api, namespace: str, service: str, wanted: Wanted, say: Callable[[str, str], None]) -> None:
        self._wanted, self._say = wanted, say
        self._api, self._namespace, self._service = api, namespace, service
        self._store = Store(api, namespace, service)

    def check(self) -> None:
        """Ask the service once, before anything is changed.

        Raises:
            Refused: it cannot be asked this way.
        """
        if not self._wanted.streams:
            return
        route = self._route()
        if why := load.ask(route):
            raise Refused(f"Nothing was changed: --load cannot reach the service {route.text}: {why}")

    @contextmanager
    def during(self, number: int) -> Generator[None]:
        """Streams for as long as the context is open; kept with the revision at its end, however that comes."""
        wanted = self._wanted
        if not wanted.streams:
            yield
            return
        out = wanted.out or Path("build/rollouts") / f"{self._service}-{number}.jsonl"
        source, route = _source(), self._route()
        streams = load.Load(
            route,
            out,
            streams=wanted.streams,
            max_tokens=wanted.max_tokens,
            pause_s=wanted.pause_s,
            source=source,
            clock=self._api.clock.time,
            say=lambda text: self._say("load", text),
        )
        try:
            streams.start()
        except OSError as error:
            raise Refused(f"{out} cannot be written: {error}. Name another file with --load-out.") from None
        self._say("load", f"{wanted.streams} streams {route.text}, written to {out}")
        try:
            yield
            time.sleep(AFTER_S)
        finally:
            self._say("load", "the running streams end")
            self._keep(number, Load(source, route.text, wanted.streams, tuple(streams.stop())), out)

    def _route(self) -> load.Route:
        if self._wanted.url:
            return load.direct(self._wanted.url)
        return load.to_service(self._api, self._namespace, self._service)

    def _keep(self, number: int, found: Load, out: Path) -> None:
        try:
            record, data = self._store.kept(number)
            others = {key: text for key, text in loads_in(data).items() if key != found.source}
            room = max(MOST - sum(len(text) for text in others.values()), LEAST)
            text = pack(found, [one.at for one in moves(record)], room)
            self._store.put(number, f"{KEY}{found.source}", text)
        except (ApiError, Refused) as error:
            self._say("load", f"it could not be kept with revision {number}, but is in {out}: {error}")
            return
        self._say("load", account(found.trips, record).sentence)


def loads_in(data: Mapping[str, str]) -> dict[str, str]:
    """The packed loads in a revision's ConfigMap, by source."""
    return {key.removeprefix(KEY): text for key, text in data.items() if key.startswith(KEY)}


def loads(data: Mapping[str, str]) -> list[Load]:
    """The loads in a revision's ConfigMap. One that nobody can read is left out."""
    found: list[Load] = []
    for text in loads_in(data).values():
        try:
            found.append(unpack(text))
        except ValueError:
            continue
    return found


def _source() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    return f"{host}-{os.getpid()}-{int(time.time())}"
