"""What the commands share: opening the cloud, asking, showing progress, failing. Prints; ``cli*.py`` and this only."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.hints import with_file
from cluster.cli.tables import console, put
from cluster.errors import ClusterError
from cluster.model import Verb

if TYPE_CHECKING:
    from cluster.gcp.cloud import Cloud
    from cluster.load import Loaded
    from cluster.model import Action
    from cluster.workflow import Look

FileOption = Annotated[
    str | None, typer.Option("--file", "-f", help="Service file. Default: $SWITCHYARD_CONFIG, else deploy/gke-l4.yaml.")
]
OutputOption = Annotated[str, typer.Option("--output", help="table or json.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Print the gcloud commands that do the same.")]
ReplaceOption = Annotated[
    list[str] | None, typer.Option("--replace", help="Delete this and make it anew where it must be: node-pool/l4.")
]
ManifestsOption = Annotated[
    str | None,
    typer.Option(help="Folder with KubeRay's manifests (its ray-operator/config), instead of fetching them."),
]
KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", help="Use this kubeconfig, not GKE's endpoint and Google's credentials.")
]


def opened(file: str | None) -> tuple[Loaded, Cloud]:
    from cluster.gcp.cloud import open_cloud
    from cluster.inside import kuberay_release
    from cluster.load import load

    # Google's libraries make some hundred thousand objects while they are imported, none of them garbage.
    gc.set_threshold(200_000)
    loaded = load(file)
    if loaded.config.ray_operator == "kuberay":
        kuberay_release.files(loaded.config.kuberay_version)  # here, not after the minutes that Google takes
    cloud = open_cloud(loaded.config, loaded.token, os.environ)
    cloud.clients.call.waiting = lambda text, seconds: print(
        f"  .. {text}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True
    )
    return loaded, cloud


def schedule_notes(loaded: Loaded, share: float) -> None:
    from cluster.load import load_prices
    from cluster.prices import components, cost, hours_off_saving
    from cluster.wanted.gke import gke

    pools = [
        (item.key, item.spec)
        for item in gke(loaded.config, None)
        if item.key.kind == "node-pool" and item.key.name != "system"
    ]
    prices = load_prices()
    saved = hours_off_saving(prices, loaded.config.region, pools, share)
    label = prices.label(loaded.config.region, components(cost(prices, loaded.config.region, pools)))
    print(f"On {share:.0%} of the week: saves up to ${saved:,.0f} a month ({label}).")
    for name, pool, _ in loaded.config.all_pools():
        if pool.min_nodes:
            print(f"Pool {name} keeps {pool.min_nodes} nodes all the time: set cluster.pools.{name}.min_nodes to 0.")


def cost_lines(loaded: Loaded, found: Look, *, wanted: bool) -> tuple[Any, Any, Any]:
    from cluster.load import load_prices
    from cluster.prices import cost

    if wanted:
        specs = [(item.key, item.spec) for item in found.wanted]
    else:
        specs = [(key, item.spec) for key, item in sorted(found.observed.found.items()) if item.ours]
    prices = load_prices()
    return cost(prices, loaded.config.region, specs), prices, specs


def show_plan(loaded: Loaded, found: Look, *, cost: bool = True) -> None:
    from cluster.cli import show

    if found.plan.empty:
        say(
            loaded,
            "Nothing to do: the project is as the service file wants it. switchyard cluster doctor looks inside.",
        )
    else:
        put(console(), show.plan_table(found.plan))
    for action in found.plan.refusals:
        say(loaded, f"Refused: {action.key}: {action.reason}")
    for key, reason in found.plan.kept:
        print(f"Kept: {key}: {reason}.")
    for note in found.plan.notes:
        say(loaded, f"Note: {note}")
    if found.first_apis and found.plan.actions:
        print(
            "What these APIs are about cannot be read before they are enabled; apply does that first, then plans anew."
        )
    for finding in found.findings:
        if finding.ok:  # the others are refusals of the plan
            print(f"Quota of pool {finding.pool}: ok. {finding.text}")
    created = {action.key.kind for action in found.plan.actions if action.verb is Verb.CREATE}
    if not loaded.token and "secret" in created:
        print("Note: HF_TOKEN is not set; the secret stays empty, which is enough for models that are not gated.")
    if cost:
        print_cost(loaded, found, wanted=True)


def show_apply(loaded: Loaded, found: Look) -> None:
    if found.first_apis:
        missing = ", ".join(sorted(found.observed.disabled_apis))
        print(f"First, free of charge, so that quotas and zones can be read: enable {missing}.")
    else:
        show_plan(loaded, found)


def print_cost(loaded: Loaded, found: Look, *, wanted: bool) -> None:
    from cluster.cli import show

    lines, prices, specs = cost_lines(loaded, found, wanted=wanted)
    print()
    put(console(), show.cost_table(lines))
    if wanted and found.observed.parked:
        say(loaded, "This is the cost when the cluster is up. It is scaled to zero now: switchyard cluster status.")
    pools = [(key, spec) for key, spec in specs if key.kind == "node-pool"]
    for text in [show.under_cost(loaded.config, prices, lines), *show.savings(loaded.config, prices, pools)]:
        say(loaded, text)


def plan_json(loaded: Loaded, found: Look) -> str:
    from cluster.cli import show

    lines, prices, _ = cost_lines(loaded, found, wanted=True)
    return show.plan_json(loaded.config, found, lines, prices)


def print_gcloud(loaded: Loaded, found: Look) -> None:
    from cluster.plan.explain import explain

    if found.plan.empty:
        print("# Nothing to do.")
    for action in found.plan.refusals or found.plan.actions:
        for line in explain(loaded.config, action):
            print(line)
    if found.plan.refusals:
        print("# While that is refused, apply does nothing else either.")


def asker(question: str, yes: bool, show: Callable[[Look], None]) -> Callable[[Look], bool]:
    def agree(found: Look) -> bool:
        show(found)
        if yes:
            return True
        if not sys.stdin.isatty():
            print(f"{question} Nobody is there to answer; say --yes.", file=sys.stderr)
            raise typer.Exit(2)
        try:
            return typer.confirm(question)
        except typer.Abort:  # Ctrl-C, or the end of the input
            print("\nNothing was changed.")
            raise typer.Exit(130) from None

    return agree


@contextmanager
def progress() -> Iterator[Callable[[Action, str, float], None]]:
    """A line an action when it is done; in a terminal a running line shows those under way."""
    out = console()
    running: dict[str, str] = {}
    status: Any = out.status("") if out.is_terminal else None

    def report(action: Action, event: str, seconds: float) -> None:
        name = str(action)
        if event in ("done", "failed"):
            running.pop(name, None)
            mark = "[green]ok[/]" if event == "done" else "[red]failed[/]"
            out.print(f"  {mark} {name} [dim]{seconds:.0f} s[/]", soft_wrap=True)
        else:
            running[name] = "" if event == "start" else f" ({event})"
            if status is None and event == "start" and action.key.kind in ("cluster", "node-pool"):
                out.print(f"  .. {name}", soft_wrap=True)
        if status is not None:
            texts = ", ".join(f"{key}{text}" for key, text in running.items())
            status.update(texts or "looking")
            (status.start if running else status.stop)()

    try:
        yield report
    finally:
        if status is not None:
            status.stop()


@contextmanager
def failing(file: str | None) -> Iterator[None]:
    """Turns what goes wrong into one message and an exit code; ``file`` is what came with ``--file``."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nStopped. Operations that Google has begun go on there; run it again to go on from them.")
        raise typer.Exit(130) from None
    except ClusterError as error:
        print(with_file(f"switchyard: {error}", file), file=sys.stderr)
        raise typer.Exit(1) from None


def say(loaded: Loaded, text: str) -> None:
    print(with_file(text, loaded.given))


def stop(text: str) -> None:
    print(text)
    raise typer.Exit(1)


def step(text: str) -> None:
    print(f"  ok {text}")


def formats(output: str) -> None:
    if output not in ("table", "json"):
        raise typer.BadParameter("use table or json.", param_hint="--output")
