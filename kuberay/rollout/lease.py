"""One rollout of a service at a time: a Lease in its namespace, held by whoever executes it.

As client-go's leader election: whether another's lease has run out is told by one's own clock, from how long it has
not been renewed, so clocks need not agree.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from kuberay.api.client import Api
from kuberay.api.kinds import LEASE
from kuberay.clock import now_text
from kuberay.errors import ApiError, Conflict, Forbidden, NotFound
from kuberay.manifests.rayservice import Json
from kuberay.names import ours
from kuberay.snapshot import dig

DURATION_S = 10
AWAY_S = 300.0
"""How long the API server may be away."""
RENEW_S = 3.0


class Lease:
    """A lease that is held while the context is open.

    Args:
        holder: who, to be shown to others; must differ from process to process.
    """

    def __init__(self, api: Api, namespace: str, service: str, holder: str, duration_s: int = DURATION_S) -> None:
        self._api, self._namespace, self._service = api, namespace, service
        self.holder, self._duration = holder, duration_s
        self._name = f"{service}-rollout"
        self._stop = threading.Event()
        self._renewing = threading.Lock()
        self._renewed = 0.0
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Nobody else can have it: it was renewed within its duration."""
        return self._thread is not None and time.monotonic() - self._renewed < self._duration

    def acquire(self, waits: Callable[[str], bool]) -> bool:
        """Take it, waiting for another holder to end or to vanish; False where that one was waited for long enough.

        Args:
            waits: asked every half second, with who has it, whether to go on waiting.
        """
        last: tuple[Any, ...] = ()
        since, away_since = time.monotonic(), 0.0
        while True:
            try:
                lease = self._read()
                spec: Json = dig(lease, "spec", default={})
                other = spec.get("holderIdentity") or ""
                key = (other, spec.get("renewTime"), spec.get("leaseTransitions"))
                if key != last:
                    last, since = key, time.monotonic()
                duration = spec.get("leaseDurationSeconds") or self._duration
                free = not other or other == self.holder or time.monotonic() - since > duration
                if free and self._taken(lease, waits):
                    self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
                    self._thread.start()
                    return True
                if not waits(other):
                    return False
                away_since = 0.0
            except ApiError as error:
                away_since = away_since or time.monotonic()
                if not error.passing or time.monotonic() - away_since > AWAY_S:
                    raise
                since = time.monotonic()  # a holder that could not renew it may well be alive
            time.sleep(0.5)

    def release(self) -> None:
        """Give it back, so that the next one need not wait."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        try:
            lease = self._read()
            if dig(lease, "spec", "holderIdentity") == self.holder:
                self._patch(lease, {"holderIdentity": "", "renewTime": now_text("microseconds")})
        except ApiError:
            pass  # it runs out by itself

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def confirm(self) -> bool:
        """Whether it is held; asks anew where it could not be renewed for a while, as when the API server was away.

        Raises:
            ApiError: the API server does not answer.
        """
        return self.held or self._renew_now()

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                if not self._renew_now():
                    return
            except ApiError:
                continue  # `held` tells when that has lasted too long

    def _renew_now(self) -> bool:
        """False: somebody else has it."""
        began = time.monotonic()
        with self._renewing:
            lease = self._read()
            if dig(lease, "spec", "holderIdentity") != self.holder:
                self._renewed = 0.0
                return False
            self._patch(lease, {"renewTime": now_text("microseconds")})
            self._renewed = began
            return True

    def _taken(self, lease: Json, waits: Callable[[str], bool]) -> bool:
        """Whoever may only look at it can still wait for what another holder has done by now."""
        try:
            return self._take(lease)
        except Forbidden:
            if waits(""):
                raise
            return False

    def _take(self, lease: Json) -> bool:
        began = time.monotonic()
        spec = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self._duration,
            "acquireTime": now_text("microseconds"),
            "renewTime": now_text("microseconds"),
            "leaseTransitions": dig(lease, "spec", "leaseTransitions", default=0) + 1,
        }
        try:
            self._patch(lease, spec)
        except Conflict:
            return False
        self._renewed = began
        return True

    def _patch(self, lease: Json, spec: Json) -> None:
        change = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        self._api.patch(LEASE, self._name, self._namespace, change)

    def _read(self) -> Json:
        try:
            return self._api.get(LEASE, self._name, self._namespace)
        except NotFound:
            about = {"name": self._name, "namespace": self._namespace, "labels": ours(self._service)}
            try:
                return self._api.create(
                    {"apiVersion": LEASE.version, "kind": LEASE.name, "metadata": about, "spec": {}}
                )
            except Conflict:
                return self._api.get(LEASE, self._name, self._namespace)
