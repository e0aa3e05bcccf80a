"""The time as Kubernetes objects have it, by the API server's clock: the machines of several people differ."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def now_text(timespec: str = "seconds") -> str:
    """Now, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


class ServerClock:
    """A server's clock, out of the ``Date`` of its answers. Threads may share it.

    Each answer bounds it: the server wrote the whole second in which it was, between our sending and our receiving
    (RFC 9110, 6.6.1). Our own clock is taken where it is within the bounds, so that nothing changes where clocks
    agree, and the nearest time that is possible where it is not. Bounds are kept beside the monotonic clock, which
    nobody sets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._least, self._most = -float("inf"), float("inf")  # server's time less time.monotonic()

    def heard(self, date: str | None, sent: float) -> None:
        """An answer came just now, with this ``Date``, to what was sent at ``sent`` of ``time.monotonic()``."""
        try:
            second = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        least, most = second - time.monotonic(), second + 1 - sent
        with self._lock:
            if least > self._most or most < self._least:  # one of the clocks was set, or this is another server
                self._least, self._most = least, most
            else:
                self._least, self._most = max(least, self._least), min(most, self._most)

    def time(self) -> float:
        """Seconds since 1970, as the server has them; our own clock's while nothing was heard of the server."""
        monotonic, own = time.monotonic(), time.time()
        with self._lock:
            return min(max(own, monotonic + self._least), monotonic + self._most)

    def now(self) -> datetime:
        """The same, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)
