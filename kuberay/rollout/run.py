"""Executes a rollout: looks, asks the state machine, does the step, looks again.

Everything a later run needs is in the cluster, so that this may be ended at any point and gone on with from anywhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

from kuberay.actions.decisions import decide, decision
from kuberay.actions.deploy import attach
from kuberay.api.client import Api
from kuberay.api.kinds import CONFIGMAP, POD, RAYCLUSTER, RAYSERVICE, SERVICE
from kuberay.errors import ApiError, Conflict, Incomplete, Invalid, NotFound
from kuberay.manifests.rayservice import Json
from kuberay.names import INSTANCE_LABEL, SERVICE_LABEL
from kuberay.observing.wait import Target, Verdict, wait_for
from kuberay.rollout import patches, slo, steps
from kuberay.rollout.examiner import Examiner
from kuberay.rollout.lease import AWAY_S, Lease
from kuberay.rollout.machine import note, step
from kuberay.rollout.record import Outcome, Record, Verb
from kuberay.rollout.seen import Pace, Seen, seen
from kuberay.rollout.steps import Step, Wait
from kuberay.rollout.store import Store, read
from kuberay.rollout_config import Rollout
from kuberay.snapshot import Snapshot
from serve_app.decision import Verb as Decided
from serve_app.decision import config_map

LOOK_S = 30.0
"""A wait looks anew after so long, for what depends on the clock alone."""
LIFE_S = 55.0
"""A state that lasts is told again after so long."""
MOST_REFUSALS = 10
BEFORE = "before.json"
"""What blue had counted before the switch, for the watch of whoever goes on with this rollout."""
_SAID = {
    "switched": ("open", "{0.green.cluster} has the traffic"),
    "returned": ("back", "{0.blue.cluster} has all the traffic again"),
}

Say = Callable[[str, str], None]
"""Told the phase, and what happens in it."""


class Stand(NamedTuple):
    """Where a rollout was left: ended, or waiting.

    Attributes:
        trouble: why it waits, where green is not as it should be; else empty.
    """

    record: Record
    trouble: str = ""


class TakenOver(Exception):
    """Another process executes the rollout: this one could not renew its lease in time."""


class Runner:
    """Executes one rollout. Holds the lease while it does.

    Args:
        examiner: sends requests to green and blue, and judges.
    """

    def __init__(self, api: Api, namespace: str, store: Store, lease: Lease, examiner: Examiner, say: Say) -> None:
        self._api, self._namespace, self._store, self._lease = api, namespace, store, lease
        self._examiner, self._say = examiner, say
        self._told, self._told_at = "", 0.0

    def run(self, number: int, leave: Collection[str] = ()) -> Stand:
        """Go on until it has ended, or waits in one of the phases in ``leave``.

        Raises:
            TakenOver: another process has the lease.
            ApiError: the API server would not do a step, or is away for more than five minutes.
        """
        away_since, refused = 0.0, 0
        while True:
            try:
                record, following, now_seen = self._next(number, leave)
                if isinstance(following, Wait):
                    return Stand(record, following.why if following.phase == "failed" else "")
                self._still_ours()
                record = self._do(following, record, now_seen)
                away_since, refused = 0.0, 0
            except (Invalid, NotFound, Conflict):  # the world moved between the look and the step: look again
                refused += 1
                if refused > MOST_REFUSALS:
                    raise
                time.sleep(1)
            except ApiError as error:
                away_since = away_since or time.monotonic()
                if not error.passing or time.monotonic() - away_since > AWAY_S:
                    raise
                self._say("wait", f"the API server is away: {str(error)[:120]}")
                time.sleep(2)

    def _next(self, number: int, leave: Collection[str]) -> tuple[Record, Step, Seen]:
        """The next step that is not to wait, or the wait that is to be left to somebody else."""

        judged: tuple[Record, Step, Seen] | None = None

        def judge(snapshot: Snapshot) -> Verdict:
            nonlocal judged
            item, there = snapshot.named("ConfigMap", self._store.name(number)), seen(snapshot)
            record = read(item) if item else None
            if record is None:
                return Verdict(False, "", failed=f"The record {self._store.name(number)} is gone")
            following = step(record, there, self._api.clock.now())
            judged = record, following, there
            if not isinstance(following, Wait):
                return Verdict(True, type(following).__name__)
            return Verdict(_left(following, leave), f"{following.phase}\n{following.why}")

        name = self._store.service
        targets = [
            Target(RAYSERVICE, name=name),
            Target(RAYCLUSTER, selector=f"{SERVICE_LABEL}={name}"),
            Target(POD, selector=f"{INSTANCE_LABEL}={name}"),
            Target(CONFIGMAP, name=self._store.name(number)),
            Target(CONFIGMAP, name=config_map(name)),
        ]
        while judged is None or (isinstance(judged[1], Wait) and not _left(judged[1], leave)):
            try:
                for progress in wait_for(self._api, self._namespace, name, targets, judge, within=LOOK_S):
                    self._tell(progress.text)
            except Incomplete:
                self._store.read(number)  # raises where the record is gone
        return judged

    def _tell(self, text: str) -> None:
        """A wait's phase and reason, where they have changed, or as a sign of life."""
        now = time.monotonic()
        phase, _, why = text.partition("\n")
        if why and (text != self._told or now - self._told_at > LIFE_S):
            self._told, self._told_at = text, now
            self._say(phase, why)

    def _do(self, following: Step, record: Record, there: Seen) -> Record:
        now = self._api.clock.now()
        match following:
            case steps.Decide(verb, release, cluster, by, reason):
                self._say("decide", f"{verb.value} {release}{f' on {cluster}' if cluster else ''}: {reason}")
                decide(self._api, self._namespace, record.service, release, decision(verb, by, reason, cluster))
                if cluster and verb is Decided.APPROVE and not record.back and not record.warm:
                    return self._keep(record.stamped("approved", self._api.clock.now()))
                return record
            case steps.Apply(revision, strategy, pace):
                step_of = f", steps of {pace.step} % when told" if pace else ""
                self._say("apply", f"the objects of revision {revision}, with strategy {strategy}{step_of}")
                self._apply(revision, strategy, pace)
                forward = not record.back and not record.warm
                return self._keep(record.stamped("applied" if forward else "reverted", now))
            case steps.Nudge():
                back = following.cluster == following.active
                self._say("back" if back else "open", f"a step of traffic to {following.cluster}")
                self._patch_status(record.service, patches.nudge(following))
                return record
            case steps.Point(cluster, active):
                self._say("back", f"pointing KubeRay at {cluster or 'nothing new'}")
                self._patch_status(record.service, patches.point(cluster, active))
                return record
            case steps.Delete(cluster):
                self._say("back", f"deleting RayCluster/{cluster}")
                self._api.delete(RAYCLUSTER, cluster, self._namespace)
                return record
            case steps.Validate(green, blue):
                return self._validate(record.stamped("held", now), green, blue)
            case steps.Watch(cluster, left):
                return self._watch(record, cluster, left)
            case steps.Note() as found:
                noted = note(record, found, now)
                if found.green and record.kind is not record.kind.ROLLBACK:
                    self._say("start", f"RayCluster/{found.green}")
                if found.green and record.incremental:
                    for made in attach(self._api, self._namespace, record.service, found.green):
                        self._say("start", made)
                if found.green and record.blue.cluster:
                    self._examiner.look_before(record.blue.cluster)
                    self._keep_before(record.number)
                if found.phase:
                    phase, text = _SAID.get(found.phase, ("open", f"{there.traffic} % of the traffic is on it"))
                    self._say(phase, text.format(noted))
                if found.back:
                    self._say("back", f"{noted.blue.cluster or 'nothing'} is to have the traffic: {found.back}")
                return self._keep(noted)
            case steps.Finish(outcome, why):
                return self._finish(replace(record, outcome=outcome, why=why).stamped("ended", now))
            case Wait():
                return record

    def _validate(self, record: Record, green: str, blue: str) -> Record:
        self._keep(record)
        self._preview(record.service, green)
        verdict = self._examiner.examine(record, green, blue, stop=lambda: self._interrupted(record))
        if verdict is None:
            return record
        self._still_ours()
        self._keep_before(record.number)
        self._store.put(record.number, "verdict.json", verdict[1])
        record = replace(record, verdict="pass" if verdict[0] else "fail")
        return self._keep(record.stamped("validated", self._api.clock.now()))

    def _watch(self, record: Record, cluster: str, left: float) -> Record:
        if breach := self._examiner.watch(record, cluster, left):
            self._still_ours()
            self._say("watch", breach)
            return self._keep(replace(record, breach=breach).stamped("breached", self._api.clock.now()))
        return record

    def _still_ours(self) -> None:
        """What another process writes meanwhile must not be overwritten.

        Raises:
            TakenOver: another process has the lease.
        """
        if not self._lease.confirm():
            raise TakenOver

    def _interrupted(self, record: Record) -> bool:
        wish = self._store.read(record.number).wish
        return wish.verb is Verb.ABORT or wish.override or not self._lease.held

    def _keep(self, record: Record) -> Record:
        self._store.write(record)
        return record

    def _keep_before(self, number: int) -> None:
        self._store.put(number, BEFORE, slo.samples_text(self._examiner.before))

    def _finish(self, record: Record) -> Record:
        with contextlib.suppress(NotFound):
            self._api.delete(SERVICE, patches.preview_name(record.service), self._namespace)
        self._keep(record)
        if record.outcome is Outcome.SERVES:
            self._store.prune()
        return record

    def _apply(self, revision: int, strategy: str, pace: Pace | None) -> None:
        for item in self._store.objects(revision):
            if item["kind"] == "RayService":
                own: Json = item["spec"].get("upgradeStrategy") or {}
                same = own.get("type") == strategy
                item["spec"]["upgradeStrategy"] = patches.paced(own, pace) if same else {"type": strategy}
            self._api.apply(item, force=True)

    def _patch_status(self, service: str, change: list[Json]) -> None:
        self._api.patch(RAYSERVICE, service, self._namespace, change, how="json", subresource="status")

    def _preview(self, service: str, cluster: str) -> None:
        """A Service on green's pods. It belongs to green's RayCluster, and goes with it."""
        try:
            owner = self._api.get(RAYCLUSTER, cluster, self._namespace)["metadata"]
            self._api.apply(patches.preview(service, self._namespace, cluster, owner["uid"]), force=True)
        except ApiError as error:
            self._say("hold", f"there is no preview Service: {error}")


def _left(wait: Wait, leave: Collection[str]) -> bool:
    """Whether this wait is left to somebody else."""
    return wait.phase == "ended" or wait.phase in leave


def settings_of(text: str) -> Rollout:
    """The rollout section that a revision was begun with; the defaults where nobody can read it."""
    try:
        return Rollout.model_validate_json(text or "{}")
    except ValueError:
        return Rollout()
