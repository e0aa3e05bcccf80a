"""Has a rollout executed: here, or, where another process is at it, followed from here."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from kuberay.api import Api
from kuberay.rollout.begin import who
from kuberay.rollout.canary import phase as stop
from kuberay.rollout.examiner import Examiner
from kuberay.rollout.lease import Lease
from kuberay.rollout.record import Record
from kuberay.rollout.run import Runner, Say, settings_of
from kuberay.rollout.store import Store

TAKE_OVER_S = 15.0
"""A lease whose holder vanished is free after 10 s."""


def drive(api: Api, namespace: str, record: Record, say: Say, leave: Collection[str] = ()) -> Record:
    """Execute a rollout until it has ended, or waits in a phase of ``leave``; follow it where somebody else does.

    Raises:
        KubeRayError: it cannot go on; it stays where it is.
    """
    store = Store(api, namespace, record.service)
    with Lease(api, namespace, record.service, f"{who()}/{os.getpid()}") as lease:
        if lease.acquire(TAKE_OVER_S, lambda other: say("wait", f"{other} has the rollout")):
            settings = settings_of(store.text(record.number, "settings.json"))
            examiner = Examiner(api, namespace, record.service, settings, say)
            return Runner(api, namespace, store, lease, examiner, say).run(record.number, leave)
    return _follow(store, record, say, leave)


def _follow(store: Store, record: Record, say: Say, leave: Collection[str]) -> Record:
    known = set(record.times)
    while record.running:
        record = store.read(record.number)
        for phase in [one for one in record.times if one not in known]:
            known.add(phase)
            say(phase, f"at {record.times[phase]}")
        if leave and record.verdict and not record.wish.verb:
            break
        found = record.breach and record.wish.despite != record.breach
        if leave and (found or stop(record.wish.to) in record.times):  # it waits, or is where it was wished to be
            break
        time.sleep(1)
    return record
