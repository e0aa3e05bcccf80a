"""The sub-commands that change a cluster, and what shows the change before: ``render``, ``diff``, ``deploy`` and so on.

Exit codes: 0 done (or nothing to change), 1 failed or refused, 2 differences found (``diff``) or wrong use, 130 ended
by Ctrl-C, which leaves the cluster at work.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kuberay.cli.common import (
    ContextOption,
    FileOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    TimeoutOption,
    YesOption,
    agreed,
    checked,
    fail,
    heed_refusals,
    one_of,
    prices_of,
    target,
)
from kuberay.errors import KubeRayError

if TYPE_CHECKING:
    from kuberay.api.client import Api
    from kuberay.config import Service
    from kuberay.plan.capacity import Prices
    from kuberay.plan.outlook import Outlook


def render(
    file: FileOption, output: Annotated[str, typer.Option("--output", "-o", help="yaml or json.")] = "yaml"
) -> None:
    """Print the Kubernetes objects of a service, ready for kubectl.

    Example: switchyard render -f deploy/gke-l4.yaml | kubectl apply --server-side -f -
    """
    from kuberay.manifests.manifest import objects, to_yaml

    one_of(output, "yaml", "json")
    try:
        items = objects(checked(file))
    except KubeRayError as error:
        fail(error)
    if output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
    else:
        print(to_yaml(items), end="")


def diff(
    ctx: typer.Context,
    file: FileOption,
    context: ContextOption = None,
    revisions: Annotated[
        tuple[int, int] | None, typer.Option(metavar="A B", help="Compare two kept revisions instead.")
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Say what deploying would do: nothing, a change in place, or a new cluster. Changes nothing.

    Exit status 0: nothing would change; 2: something would; 1: it would be refused.

    Example: switchyard diff -f deploy/gke-l4.yaml
    """
    from kuberay.plan.diff import Effect

    one_of(output, "text", "json")
    try:
        if revisions is not None:
            from kuberay.cli.report import compared

            raise typer.Exit(2 if compared(target(None, file, None, context), *revisions, output) else 0)
        outlook = _diff(file, context, output, prices_of(ctx, file))
    except KubeRayError as error:
        fail(error)
    if outlook.refusals:
        raise typer.Exit(1)
    raise typer.Exit(0 if outlook.plan.effect is Effect.NOTHING else 2)


def deploy(
    ctx: typer.Context,
    file: FileOption,
    context: ContextOption = None,
    timeout: TimeoutOption = 1800,
    wait: Annotated[bool, typer.Option(help="Wait until it serves.")] = True,
    force: Annotated[bool, typer.Option(help="Apply even what diff refuses, and fields others manage.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="First let a small pod try the image, the account and the model.")
    ] = False,
    probe_timeout: Annotated[float, typer.Option(min=5, help="Seconds to wait for that pod.")] = 300,
    output: OutputOption = "text",
) -> None:
    """Make a cluster match a service file, and wait until it serves.

    Running it again goes on where an earlier run was ended.

    Example: switchyard deploy -f deploy/gke-l4.yaml
    """
    one_of(output, "text", "json")
    begun = time.monotonic()
    try:
        prices, probing = prices_of(ctx, file), probe_timeout if probe else None
        summary = _deploy(file, context, timeout, prices, wait=wait, force=force, quiet=output == "json", probe=probing)
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nStopped waiting. The cluster goes on; switchyard status shows where it stands.", file=sys.stderr)
        raise typer.Exit(130) from None
    if output == "json":
        print(json.dumps({**summary, "seconds": round(time.monotonic() - begun, 1)}, indent=2))


def suspend(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = 600,
) -> None:
    """End all pods of a service and keep what is needed to come back.

    Example: switchyard suspend -f deploy/gke-l4.yaml
    """
    from kuberay.actions import lifecycle
    from kuberay.rollout import begin
    from kuberay.rollout.store import Store

    try:
        there = target(name, file, namespace, context)
        # What comes back later is what the RayService asks for: during a rollout that is what nobody has approved.
        begin.may_replace(begin.running(Store(there.api, there.namespace, there.name).all()))
        lifecycle.suspend(there.api, there.namespace, there.name, _say)
        for text in lifecycle.pods_gone(there.api, there.namespace, there.name, timeout):
            _say(text)
    except KubeRayError as error:
        fail(error)
    print(f"{there.name} is suspended. switchyard resume {there.name} -n {there.namespace} brings it back.")


def resume(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Bring a suspended service back, as it was.

    Example: switchyard resume -f deploy/gke-l4.yaml
    """
    from kuberay.actions import lifecycle

    try:
        there = target(name, file, namespace, context)
        lifecycle.resume(there.api, there.namespace, there.name, _say)
    except KubeRayError as error:
        fail(error)
    print(f"{there.name} starts. switchyard status {there.name} -n {there.namespace} -w shows how far it is.")


def delete(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = 900,
    yes: YesOption = False,
) -> None:
    """Delete a service and everything that was made for it. Running streams get their grace period.

    Example: switchyard delete -f deploy/gke-l4.yaml
    """
    from kuberay.actions import lifecycle

    try:
        there = target(name, file, namespace, context)
        if not yes:
            where = f"{there.name} in namespace {there.namespace} of {there.api.context}"
            agreed(f"Delete {where}, with all its releases?")
        lifecycle.delete(there.api, there.namespace, there.name, _say)
        for text in lifecycle.gone(there.api, there.namespace, there.name, timeout):
            _say(text)
        lifecycle.delete_rest(there.api, there.namespace, there.name, _say)
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt as stopped:
        said = stopped.args[0] if stopped.args else "What was deleted stays so: the same command goes on with the rest."
        print(f"\nStopped. {said}", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"{there.name} is gone.")


def _diff(file: str, context: str | None, output: str, prices: Prices) -> Outlook:
    from kuberay.actions.deploy import look
    from kuberay.api.client import Api
    from kuberay.plan import screen as plan_screen

    outlook = look(Api.connect(context), checked(file), prices)
    if output == "json":
        print(json.dumps(plan_screen.as_json(outlook), indent=2))
    else:
        print("\n".join(plan_screen.lines(outlook)))
    return outlook


def _deploy(
    file: str,
    context: str | None,
    timeout: float,
    prices: Prices,
    *,
    wait: bool,
    force: bool,
    quiet: bool,
    probe: float | None,
) -> dict[str, Any]:
    from kuberay.actions import deploy as steps
    from kuberay.api.client import Api
    from kuberay.manifests.manifest import release_of
    from kuberay.plan import screen as plan_screen
    from kuberay.plan.diff import Effect
    from kuberay.rollout import begin
    from kuberay.rollout.drive import drive
    from kuberay.rollout.record import Kind
    from kuberay.rollout.store import Store

    service = checked(file)
    release = release_of(service).id
    say = _nothing if quiet else _say
    api = Api.connect(context)
    outlook = steps.look(api, service, prices, force=force)
    store = Store(api, service.kubernetes.namespace, service.name)
    current = begin.running(store.all())
    begin.may_replace(current)
    if not quiet:
        print("\n".join(plan_screen.lines(outlook)), flush=True)
    if probe is not None and (force or not outlook.refusals):
        outlook = _probed(api, service, outlook, probe, say)
    heed_refusals(outlook, force=force, shown=not quiet)
    record = None
    if outlook.plan.effect is not Effect.NOTHING or current:
        record = begin.forward(store, service, outlook, Kind.DEPLOY)
    steps.apply(api, service, outlook, say, force=force)
    if record is not None:
        record = record.stamped("applied", api.clock.now())
        store.write(record)
    summary = {"service": service.name, "release": release, "effect": outlook.plan.effect.value, "serving": False}
    if not wait:
        return summary
    shown: dict[str, str] = {}
    stuck = False
    for seconds, stages in steps.wait(api, service, release, timeout):
        for stage in stages:
            text = f"{stage.state.value:8} {stage.name}: {stage.detail}"
            if shown.get(stage.name) != text:
                shown[stage.name] = text
                say(f"{seconds:5.0f} s  {text}")
            if not stuck and stage.stuck:
                stuck = True
                say(f"         -> switchyard doctor -f {file} says why, and what to do. Ctrl-C ends the waiting.")
    if record is not None:
        drive(api, service.kubernetes.namespace, record, _unsaid)
    say(f"Release {release} serves. switchyard chat -f {file} talks to it; switchyard status -f {file} shows it.")
    return {**summary, "serving": True}


def _probed(api: Api, service: Service, outlook: Outlook, within: float, say: Callable[[str], None]) -> Outlook:
    from kuberay.actions.probing import probe

    say(f"probing the image and the model with one pod, for at most {within:g} s")
    found = probe(api, service, outlook, within, say).problem
    if found is None:
        return outlook
    say(f"  -> {found.next}")
    return replace(outlook, problems=(*outlook.problems, found))


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _nothing(text: str) -> None:
    pass


def _unsaid(phase: str, text: str) -> None:
    pass
