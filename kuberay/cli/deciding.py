"""What ``rollout``, ``promote``, ``abort`` and ``rollback`` do, once it is known what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from kuberay.cli.common import Target, agreed, checked, heed_refusals, prices_of, there_is
from kuberay.errors import Refused

if TYPE_CHECKING:
    from kuberay.config import Service
    from kuberay.rollout.proof.during import Proof
    from kuberay.rollout.run import Stand
    from kuberay.rollout.store import Store

Say = Callable[[str, str], None]
_WISHED = (
    "What you asked for is recorded, and is done by whoever executes this rollout, now or later: the same command goes "
    "on with it{}."
)


def roll_out(
    ctx: typer.Context,
    file: str,
    there: Target,
    service: Service,
    streams: Proof,
    say: Say,
    *,
    auto: bool,
    wait: bool,
    force: bool,
    quiet: bool,
) -> Stand:
    """Bring up the file's release, and go on with it until it is decided.

    Args:
        wait: stay while it is held.
        quiet: print no plan.
    """
    from kuberay.actions import deploy as steps
    from kuberay.manifests.manifest import release_of
    from kuberay.plan import screen as plan_screen
    from kuberay.plan.diff import Effect
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Outcome
    from kuberay.rollout.run import Stand
    from kuberay.rollout.show import retires

    api = there.api
    store = _store(there)
    known, release = store.all(), release_of(service).id
    current = begin.running(known)
    if current is not None and current.green.release != release:
        begin.may_replace(current)
    outlook = steps.look(api, service, prices_of(ctx, file), force=force)
    again = outlook.takes.warm and begin.retires_again(known, outlook.active)
    if outlook.plan.effect is not Effect.NOTHING:
        if not quiet:
            print("\n".join(plan_screen.lines(outlook.without_way_back() if again else outlook)), flush=True)
        # What was applied is gone on with: this look may have been in the middle of what KubeRay makes of it.
        if current is None or "applied" not in current.times:
            heed_refusals(outlook, force=force, shown=not quiet)
    elif current is None:
        if done := begin.serves_already(known, outlook, release):
            say("begin", f"there is nothing to roll out: {service.name} is as {file}, with its overrides, says")
            return Stand(done)
        raise Refused(f"{service.name} is asked to be as {file} says, and something else serves: switchyard status.")
    streams.check()
    record = begin.forward(store, service, outlook, Kind.ROLLOUT, auto=auto, force=force)
    about = f"revision {record.number}: release {record.green.release} beside {record.blue.release or 'nothing'}"
    on = f", begun {record.began[:19].replace('T', ' ')} UTC by {record.by}, goes on"
    say("begin", about + (on if current and record.number == current.number else ""))
    if again:
        say("begin", retires(record, outlook.operator))
    with streams.during(record.number):
        steps.prepare(api, service, outlook)
        context = ctx.params.get("context")
        told = telling_what_to_type(say, f"-f {file}" + (f" --context {context}" if context else ""))
        stand = drive(api, there.namespace, record, told, leave=() if wait else ("hold", "failed"))
    if stand.record.outcome is Outcome.SERVES and outlook.plan.effect is not Effect.NEW_CLUSTER:
        for patch in outlook.plan.patches:
            steps.carry(api, service, patch)
    return stand


def wish(
    there: Target,
    streams: Proof,
    verb: Any,
    reason: str,
    say: Say,
    *,
    force: bool = False,
    to: int = 100,
    keep: bool = False,
    file: str | None = None,
) -> Stand:
    """Say what is wanted of the rollout that is under way, and go on with it until that is done.

    Args:
        keep: with an abort: leave green's cluster as a way forward.
        file: whose release it should be.
    """
    from kuberay.manifests.manifest import release_of
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Verb, Wish
    from kuberay.rollout.show import retires

    store = _store(there)
    known = store.all()
    record = begin.running(known)
    if record is None:
        there_is(there)
        about = f"{there.name} in namespace {there.namespace}"
        raise Refused(f"No rollout of {about} is under way. switchyard history shows what was.")
    if record.kind is Kind.ROLLBACK and verb is not Verb.ABORT:
        begin.may_replace(record)  # it says what ends it
    if verb is Verb.PROMOTE and record.verdict == "fail" and not force:
        raise Refused(
            f"The verdict on revision {record.number} is bad. What shows why: switchyard report {record.number} "
            f"--name {there.name} -n {there.namespace}. What takes it back: switchyard abort. --force with --reason "
            "promotes it all the same."
        )
    if to < 100 and not record.incremental:
        raise Refused(f"--to is for the incremental strategy; {there.name} switches all at once ({record.strategy}).")
    if to < record.reached:
        raise Refused(f"{record.reached} % of the traffic is on it already. switchyard abort takes all of it back.")
    other = release_of(checked(file)).id if file is not None else record.green.release
    with streams.during(record.number):
        store.wish(record.number, Wish(verb, begin.who(), reason, force, to, record.breach, keep))
        part = f", {to} % of the traffic" if to < 100 else ""
        say("rollback" if keep else verb.value, f"revision {record.number}: release {record.green.release}{part}")
        if other != record.green.release:
            say(verb.value, f"note: {file} is another release ({other}) than the one that is promoted")
        promote = verb is Verb.PROMOTE
        if promote and not record.incremental and begin.retires_again(known, record.blue.cluster):
            say(verb.value, retires(record))
        if promote and not (record.verdict or force):
            say(verb.value, "there is no verdict yet: it gets the traffic once that is good")
        try:
            # A promotion may end where it was wished to, where something went wrong, or before a verdict that is bad.
            return drive(there.api, there.namespace, record, say, leave=("hold",) if promote else ())
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_WISHED.format(", switchyard abort takes it back" if promote else "")) from None


def roll_back(there: Target, streams: Proof, revision: int | None, say: Say, *, yes: bool) -> Stand:
    """Go back to a revision, or to what served before; asks first, unless ``yes``."""
    from kuberay.observing.observe import observe
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Verb
    from kuberay.rollout.seen import seen
    from kuberay.rollout.show import retires

    store = _store(there)
    snapshot = observe(there.api, there.namespace, there.name, logs=False)
    begin.must_see(snapshot, "the RayService", "rayclusters", "pods")
    known, now = store.all(), seen(snapshot)
    current = begin.running(known)
    if current is not None and current.kind is Kind.ROLLBACK and revision in (None, current.green.revision):
        with streams.during(current.number):
            return drive(there.api, there.namespace, current, say)
    if current is not None and current.kind is Kind.ROLLOUT and begin.moved(current, now) and revision is None:
        return wish(there, streams, Verb.ABORT, "rolled back", say, keep=True)  # it is being watched still
    begin.may_replace(current)
    way = begin.way_back(known, now, revision)
    say("plan", way.text)
    if not yes:
        agreed("Go?")
    record = begin.back(store, known, snapshot, way)
    if not record.incremental and begin.retires_again(known, record.blue.cluster):
        say("plan", retires(record))
    with streams.during(record.number):
        return drive(there.api, there.namespace, record, say)


def telling_what_to_type(say: Say, which: str) -> Say:
    """Where it first waits for a decision, with the commands that give one.

    Args:
        which: the options that say which service is meant.
    """
    told = False

    def also(phase: str, text: str) -> None:
        nonlocal told
        say(phase, text)
        if phase == "hold" and not told:
            told = True
            for what, words in (("talk to it", "chat"), ("decide", "promote"), ("or", "abort")):
                say(phase, f"{what}: switchyard {words} {which}{' --preview' if words == 'chat' else ''}")

    return also


def _store(there: Target) -> Store:
    from kuberay.rollout.store import Store

    return Store(there.api, there.namespace, there.name)
