"""The sub-commands that decide what serves: ``rollout``, ``promote``, ``abort``, ``rollback``.

Exit codes: 0 done, 1 it failed, was refused, aborted or rolled back, 2 wrong use, 130 ended by Ctrl-C, which leaves
the rollout where it stands: the same command goes on with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kuberay.cli.common import (
    ContextOption,
    FileOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    Target,
    YesOption,
    agreed,
    checked,
    fail,
    heed_refusals,
    one_of,
    prices_of,
    revision_argument,
    target,
)
from kuberay.cli.proof import LoadOption, LoadOutOption, LoadPauseOption, LoadTokensOption, LoadUrlOption, proof
from kuberay.errors import KubeRayError, Refused

if TYPE_CHECKING:
    from kuberay.config import Service
    from kuberay.rollout.proof.during import Proof
    from kuberay.rollout.run import Stand
    from kuberay.rollout.store import Store

Say = Callable[[str, str], None]
_AGAIN = (
    "{} has retired before, which KubeRay never forgets: it may delete it at once after the switch, and with it "
    "the warm way back. A restart of the operator before the switch makes it forget: kubectl rollout restart "
    "deployment/kuberay-operator -n NAMESPACE"
)
AutoOption = Annotated[bool, typer.Option("--auto", help="Promote on a good verdict, abort on a bad one.")]
_STANDS = "The rollout stays where it is: the same command goes on with it."
_WISHED = (
    "What you asked for is recorded, and is done by whoever executes this rollout, now or later: the same command goes "
    "on with it{}."
)
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; it is kept in the history.")]


def rollout(
    ctx: typer.Context,
    file: FileOption,
    context: ContextOption = None,
    auto: AutoOption = False,
    wait: Annotated[bool, typer.Option(help="Stay until it is decided; without, end once it is held.")] = True,
    force: Annotated[
        bool, typer.Option(help="Apply even what diff refuses or has no way back, and fields others manage.")
    ] = False,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Bring a new release up beside the one that serves, hold it, validate it, and switch when that is decided.

    Without --auto it waits for `switchyard promote` or `switchyard abort`, which anybody may give from anywhere.
    Running it again goes on where an earlier run was ended.

    Example: switchyard rollout -f deploy/gke-l4.yaml --auto
    """
    from kuberay.api.client import Api

    one_of(output, "text", "json")
    with _ending(output) as (say, done):
        service = checked(file)
        there = Target(Api.connect(context), service.kubernetes.namespace, service.name)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        quiet = output == "json"
        done.append(_rollout(ctx, file, there, service, streams, say, auto=auto, wait=wait, force=force, quiet=quiet))


def promote(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    reason: ReasonOption = "",
    force: Annotated[bool, typer.Option(help="Although the verdict is bad or not there; needs --reason.")] = False,
    to: Annotated[int, typer.Option(min=1, max=100, help="Per cent of the traffic, to hold there; incremental.")] = 100,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Let a release that is held have the traffic; with --to, and the incremental strategy, so much of it.

    Example: switchyard promote -f deploy/gke-l4.yaml
    """
    from kuberay.rollout.record import Verb

    if force and not reason:
        raise typer.BadParameter("say why with --reason: it is kept in the history.", param_hint="--force")
    with _ending(output) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(_wish(there, streams, Verb.PROMOTE, reason, say, force=force, to=to, file=file))


def abort(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    reason: ReasonOption = "",
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """End a rollout, in whatever state it is: what served before serves, and the new cluster goes.

    Example: switchyard abort -f deploy/gke-l4.yaml -m "answers are too long"
    """
    from kuberay.rollout.record import Verb

    with _ending(output, wanted=("aborted", "rolled back")) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(_wish(there, streams, Verb.ABORT, reason, say))


def rollback(
    revision: Annotated[int | None, revision_argument("the last other release that served")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the service, instead of a file.")] = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    yes: YesOption = False,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Go back to an earlier revision, or forward again: at once where its cluster still runs.

    Example: switchyard rollback -f deploy/gke-l4.yaml
    """
    with _ending(output) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(_rollback(there, streams, revision, say, yes=yes))


def _rollout(
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
    from kuberay.actions import deploy as steps
    from kuberay.plan import screen as plan_screen
    from kuberay.plan.diff import Effect
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Outcome

    api = there.api
    outlook = steps.look(api, service, prices_of(ctx, file))
    store = _store(there)
    known = store.all()
    current = begin.running(known)
    if outlook.plan.effect is not Effect.NOTHING:
        if not quiet:
            print("\n".join(plan_screen.lines(outlook)), flush=True)
        heed_refusals(outlook, force=force, shown=not quiet)
    elif current is None:
        raise Refused(f"{service.name} is as {file} says: there is nothing to roll out.")
    streams.check()
    record = begin.forward(store, service, outlook, Kind.ROLLOUT, auto=auto, force=force)
    say("begin", f"revision {record.number}: release {record.green.release} beside {record.blue.release or 'nothing'}")
    if begin.retires_again(known, record):
        say("begin", _AGAIN.format(record.blue.cluster))
    with streams.during(record.number):
        steps.prepare(api, service, outlook)
        stand = drive(api, there.namespace, record, say, leave=() if wait else ("hold", "failed"))
    if stand.record.outcome is Outcome.SERVES and outlook.plan.effect is not Effect.NEW_CLUSTER:
        for patch in outlook.plan.patches:
            steps.carry(api, service, patch)
    return stand


def _wish(
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
    from kuberay.manifests.manifest import release_of
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Verb, Wish

    store = _store(there)
    record = begin.running(store.all())
    if record is None:
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
    other = release_of(checked(file)).id if file is not None else record.green.release
    with streams.during(record.number):
        store.wish(record.number, Wish(verb, begin.who(), reason, force, to, record.breach, keep))
        part = f", {to} % of the traffic" if to < 100 else ""
        say("rollback" if keep else verb.value, f"revision {record.number}: release {record.green.release}{part}")
        if other != record.green.release:
            say(verb.value, f"note: {file} is another release ({other}) than the one that is promoted")
        promote = verb is Verb.PROMOTE
        if promote and not (record.verdict or force):
            say(verb.value, "there is no verdict yet: it gets the traffic once that is good")
        try:
            # A promotion may end where it was wished to, where something went wrong, or before a verdict that is bad.
            return drive(there.api, there.namespace, record, say, leave=("hold",) if promote else ())
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_WISHED.format(", switchyard abort takes it back" if promote else "")) from None


def _rollback(there: Target, streams: Proof, revision: int | None, say: Say, *, yes: bool) -> Stand:
    from kuberay.observing.observe import observe
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind, Verb
    from kuberay.rollout.seen import seen

    store = _store(there)
    snapshot = observe(there.api, there.namespace, there.name, logs=False)
    begin.must_see(snapshot, "the RayService", "rayclusters", "pods")
    known, now = store.all(), seen(snapshot)
    current = begin.running(known)
    if current is not None and current.kind is Kind.ROLLBACK and revision in (None, current.green.revision):
        with streams.during(current.number):
            return drive(there.api, there.namespace, current, say)
    if current is not None and current.kind is Kind.ROLLOUT and begin.moved(current, now) and revision is None:
        return _wish(there, streams, Verb.ABORT, "rolled back", say, keep=True)  # it is being watched still
    way = begin.way_back(known, now, revision)
    say("plan", way.text)
    if not yes:
        agreed("Go?")
    record = begin.back(store, known, snapshot, way)
    if begin.retires_again(known, record):
        say("plan", _AGAIN.format(record.blue.cluster))
    with streams.during(record.number):
        return drive(there.api, there.namespace, record, say)


@contextmanager
def _ending(output: str, wanted: Collection[str] = ("serves",)) -> Iterator[tuple[Say, list[Stand]]]:
    """Progress on the way, the outcome and the exit code at the end."""
    from kuberay.rollout.show import as_json, conclusion

    one_of(output, "text", "json")
    begun = time.monotonic()
    done: list[Stand] = []

    def say(phase: str, text: str) -> None:
        stream = sys.stderr if output == "json" else sys.stdout
        print(f"  {time.monotonic() - begun:5.0f} s  {phase:9} {text}", file=stream, flush=True)

    try:
        yield say, done
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt as stopped:
        print(f"\nStopped. {stopped.args[0] if stopped.args else _STANDS}", file=sys.stderr)
        raise typer.Exit(130) from None
    record, trouble = done[0]
    told = as_json(record) | {"trouble": trouble}
    print(json.dumps(told, indent=2) if output == "json" else conclusion(record, trouble))
    if (record.breach or trouble or record.not_promoted) if record.running else record.outcome.value not in wanted:
        raise typer.Exit(1)


def _store(there: Target) -> Store:
    from kuberay.rollout.store import Store

    return Store(there.api, there.namespace, there.name)
