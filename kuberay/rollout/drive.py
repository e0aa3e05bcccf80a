"""Has a rollout executed: here, or, while another process is at it, followed from here."""

from __future__ import annotations

import os
from collections.abc import Collection

from kuberay.api.client import Api
from kuberay.errors import Refused
from kuberay.rollout import slo
from kuberay.rollout.begin import who
from kuberay.rollout.examiner import Examiner
from kuberay.rollout.lease import Lease
from kuberay.rollout.record import Record
from kuberay.rollout.run import BEFORE, Runner, Say, Stand, TakenOver, settings_of
from kuberay.rollout.store import Store, objects_of


def drive(api: Api, namespace: str, record: Record, say: Say, leave: Collection[str] = ()) -> Stand:
    """Execute a rollout until it has ended, or waits in a phase of ``leave``.

    Where another process executes it, follow that one, and go on in its place if it ends before the rollout does.

    Raises:
        KubeRayError: it cannot go on; it stays where it is.
    """
    store = Store(api, namespace, record.service)
    while True:
        following = _Following(store, record, say, leave)
        with Lease(api, namespace, record.service, f"{who()}/{os.getpid()}") as lease:
            if not lease.acquire(following.goes_on):
                return Stand(following.record)
            current, kept = store.kept(record.number)
            before = slo.samples_from(kept.get(BEFORE, ""))
            examiner = Examiner(api, namespace, record.service, settings_of(kept.get("settings.json", "")), say, before)
            if examiner.lacks_key(current, objects_of(kept.get("objects.json", "")) or []):
                raise Refused(
                    f"{record.service} wants API keys, and its answers are to be examined: set SWITCHYARD_API_KEY and "
                    "run it again. The rollout stays where it is."
                )
            try:
                return Runner(api, namespace, store, lease, examiner, say).run(record.number, leave)
            except TakenOver:
                record = store.read(record.number)


class _Following:
    """What another process does with a rollout, told here."""

    def __init__(self, store: Store, record: Record, say: Say, leave: Collection[str]) -> None:
        self.record = record
        self._store, self._say, self._leave = store, say, leave
        self._told = set(record.times)
        self._other = ""

    def goes_on(self, other: str) -> bool:
        """Whether there is more to come."""
        if other != self._other:
            self._other = other
            if other:
                self._say("wait", f"{other} has the rollout")
        self.record = self._store.read(self.record.number)
        for phase in [one for one in self.record.times if one not in self._told]:
            self._told.add(phase)
            self._say(phase, f"at {self.record.times[phase]}")
        return self.record.running and not (self._leave and self._waits(self.record))

    @staticmethod
    def _waits(record: Record) -> bool:
        """It is held, something was found that nobody has wished to overlook, or it is where it was wished to be."""
        wish = record.wish
        found = record.incremental and record.breach and not record.auto and not record.overlooks
        held = record.verdict and not wish.verb and not record.auto
        return bool(found or held or record.not_promoted or record.reached >= wish.to)
