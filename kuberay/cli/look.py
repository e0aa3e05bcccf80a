"""The sub-commands that look at a service: ``status``, ``doctor``, ``logs``.

They change nothing. Exit codes: 0 done, 1 failed or (``doctor``) something is wrong, 2 wrong use, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kuberay.cli.common import (
    ContextOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    Target,
    absent,
    fail,
    must_exist,
    observed,
    one_of,
    target,
)
from kuberay.errors import ConfigError, KubeRayError, NotFound

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kuberay.look.status import Status
    from kuberay.rollout.record import Record
    from kuberay.snapshot import Snapshot


def status(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")] = False,
    output: OutputOption = "text",
) -> None:
    """Show where a service stands, on one screen; without a name or file, all services in a line each.

    Example: switchyard status -f deploy/gke-l4.yaml -w
    """
    one_of(output, "text", "json")
    try:
        if name is None and file is None:
            if watch:
                raise ConfigError("One service is watched, not all: give its name, or its file with -f.")
            _all(namespace, context, output)
            return
        there = target(name, file, namespace, context)
        if watch:
            _watch(there, output)
        else:
            found = _show(observed(there, logs=False), output)
            if found == "Absent":
                raise NotFound(absent(there))
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def doctor(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Also write all that was seen, without secrets, to this .tgz.")
    ] = None,
    offline: Annotated[
        Path | None, typer.Option("--from", help="Read a bundle instead of a cluster.", exists=True, dir_okay=False)
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Say what is wrong with a service, why, and what to do next. Exit status 1 where something is.

    Example: switchyard doctor -f deploy/gke-l4.yaml --bundle gemma.tgz
    """
    one_of(output, "text", "json")
    try:
        found = _diagnosed(name, file, namespace, context, bundle, offline, output)
    except KubeRayError as error:
        fail(error)
    raise typer.Exit(1 if found else 0)


def logs(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    of: Annotated[str, typer.Option(help="replica, worker, head or autoscaler.")] = "replica",
    follow: Annotated[bool, typer.Option("--follow", help="Go on as it is written (not for replica).")] = False,
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the last lines.")] = 100,
) -> None:
    """Print logs of the cluster that serves (or starts): of its replicas, or of the containers.

    Example: switchyard logs -f deploy/gke-l4.yaml --of head --follow
    """
    from kuberay.observing import logs as reading

    if of not in reading.SOURCES:
        raise typer.BadParameter(f"use {', '.join(reading.SOURCES)}.", param_hint="--of")
    try:
        there = target(name, file, namespace, context)
        snapshot = observed(there, logs=False)
        must_exist(there, snapshot)
        for line in reading.read(there.api, snapshot, of, lines=lines, follow=follow):
            print(line, flush=follow)
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _show(snapshot: Snapshot, output: str) -> str:
    from kuberay.look.status import status as state_of

    one, change = state_of(snapshot, datetime.now(UTC)), _change(snapshot)
    if output == "json":
        print(json.dumps(_data(one, change), indent=2))
    else:
        _console().print(_screen(one, change))
    return one.phase


def _change(snapshot: Snapshot) -> Record | None:
    """What has begun to change the service, and has not ended."""
    from kuberay.rollout.begin import running
    from kuberay.rollout.store import records

    return running(records(snapshot.of("ConfigMap")))


def _screen(one: Status, change: Record | None) -> RenderableType:
    from kuberay.cli.screens import status_screen
    from kuberay.rollout.show import under_way

    return status_screen(one, under_way(change) if change else "")


def _data(one: Status, change: Record | None) -> dict[str, Any]:
    """A status as JSON data, and the change that is under way as ``history`` has it."""
    from kuberay.look.status import as_json
    from kuberay.rollout.show import as_json as as_history

    return as_json(one) | {"change": as_history(change) if change else None}


def _all(namespace: str | None, context: str | None, output: str) -> None:
    from kuberay.api.client import Api
    from kuberay.cli.screens import status_table
    from kuberay.look.status import as_json
    from kuberay.look.status import status as state_of
    from kuberay.observing.observe import observe_all

    now = datetime.now(UTC)
    found = [state_of(snapshot, now) for snapshot in observe_all(Api.connect(context), namespace or "")]
    if output == "json":
        print(json.dumps([as_json(one) for one in found], indent=2))
    elif found:
        _console().print(status_table(found))
    else:
        print("There is no service. switchyard deploy -f FILE makes one.")


def _watch(there: Target, output: str) -> None:
    """The screen again at each change: watched, not polled."""
    from kuberay.actions.deploy import targets
    from kuberay.api.kinds import CONFIGMAP
    from kuberay.look.status import status as state_of
    from kuberay.names import INSTANCE_LABEL
    from kuberay.observing.wait import Target as Watched
    from kuberay.observing.wait import Verdict, wait_for
    from kuberay.rollout.store import REVISION_LABEL

    def judge(snapshot: Snapshot) -> Verdict:
        one = state_of(snapshot, datetime.fromisoformat(snapshot.taken))
        return Verdict(False, json.dumps(_data(one, _change(snapshot))))

    from rich.live import Live

    days = 30 * 86_400.0
    with contextlib.ExitStack() as stack:
        console = _console()
        # Into a file or a pipe there is no screen to draw over: one after the other.
        draws = output == "text" and console.is_terminal
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if draws else None
        revisions = Watched(CONFIGMAP, selector=f"{INSTANCE_LABEL}={there.name},{REVISION_LABEL}", optional=True)
        watched = [*targets(there.name, traffic=True), revisions]
        for progress in wait_for(there.api, there.namespace, there.name, watched, judge, within=days):
            # As old as what was seen: while the API server is away, time stands still.
            one = state_of(progress.snapshot, datetime.fromisoformat(progress.snapshot.taken))
            change = _change(progress.snapshot)
            if output == "json":
                print(json.dumps(_data(one, change)), flush=True)
            elif live is None:
                console.print(_screen(one, change), "")
                sys.stdout.flush()
            else:
                live.update(_screen(one, change), refresh=True)


def _diagnosed(
    name: str | None,
    file: str | None,
    namespace: str | None,
    context: str | None,
    bundle: Path | None,
    offline: Path | None,
    output: str,
) -> list[Any]:
    from kuberay.cli.screens import doctor_screen
    from kuberay.doctor.diagnose import checks, diagnose
    from kuberay.look import bundle as bundles
    from kuberay.look.facts import Facts

    if offline is not None:
        snapshot = bundles.read(offline)
        now = datetime.fromisoformat(snapshot.taken)
    else:
        snapshot = observed(target(name, file, namespace, context), logs=True)
        now = datetime.now(UTC)
    found = diagnose(snapshot, now)
    if output == "json":
        print(json.dumps({"service": snapshot.name, "findings": [asdict(one) for one in found]}, indent=2))
    else:
        serving = Facts(snapshot, now).serving
        _console().print(doctor_screen(snapshot.name, found, checks(snapshot, now), serving=serving), crop=False)
    if bundle is not None:
        bundles.write(snapshot, bundle)
        # Not among the findings, which a program may be reading.
        print(f"Wrote {bundle}. It holds no secrets; read it before you send it on.", file=sys.stderr)
    return found


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
