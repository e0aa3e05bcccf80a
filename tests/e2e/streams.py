"""A long stream that runs until it is told to end, and tells whether it broke off before."""

from __future__ import annotations

import threading
import time

import httpx2


class Stream:
    """One answer as it is made, read by a thread.

    Attributes:
        broken: why it ended, where it was not :meth:`close` that ended it.
    """

    def __init__(self, url: str, max_tokens: int = 60_000) -> None:
        self.broken = ""
        self._url, self._max_tokens = url, max_tokens
        self._pieces = 0
        self._over = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def begun(self) -> bool:
        """Its first token is here."""
        return self._pieces > 0

    def flows(self, within_s: float = 10.0) -> bool:
        """Another piece of it comes."""
        before, until = self._pieces, time.monotonic() + within_s
        while self._pieces == before and time.monotonic() < until:
            time.sleep(0.05)
        return self._pieces > before and not self.broken

    def close(self) -> None:
        """The client goes away."""
        self._over.set()
        self._thread.join(60)

    def _read(self) -> None:
        body = {"prompt": "a long answer", "max_tokens": self._max_tokens, "stream": True}
        why = "came to its end"
        try:
            with (
                httpx2.Client(timeout=120) as client,
                client.stream("POST", f"{self._url}/generate", json=body) as answer,
            ):
                for _ in answer.iter_lines():
                    if self._over.is_set():
                        return
                    self._pieces += 1
        except httpx2.HTTPError as error:
            why = repr(error)
        self.broken = f"{why} after {time.monotonic() - self._begun:.0f} s and {self._pieces} lines"
