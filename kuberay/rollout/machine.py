"""The next step of a rollout, from its record and what is seen. Pure: no clock, no cluster, nothing remembered.

Laws, which tests hold for every record and every observation there can be:

1. Green is approved only on a good verdict (``auto``), or because somebody wished it: with a good verdict, or without
   one in so many words. `deploy` decides before it begins, and approves what it applies.
2. Once blue is to have the traffic again, green is refused before anything else happens.
3. Nothing is deleted but the green cluster of a rollout that was aborted, and never while it serves or is to serve.
4. A record that has ended asks for nothing.
5. Doing a step and looking again never asks for the same step, unless the world refused it.
6. No step of traffic goes beyond what was asked for, and none is made to a green that is not ready. (Incremental.)

The phases::

    apply ─> start ─> validate ─> hold ─> open ─> watch ─> serves
               │         │         │        │        │
               └─────────┴─────────┴────────┴────────┴──> back ─> aborted | rolled back

How blue gets the traffic back without a third cluster, on an operator that knows no way back (docs/rollouts.md): apply
its objects with the strategy ``None``, so that KubeRay makes nothing new; point the status's pending cluster at it
(or at nothing, where it still serves); when it serves, put the strategy back, which changes nothing: same hash. With
the incremental strategy KubeRay knows the way back itself: :mod:`kuberay.rollout.canary`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kuberay.rollout import canary
from kuberay.rollout.record import STOP, Kind, Outcome, Place, Record, Verb
from kuberay.rollout.seen import HELD, Apps, Seen
from kuberay.rollout.steps import Apply, Decide, Delete, Finish, Note, Point, Step, Validate, Wait, Watch
from serve_app.decision import Verb as Decided

NO_STRATEGY = "None"
LONG_S = 60.0
"""A change of the traffic between two clusters that run takes seconds."""


def step(record: Record, seen: Seen, now: datetime) -> Step:
    """What is to be done now."""
    if not record.running:
        return Wait("ended", record.why)
    if record.back:
        return _back(record, seen, now)
    if record.wish.verb is Verb.ABORT:
        return Note(back=f"{record.wish.by}: {record.wish.reason or 'asked for'}")
    if record.warm:
        if not seen.release_of(record.green.cluster):
            return Note(cold=True)
        following = _settle(record.green, record, seen)
        if isinstance(following, Wait) and _reverting_s(record, now) > LONG_S:
            return replace(
                following, why=f"{following.why}; switchyard abort leaves it with {seen.active or 'nothing'}"
            )
        return following or Finish(Outcome.SERVES, f"{record.green.cluster} serves again")
    if "applied" not in record.times:
        return _apply(record, seen)
    if seen.spec_release != record.green.release:
        other = f"applied release {seen.spec_release}" if seen.spec_release else "deleted or suspended the RayService"
        return Finish(Outcome.FAILED, f"somebody else {other} meanwhile")
    return _forward(record, seen, now)


def note(record: Record, found: Note, now: datetime) -> Record:
    """The record with what was found out."""
    if found.green:
        record = replace(record, green=replace(record.green, cluster=found.green))
    if found.back:
        record = replace(record, back=found.back).stamped("back", now)
    if found.phase.startswith(STOP) and record.overlooks:
        record = replace(record, breach="")  # it was about the stop before; this one is watched anew
    if found.cold:
        record = replace(record, warm=False, green=replace(record.green, cluster=""))
    return record.stamped(found.phase, now) if found.phase else record


def serves(record: Record, seen: Seen) -> bool:
    """Whether green has the traffic, though perhaps nobody was there to note it."""
    return seen.active != record.blue.cluster and seen.release_of(seen.active) == record.green.release


def _apply(record: Record, seen: Seen) -> Step:
    """The decision first: the gate must never see a release about which an old one still holds."""
    wanted = Decided.HOLD if record.kind is Kind.ROLLOUT else Decided.APPROVE
    decision = seen.decisions.get(record.green.release)
    there = seen.active and seen.release_of(seen.active) == record.green.release
    if not there and (decision is None or decision.verb is not wanted or decision.cluster):
        return Decide(wanted, record.green.release, "", record.by, f"revision {record.number}")
    # With `deploy` KubeRay moves the traffic by itself, at the file's own pace.
    held = record.incremental and record.kind is not Kind.DEPLOY
    return Apply(record.green.revision, record.strategy, HELD if held else None)


def _forward(record: Record, seen: Seen, now: datetime) -> Step:
    if not seen.observed:
        return Wait("start", "KubeRay has not seen it yet")
    if seen.release_of(seen.active) == record.green.release and not seen.pending:
        return _after(record, seen, now)
    green = seen.pending
    if not green or seen.release_of(green) != record.green.release:
        return _patience(record, now, "KubeRay makes a cluster")
    if record.green.cluster != green:
        return Note(green=green)
    if seen.apps is Apps.FAILED:
        return _failed(record, seen.trouble or "its applications failed")
    if seen.apps in (Apps.NONE, Apps.STARTING):
        return _patience(record, now, seen.trouble or "its pods start")
    if seen.active and seen.apps is Apps.RUNNING and record.incremental and record.kind is not Kind.DEPLOY:
        # With no capacity the gate has no replica to hold with.
        if not seen.traffic and not seen.approved(record.green.release, green):
            return _patience(record, now, "KubeRay gives it no capacity, which it does when the Gateway is ready")
        return canary.onward(record, seen, now)
    if not seen.active or seen.apps is Apps.RUNNING or record.kind is not Kind.ROLLOUT:
        return Wait("open", "KubeRay is about to switch" if seen.apps is Apps.RUNNING else "its gate opens")
    if not seen.ready.get(green):
        return _patience(record, now, "it runs, and no endpoint is ready yet")
    return _held(record, seen)


def _held(record: Record, seen: Seen) -> Step:
    """Law 1."""
    if seen.approved(record.green.release, seen.pending):
        return Wait("open", "the gate opens")
    wish = record.wish
    if record.promoted:
        return Decide(Decided.APPROVE, record.green.release, seen.pending, wish.by, wish.reason or "promoted")
    if not record.verdict:
        return Validate(seen.pending, seen.active)
    if record.verdict == "pass" and record.auto:
        return Decide(Decided.APPROVE, record.green.release, seen.pending, record.by, "the verdict is good")
    if record.auto:
        return Note(back="the verdict is bad")
    said = "the verdict is good" if record.verdict == "pass" else "the verdict is bad"
    return Wait("hold", f"{said}; it waits for promote or abort")


def _after(record: Record, seen: Seen, now: datetime) -> Step:
    """Green serves."""
    if record.green.cluster != seen.active:
        return Note(green=seen.active)
    if "switched" not in record.times:
        return Note(phase="switched")
    if record.incremental:  # it was watched before, while the way back was warm
        restored = canary.restored(record, seen)
        return restored or Finish(Outcome.SERVES, f"it serves, but: {record.found}" if record.found else "it serves")
    if record.breach and record.auto:
        return Note(back=record.breach)
    left = record.watch_s - (record.since("switched", now) or 0)
    moved = bool(record.blue.cluster) and record.blue.cluster != seen.active
    if moved and record.kind is Kind.ROLLOUT and left > 0 and not record.breach:
        return Watch(seen.active, left)
    if record.breach:
        return Finish(Outcome.SERVES, f"it serves, but: {record.breach}")
    return Finish(Outcome.SERVES, "it serves")


def _back(record: Record, seen: Seen, now: datetime) -> Step:
    """Laws 2 and 3."""
    green, blue = record.green, record.blue
    if not blue.cluster:
        return Finish(Outcome.FAILED, "nothing served before it: switchyard delete ends it")
    if green.release == blue.release:
        return _undone(record, seen)
    if "switched" not in record.times and serves(record, seen):
        # KubeRay switched while nobody looked, and somebody's streams are on it.
        return Note(phase="switched") if green.cluster == seen.active else Note(green=seen.active)
    if not seen.release_of(blue.cluster):
        # The spec must not go on asking for what is gone, with a strategy that starts nothing.
        kept = green if seen.active == green.cluster != "" else blue if seen.spec_release == blue.release else None
        if kept and kept.revision and (seen.spec_release, seen.strategy) != (kept.release, record.strategy):
            return Apply(kept.revision, record.strategy)
        gone = f"{blue.cluster} is gone, on which release {blue.release} served before"
        if kept is green:
            anew = "switchyard rollback starts that anew"
            return Finish(Outcome.SERVES, f"it could not be taken back ({record.back}): {gone}; {anew}")
        return Finish(Outcome.FAILED, f"{gone}: switchyard rollback starts it anew")
    if record.incremental and canary.too_late(record, seen):
        return canary.kept(record, seen)
    decision = seen.decisions.get(green.release)
    if seen.active == blue.cluster and green.release != blue.release:
        refused = decision is not None and decision.verb is Decided.REFUSE
        if not refused and (seen.pending or seen.spec_release == green.release or "applied" not in record.times):
            return Decide(Decided.REFUSE, green.release, green.cluster, record.wish.by or record.by, record.back)
    if not blue.revision and (seen.spec_release, seen.strategy) != (blue.release, record.strategy):
        lost = f"{seen.active} serves; nobody kept the objects of {blue.cluster}: switchyard deploy sets what is to be"
        return Finish(Outcome.FAILED, lost)
    if not record.incremental and seen.active == green.cluster and _reverting_s(record, now) > record.start_s:
        late = f"{blue.cluster} did not come back within {record.start_s:g} s"
        stays = Finish(Outcome.SERVES, f"it could not be taken back ({record.back}): {late}")
        return _settle(green, record, seen) or stays
    following = canary.back(record, seen) if record.incremental else _settle(blue, record, seen)
    if following is not None:
        return following
    had_traffic = "switched" in record.times
    if not had_traffic or record.frees:
        if green.cluster in seen.alive and green.cluster not in (seen.pending, blue.cluster) and not record.warm:
            return Delete(green.cluster)
        if green.cluster in seen.leaving:
            return Wait("back", f"the pods of {green.cluster} end")
    return Finish(Outcome.ROLLED_BACK if had_traffic or record.tried else Outcome.ABORTED, record.back)


def _undone(record: Record, seen: Seen) -> Step:
    """A change in place: there is no second cluster, only a file to go back to."""
    if seen.spec_release == record.blue.release and "reverted" not in record.times:
        return Apply(record.blue.revision, record.strategy)
    return Finish(Outcome.ABORTED, record.back)


def _reverting_s(record: Record, now: datetime) -> float:
    """For how long traffic has been on its way between two clusters that run."""
    return record.since("reverted", now) or 0


def _settle(goal: Place, record: Record, seen: Seen) -> Step | None:
    """Towards: ``goal`` serves, nothing is pending, and the RayService asks for just that. None: it is so."""
    there = seen.active == goal.cluster and not seen.pending
    asked = seen.spec_release == goal.release
    if there and asked:
        if seen.strategy == record.strategy:
            return None
        return Apply(goal.revision, record.strategy)
    if not asked or seen.strategy != NO_STRATEGY:
        return Apply(goal.revision, NO_STRATEGY)
    if not seen.observed:
        return Wait("back", "KubeRay has not seen it yet")
    wanted = "" if seen.active == goal.cluster else goal.cluster
    # Its gate asks again where its head was restarted while the other one served.
    if wanted and not seen.approved(goal.release, goal.cluster):
        return Decide(Decided.APPROVE, goal.release, goal.cluster, record.by, f"it served before {record.number}")
    if seen.pending != wanted:
        return Point(wanted, seen.active)
    # A cluster that has endpoints may want more of them, and find no room.
    why = f": {seen.trouble}" if seen.trouble and not seen.ready.get(goal.cluster) else ""
    return Wait("back", f"KubeRay moves the traffic to {goal.cluster}{why}")


def _failed(record: Record, why: str) -> Step:
    if record.auto and record.blue.cluster:
        return Note(back=why)
    return Wait("failed", f"{why}; switchyard doctor says more, switchyard abort takes it back")


def _patience(record: Record, now: datetime, why: str) -> Step:
    waited = record.since("applied", now) or 0
    if waited <= record.start_s:
        return Wait("start", why)
    late = f"it is not ready after {record.start_s:g} s: {why}"
    if record.auto and record.blue.cluster:
        return Note(back=late)
    return Wait("failed", f"{late}; switchyard doctor says more, switchyard abort takes it back")
