"""The incremental strategy: traffic moves by steps, and goes back in one. Pure; part of :mod:`kuberay.rollout.machine`.

KubeRay moves ``stepSizePercent`` of the traffic when ``intervalSeconds`` have passed since it last did. A rollout sets
an interval that never passes, and the step to the next stop; one step is then made by taking the time of the last one
out of the status. So nothing moves by itself, whoever is killed, and a step can be made only once. The way back is
KubeRay's own: it sees the earlier spec again, takes the traffic back, and drops the cluster that was to serve.

KubeRay retires blue two seconds after the last percent has moved. What is watched is therefore the stop before.
"""

from __future__ import annotations

from datetime import datetime

from kuberay.rollout.record import STOP, Kind, Outcome, Record
from kuberay.rollout.seen import ALL, Seen
from kuberay.rollout.steps import Apply, Decide, Finish, Note, Nudge, Step, Wait, Watch
from serve_app.decision import Verb as Decided

LOOK_S = 1.0
"""For so long a green that lost its endpoints is watched before it is looked at anew."""


def phase(percent: int) -> str:
    """A stop's mark in the record."""
    return f"{STOP}{percent}"


def onward(record: Record, seen: Seen, now: datetime) -> Step:
    """Green is approved and runs beside blue: its traffic, from stop to stop."""
    traffic = seen.traffic
    if traffic >= ALL:
        return Wait("open", "it has all the traffic; KubeRay retires the old cluster")
    if traffic and phase(traffic) not in record.times:
        return Note(phase=phase(traffic))
    if record.breach and record.auto:
        return Note(back=record.breach)
    if record.breach and not record.overlooks:
        return Wait("hold", f"{record.breach}; {traffic} % of the traffic stay until promote --force or abort")
    left = _soak(record, traffic) - (record.since(phase(traffic), now) or 0)
    if traffic and left > 0 and not record.breach:
        return Watch(seen.pending, left)
    goal = _goal(record)
    if traffic >= goal:
        return Wait("hold", f"{traffic} % of the traffic is on it; it waits for promote or abort")
    if not seen.ready.get(seen.pending):
        return Watch(seen.pending, LOOK_S) if traffic else Wait("open", "no endpoint is ready")
    stop = next((one for one in record.canary if one > traffic), ALL)
    wanted = seen.paced(min(stop, goal) - traffic)
    if seen.pace != wanted:
        return Apply(record.green.revision, record.strategy, wanted)
    if seen.pending not in seen.nudged:
        return Nudge(seen.pending, seen.active, seen.pending, traffic)
    return Wait("open", f"KubeRay moves {wanted.step} % of the traffic")


def _goal(record: Record) -> int:
    """How much of the traffic was asked for."""
    if record.kind is Kind.ROLLBACK:
        return ALL
    if record.promoted:
        return record.wish.to
    return ALL if record.auto and record.verdict == "pass" else 0


def _soak(record: Record, traffic: int) -> float:
    """How long it is watched here: at the last stop as long as after a switch, since that is what follows."""
    last = bool(record.canary) and traffic >= record.canary[-1]
    return max(record.canary_s, record.watch_s) if last else record.canary_s


def restored(record: Record, seen: Seen) -> Apply | None:
    """Green serves: the file's own pace again."""
    if seen.pace is None or not seen.pace.ours:
        return None
    return Apply(record.green.revision, record.strategy)


def too_late(record: Record, seen: Seen) -> bool:
    """All the traffic is on green, and blue being retired: there is only a cold way back."""
    whole = seen.pending == record.green.cluster != "" and seen.traffic >= ALL
    return seen.active == record.green.cluster != "" or (whole and seen.spec_release == record.green.release)


def kept(record: Record, seen: Seen) -> Step:
    """Green serves although blue was to have the traffic again."""
    if seen.active != record.green.cluster:
        return Wait("open", "it has all the traffic; KubeRay retires the old cluster")
    if seen.spec_release != record.green.release:
        return Apply(record.green.revision, record.strategy)
    late = f"it had all the traffic already ({record.back}): switchyard rollback starts the old release anew"
    return restored(record, seen) or Finish(Outcome.SERVES, late)


def back(record: Record, seen: Seen) -> Step | None:
    """Towards: blue serves alone, and the RayService asks for just that. None: it is so."""
    blue = record.blue
    again = seen.pending and seen.release_of(seen.pending) == blue.release
    if seen.pending and not again:
        if (seen.spec_release, seen.strategy, seen.pace) != (blue.release, record.strategy, seen.paced(ALL)):
            return Apply(blue.revision, record.strategy, seen.paced(ALL))
        if not seen.observed:
            return Wait("back", "KubeRay has not seen it yet")
        if seen.traffic and blue.cluster == seen.active and blue.cluster not in seen.nudged:
            return Nudge(blue.cluster, seen.active, seen.pending, seen.traffic)
        return Wait("back", f"KubeRay takes {seen.traffic} % of the traffic back and drops {seen.pending}")
    if record.tried and "returned" not in record.times:
        return Note(phase="returned")
    if (seen.spec_release, seen.strategy) != (blue.release, record.strategy) or (seen.pace and seen.pace.ours):
        return Apply(blue.revision, record.strategy)
    decision = seen.decisions.get(blue.release)
    if again and (decision is None or decision.verb is not Decided.APPROVE or decision.cluster != seen.pending):
        # Somebody deleted green, and KubeRay made it anew as it is asked for now: it has to move there.
        return Decide(Decided.APPROVE, blue.release, seen.pending, record.by, "made anew from what served before")
    return None if seen.observed else Wait("back", "KubeRay has not seen it yet")
