"""The sub-commands of ``switchyard cluster``. Only this file prints.

Exit codes: 0 done (``plan``: nothing to do), 1 failed or refused, 2 ``plan`` found differences, or wrong use, 130 Ctrl-C.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import ClusterError
from cluster.model import Key

if TYPE_CHECKING:
    from cluster.gcp import Cloud
    from cluster.kube import Kube
    from cluster.load import Loaded
    from cluster.model import Action
    from cluster.workflow import Look

app = typer.Typer(no_args_is_help=True, help="Make, check, scale and destroy what a service stands on, on Google Cloud.")
prices_app = typer.Typer(no_args_is_help=True, help="The price list that plans use.")
app.add_typer(prices_app, name="prices")

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
    str | None, typer.Option(help="Folder with KubeRay's manifests (its ray-operator/config), instead of fetching them.")
]
KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", help="Use this kubeconfig, not GKE's endpoint and Google's credentials.")
]


@app.command()
def plan(
    file: FileOption = None, replace: ReplaceOption = None, explain: ExplainOption = False, output: OutputOption = "table"
) -> None:
    """Show what apply would do, what it costs a month, and whether the quotas allow it. Changes nothing.

    Example: switchyard cluster plan -f deploy/gke-l4.yaml
    """
    _formats(output)
    with _failing():
        loaded, cloud = _open(file)
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=bool(loaded.token), replacing=replace or ())
        if explain:
            _explain(loaded, found)
        elif output == "json":
            print(_plan_json(loaded, found))
        else:
            _show_plan(loaded, found)
        if found.plan.refusals:
            raise typer.Exit(1)
        raise typer.Exit(0 if found.plan.empty else 2)


@app.command()
def apply(
    file: FileOption = None,
    yes: YesOption = False,
    replace: ReplaceOption = None,
    kubernetes: Annotated[bool, typer.Option(help="Also do the part inside the cluster.")] = True,
    manifests: ManifestsOption = None,
) -> None:
    """Make the project as the service file wants it. Safe to kill and to run again: it goes on where it was.

    Example: HF_TOKEN=... switchyard cluster apply -f deploy/gke-l4.yaml
    """
    with _failing():
        loaded, cloud = _open(file)
        from cluster.workflow import converge

        agree = _asker("Apply this?", yes, lambda found: _show_plan(loaded, found))
        with _progress() as report:
            found = converge(
                loaded.config, cloud, token=bool(loaded.token), replacing=replace or (), report=report, agree=agree
            )
        if not found.plan.empty:
            _stop("Nothing was changed.")
        if kubernetes and not found.observed.parked:
            _inside(loaded, cloud, found, manifests)
        _print_cost(loaded, found, wanted=False)
        print("Everything is as the service file wants it.")


@app.command()
def destroy(
    file: FileOption = None,
    yes: YesOption = False,
    delete_models: Annotated[bool, typer.Option(help="Delete the bucket though there are models in it.")] = False,
    keep_bucket: Annotated[bool, typer.Option(help="Leave the bucket.")] = False,
    explain: ExplainOption = False,
) -> None:
    """Delete everything that apply made, and nothing else. Says what it keeps.

    Example: switchyard cluster destroy -f deploy/gke-l4.yaml --keep-bucket
    """
    with _failing():
        loaded, cloud = _open(file)
        from cluster.workflow import look_destroy, tear_down

        options = {"delete_models": delete_models, "keep_bucket": keep_bucket}
        if explain:
            _explain(loaded, look_destroy(loaded.config, cloud, **options))
            return
        agree = _asker("Delete all of this?", yes, lambda found: _show_plan(loaded, found, cost=False))
        with _progress() as report:
            found = tear_down(loaded.config, cloud, report=report, agree=agree, **options)
        if not found.plan.empty:
            _stop("Nothing was deleted.")
        for key, reason in found.plan.kept:
            print(f"Kept: {key}: {reason}.")
        print(f"Nothing of the cluster {loaded.config.name} is left that costs money" + (
            ", but the bucket." if keep_bucket else "."))


@app.command()
def status(file: FileOption = None, output: OutputOption = "table") -> None:
    """What is there now, and what it costs.

    Example: switchyard cluster status --output json
    """
    _formats(output)
    with _failing():
        loaded, cloud = _open(file)
        from cluster import show
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        rows = show.status_rows(loaded.config, found, _lines(loaded, found, wanted=False)[0])
        if output == "json":
            print(json.dumps(rows, indent=2))
        else:
            for table in show.status_tables(rows):
                _console().print(table)


@app.command()
def doctor(
    file: FileOption = None, output: OutputOption = "table", kubeconfig: KubeconfigOption = None
) -> None:
    """Check everything from the project to the pods' identity, and name the next step for each finding.

    Example: switchyard cluster doctor
    """
    _formats(output)
    with _failing():
        loaded, cloud = _open(file)
        from cluster import show
        from cluster.doctor import diagnose
        from cluster.kubeconfig import PLUGIN
        from cluster.load import load_prices
        from cluster.quota import check
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        pools = frozenset(name for name, _, _ in loaded.config.all_pools())
        findings = () if found.observed.disabled_apis else check(loaded.config, found.stock or cloud.stock(), pools)
        there = found.observed.found.get(Key("cluster", loaded.config.name))
        inside = None
        if there is not None or kubeconfig:
            from cluster.in_cluster import look_inside

            inside = look_inside(lambda: _kube(loaded, cloud, found, kubeconfig), loaded.config)
        checks = diagnose(
            loaded.config,
            found.observed,
            found.plan,
            findings,
            load_prices(),
            datetime.datetime.now(tz=datetime.UTC).date(),
            inside=inside,
            plugin=shutil.which(PLUGIN) is not None,
        )
        if output == "json":
            print(json.dumps([check._asdict() for check in checks], indent=2))
        else:
            _console().print(show.checks_table(checks))
        if any(check.state == "fail" for check in checks):
            raise typer.Exit(1)


@app.command()
def kubeconfig(
    file: FileOption = None,
    to: Annotated[str | None, typer.Option(help="File to write. Default: $KUBECONFIG, else ~/.kube/config.")] = None,
) -> None:
    """Add the cluster to the kubeconfig and make it the current one, so that kubectl works.

    Example: switchyard cluster kubeconfig && kubectl get nodes
    """
    with _failing():
        loaded, cloud = _open(file)
        from cluster.kubeconfig import PLUGIN, context_name
        from cluster.kubeconfig_file import write

        path = Path(to or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config").expanduser()
        write(path, loaded.config, _endpoint(loaded, list(cloud.container.observe())))
        print(f"Wrote {path}: context {context_name(loaded.config)} is now the current one.")
        if shutil.which(PLUGIN) is None:
            print(f"kubectl also needs {PLUGIN}: gcloud components install {PLUGIN}")


@app.command()
def scale(
    to_zero: Annotated[bool, typer.Option("--to-zero", help="No node, no NAT: control plane and bucket only.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Bring the nodes back.")] = False,
    file: FileOption = None,
    yes: YesOption = False,
    kubernetes: Annotated[bool, typer.Option(help="Also suspend and resume the RayServices.")] = True,
) -> None:
    """Take all nodes away until they are wanted again, or bring them back.

    Example: switchyard cluster scale --to-zero
    """
    if to_zero == resume:
        raise typer.BadParameter("say either --to-zero or --resume.")
    with _failing():
        loaded, cloud = _open(file)
        from cluster.execute import execute
        from cluster.scale import plan_resume, plan_to_zero
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        planned = (plan_to_zero if to_zero else plan_resume)(found.wanted, found.observed)
        if not planned.empty:
            shown = type(found)(planned, found.observed, found.wanted)
            if not _asker("Do this?", yes, lambda item: _show_plan(loaded, item, cost=False))(shown):
                _stop("Nothing was changed.")
            if to_zero and kubernetes:
                _suspend(loaded, cloud, found, value=True)
            with _progress() as report:
                execute(planned, cloud, cloud.clock, report)
        if resume and kubernetes:
            _suspend(loaded, cloud, found, value=False)
        for note in planned.notes:
            print(note)
        print("At zero: control plane, bucket and stored images are what is left." if to_zero else "Nodes come back.")
        _print_cost(loaded, look(loaded.config, cloud, token=False), wanted=False)


@app.command()
def schedule(
    hours: Annotated[str | None, typer.Argument(help='"weekdays 08:00-20:00 Europe/Berlin"; none: show it.')] = None,
    off: Annotated[bool, typer.Option("--off", help="Remove the schedule.")] = False,
    wake: Annotated[bool, typer.Option("--wake", help="Resume the service now, whatever the schedule says.")] = False,
    sleep: Annotated[bool, typer.Option("--sleep", help="Suspend the service now.")] = False,
    file: FileOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Suspend the service outside these hours, by CronJobs in the cluster; its GPU nodes go with it.

    Example: switchyard cluster schedule "weekdays 08:00-20:00 Europe/Berlin"
    """
    if sum([hours is not None, off, wake, sleep]) > 1:
        raise typer.BadParameter("say one of HOURS, --off, --wake and --sleep.")
    with _failing():
        loaded, cloud = _open(file)
        from cluster import in_cluster
        from cluster.hours import parse

        wanted = parse(hours) if hours else None
        kube = _kube(loaded, cloud, None, kubeconfig)
        if wake or sleep:
            changed = in_cluster.suspend(kube, loaded.config.namespace, print, value=sleep, service=loaded.service)
            print("" if changed else f"RayService {loaded.service}: nothing to do, or there is none.")
        elif wanted or off:
            in_cluster.set_schedule(kube, loaded.config, wanted, loaded.service, print)
        if wanted:
            _schedule_notes(loaded, wanted.share_on)
        if not (wake or sleep):
            text = in_cluster.schedule_of(kube, loaded.config, loaded.service)
            print(f"{loaded.service} is up {text}." if text else f"{loaded.service} has no schedule.")


@app.command(name="install-operator")
def install_operator(
    file: FileOption = None,
    version: Annotated[str | None, typer.Option(help="KubeRay's version; the newest that is pinned by default.")] = None,
    manifests: ManifestsOption = None,
    kubeconfig: KubeconfigOption = None,
    image: Annotated[str, typer.Option(help="Operator image instead of the release's, best with its digest.")] = "",
    downgrade: Annotated[bool, typer.Option(help="Also to an older version.")] = False,
    again: Annotated[bool, typer.Option(help="Apply although it is installed.")] = False,
) -> None:
    """Install or upgrade KubeRay, CRDs included. Refuses while a rollout is running.

    Example: switchyard cluster install-operator --version 1.7.0
    """
    with _failing():
        loaded, cloud = _open(file)
        if loaded.config.ray_operator == "addon":
            raise ClusterError("cluster.ray_operator is addon: GKE installs and upgrades KubeRay itself.")
        kube = _kube(loaded, cloud, None, kubeconfig)
        _operator(kube, version, manifests, image=image, downgrade=downgrade, again=again)


@prices_app.command()
def refresh(file: FileOption = None) -> None:
    """Fetch the region's list prices from Google's Billing Catalog.

    Example: switchyard cluster prices refresh
    """
    with _failing():
        loaded, cloud = _open(file)
        from cluster.gcp_billing import rates_of_region
        from cluster.load import write_prices

        rates = rates_of_region(cloud.clients, loaded.config.region)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        path, missing = write_prices(loaded.config.region, rates, today)
        print(f"Wrote {path}: {len(rates)} rates for {loaded.config.region}, {today}.")
        if missing:
            print(f"Not in the catalogue, still estimates: {', '.join(missing)}")


# Below: how commands read and print.


def _open(file: str | None) -> tuple[Loaded, Cloud]:
    from cluster.gcp import open_cloud
    from cluster.load import load

    loaded = load(file)
    return loaded, open_cloud(loaded.config, loaded.token, os.environ)


def _kube(loaded: Loaded, cloud: Cloud, found: Look | None, path: str | None) -> Kube:
    from cluster.kube import from_gke, from_kubeconfig

    if path:
        return from_kubeconfig(path)
    there = found.observed.found.values() if found else cloud.container.observe()
    return from_gke(_endpoint(loaded, list(there)), cloud.clients)


def _endpoint(loaded: Loaded, found: list[Any]) -> str:
    key = Key("cluster", loaded.config.name)
    endpoint = next((item.facts.get("endpoint", "") for item in found if item.key == key), "")
    if not endpoint:
        raise ClusterError(f"There is no cluster {loaded.config.name} yet; make it with: switchyard cluster apply")
    return endpoint


def _inside(loaded: Loaded, cloud: Cloud, found: Look, manifests: str | None) -> None:
    from cluster.in_cluster import apply_objects

    try:
        kube = _kube(loaded, cloud, found, None)
        if loaded.config.ray_operator == "kuberay":
            _operator(kube, None, manifests)
        token = loaded.token or cloud.secrets.token(f"{loaded.config.name}-hf-token")
        for text in apply_objects(kube, loaded.config, token, _step):
            print(f"  -- {text}")
    except ClusterError as error:
        raise type(error)(f"{error}\nGoogle's part is done; what is inside the cluster is not. Run apply again.") from None


def _operator(kube: Kube, version: str | None, manifests: str | None, **options: Any) -> None:
    from cluster import kuberay_release as release
    from cluster.in_cluster import install_operator as install
    from cluster.kube import fetch_release, read_release

    version = version or release.DEFAULT_VERSION
    files = release.files(version)

    def contents() -> Any:
        if manifests:
            return read_release(manifests, files)
        return fetch_release({path: release.BASE.format(version=version, path=path) for path in files})

    verdict = install(kube, version, contents, _step, **options)
    print(f"  ok {verdict.text}")


def _suspend(loaded: Loaded, cloud: Cloud, found: Look, *, value: bool) -> None:
    from cluster.in_cluster import suspend

    try:
        suspend(_kube(loaded, cloud, found, None), loaded.config.namespace, _step, value=value)
    except ClusterError as error:
        # Without nodes the pods wait, and cost nothing: suspending them is tidier, no more.
        print(f"  -- RayServices are left as they are: {error}")


def _schedule_notes(loaded: Loaded, share: float) -> None:
    from cluster.load import load_prices
    from cluster.prices import hours_off_saving
    from cluster.wanted_gke import gke

    pools = [
        (item.key, item.spec)
        for item in gke(loaded.config, None)
        if item.key.kind == "node-pool" and item.key.name != "system"
    ]
    prices = load_prices()
    saved = hours_off_saving(prices, loaded.config.region, pools, share)
    print(f"On {share:.0%} of the week: saves up to ${saved:,.0f} a month ({prices.label}).")
    for name, pool, _ in loaded.config.all_pools():
        if pool.min_nodes:
            print(f"Pool {name} keeps {pool.min_nodes} nodes all the time: set cluster.pools.{name}.min_nodes to 0.")


def _lines(loaded: Loaded, found: Look, *, wanted: bool) -> tuple[Any, Any, Any]:
    from cluster.load import load_prices
    from cluster.prices import cost

    if wanted:
        specs = [(item.key, item.spec) for item in found.wanted]
    else:
        specs = [(key, item.spec) for key, item in sorted(found.observed.found.items()) if item.ours]
    prices = load_prices()
    return cost(prices, loaded.config.region, specs), prices, specs


def _show_plan(loaded: Loaded, found: Look, *, cost: bool = True) -> None:
    from cluster import show

    console = _console()
    if found.plan.empty:
        print("Nothing to do: everything is as the service file wants it.")
    else:
        console.print(show.plan_table(found.plan))
    for key, reason in found.plan.kept:
        print(f"Kept: {key}: {reason}.")
    for note in found.plan.notes:
        print(f"Note: {note}")
    if found.first_apis and found.plan.actions:
        print("Quotas and zones cannot be read before the APIs are enabled; apply does that first, then checks them.")
    for finding in found.findings:
        print(f"Quota of pool {finding.pool}: {'ok' if finding.ok else 'NO'}. {finding.text}")
    if not loaded.token and any(key.kind == "secret" for key in [action.key for action in found.plan.actions]):
        print("Note: HF_TOKEN is not set; the secret stays empty, which is enough for models that are not gated.")
    if cost:
        _print_cost(loaded, found, wanted=True)


def _print_cost(loaded: Loaded, found: Look, *, wanted: bool) -> None:
    from cluster import show

    lines, prices, specs = _lines(loaded, found, wanted=wanted)
    print()
    _console().print(show.cost_table(lines))
    pools = [(key, spec) for key, spec in specs if key.kind == "node-pool"]
    for text in [show.under_cost(prices), *show.savings(loaded.config, prices, pools)]:
        print(text)


def _plan_json(loaded: Loaded, found: Look) -> str:
    from cluster import show

    lines, prices, _ = _lines(loaded, found, wanted=True)
    return show.plan_json(found, lines, prices)


def _explain(loaded: Loaded, found: Look) -> None:
    from cluster.explain import explain

    for action in found.plan.actions:
        for line in explain(loaded.config, action):
            print(line)


def _asker(question: str, yes: bool, show: Callable[[Look], None]) -> Callable[[Look], bool]:
    def agree(found: Look) -> bool:
        show(found)
        if yes:
            return True
        if not sys.stdin.isatty():
            print(f"{question} Nobody is there to answer; say --yes.", file=sys.stderr)
            raise typer.Exit(2)
        return typer.confirm(question)

    return agree


@contextmanager
def _progress() -> Iterator[Callable[[Action, str, float], None]]:
    """A line an action when it is done; in a terminal a running line shows those under way."""
    console = _console()
    running: dict[str, str] = {}
    status: Any = console.status("") if console.is_terminal else None

    def report(action: Action, event: str, seconds: float) -> None:
        name = str(action)
        if event in ("done", "failed"):
            running.pop(name, None)
            mark = "[green]ok[/]" if event == "done" else "[red]failed[/]"
            console.print(f"  {mark} {name} [dim]{seconds:.0f} s[/]", soft_wrap=True)
        else:
            running[name] = "" if event == "start" else f" ({event})"
            if status is None and event == "start" and action.key.kind in ("cluster", "node-pool"):
                console.print(f"  .. {name}", soft_wrap=True)
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
def _failing() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("\nStopped. Operations that Google has begun go on there; run it again to go on from them.")
        raise typer.Exit(130) from None
    except ClusterError as error:
        _fail(error)


def _fail(error: Exception) -> None:
    print(f"switchyard: {error}", file=sys.stderr)
    raise typer.Exit(1)


def _stop(text: str) -> None:
    print(text)
    raise typer.Exit(1)


def _step(text: str) -> None:
    print(f"  ok {text}")


def _formats(output: str) -> None:
    if output not in ("table", "json"):
        raise typer.BadParameter("use table or json.", param_hint="--output")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
