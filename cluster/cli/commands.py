"""The sub-commands of ``switchyard cluster``. ``terminal.py`` prints for them.

Exit codes: 0 done (``plan``: nothing to do), 1 failed or refused, 2 differences in ``plan`` or wrong use, 130 Ctrl-C.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli import running as cli_running
from cluster.cli.hints import with_file
from cluster.cli.in_kubernetes import check_manifests, check_one_operator, do_inside, endpoint, kube_of
from cluster.cli.tables import console, put
from cluster.cli.terminal import (
    ExplainOption,
    FileOption,
    KubeconfigOption,
    ManifestsOption,
    OutputOption,
    ReplaceOption,
    YesOption,
    asker,
    cost_lines,
    failing,
    formats,
    opened,
    plan_json,
    print_cost,
    print_gcloud,
    progress,
    show_apply,
    show_plan,
    stop,
)
from cluster.model import Key

app = typer.Typer(
    no_args_is_help=True, help="Make, check, scale and destroy what a service stands on, on Google Cloud."
)


@app.command()
def plan(
    file: FileOption = None,
    replace: ReplaceOption = None,
    explain: ExplainOption = False,
    output: OutputOption = "table",
) -> None:
    """Show what apply would do, what it costs a month, and whether the quotas allow it. Changes nothing.

    Example: switchyard cluster plan -f deploy/gke-l4.yaml
    """
    formats(output)
    if explain and output == "json":
        raise typer.BadParameter("--explain prints commands for a shell; leave --output json out.")
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=bool(loaded.token), replacing=replace or ())
        if explain:
            print_gcloud(loaded, found)
        elif output == "json":
            print(plan_json(loaded, found))
        else:
            show_plan(loaded, found)
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
    with failing(file):
        loaded, cloud = opened(file)
        if kubernetes:
            check_manifests(loaded, manifests)
            check_one_operator(loaded, cloud)
        from cluster.workflow import converge

        agree = asker("Apply this?", yes, lambda found: show_apply(loaded, found))
        with progress() as report:
            found = converge(
                loaded.config, cloud, token=bool(loaded.token), replacing=replace or (), report=report, agree=agree
            )
        if not found.plan.empty:
            stop("Nothing was changed.")
        if kubernetes and not found.observed.parked:
            do_inside(loaded, cloud, found, manifests)
        print_cost(loaded, found, wanted=False)
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
    if delete_models and keep_bucket:
        raise typer.BadParameter("say one of --delete-models and --keep-bucket.")
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.workflow import look_destroy, tear_down

        options = {"delete_models": delete_models, "keep_bucket": keep_bucket}
        if explain:
            print_gcloud(loaded, look_destroy(loaded.config, cloud, **options))
            return
        agree = asker("Delete all of this?", yes, lambda found: show_plan(loaded, found, cost=False))
        with progress() as report:
            found = tear_down(loaded.config, cloud, report=report, agree=agree, **options)
        if not found.plan.empty:
            stop("Nothing was deleted.")
        for key, reason in found.plan.kept:
            print(f"Kept: {key}: {reason}.")
        print(
            f"Nothing of the cluster {loaded.config.name} is left that costs money"
            + (", but the bucket." if keep_bucket else ".")
        )


@app.command()
def status(file: FileOption = None, output: OutputOption = "table") -> None:
    """What is there now, and what it costs.

    Example: switchyard cluster status --output json
    """
    formats(output)
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.cli import show
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        rows = show.status_rows(loaded.config, found, cost_lines(loaded, found, wanted=False)[0])
        if output == "json":
            print(json.dumps(rows, indent=2))
        else:
            for shown in show.status_tables(rows, with_file("switchyard cluster plan", file)):
                put(console(), shown)


@app.command()
def doctor(file: FileOption = None, output: OutputOption = "table", kubeconfig: KubeconfigOption = None) -> None:
    """Check everything from the project to the pods' identity, and name the next step for each finding.

    Example: switchyard cluster doctor
    """
    formats(output)
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.cli import show
        from cluster.doctor import diagnose
        from cluster.inside.kubeconfig import PLUGIN
        from cluster.load import load_prices, price_file
        from cluster.plan.quota import check
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        pools = frozenset(name for name, _, _ in loaded.config.all_pools())
        findings = () if found.observed.disabled_apis else check(loaded.config, found.stock or cloud.stock(), pools)
        there = found.observed.found.get(Key("cluster", loaded.config.name))
        inside = None
        if there is not None or kubeconfig:
            from cluster.kube.in_cluster import look_inside

            inside = look_inside(lambda: kube_of(loaded, cloud, found, kubeconfig), loaded.config)
        checks = diagnose(
            loaded.config,
            found.observed,
            found.plan,
            findings,
            load_prices(),
            wanted=found.wanted,
            price_file=str(price_file()),
            today=datetime.datetime.now(tz=datetime.UTC).date(),
            inside=inside,
            plugin=shutil.which(PLUGIN) is not None,
        )
        checks = [item._replace(found=with_file(item.found, file), next=with_file(item.next, file)) for item in checks]
        if output == "json":
            print(json.dumps([check._asdict() for check in checks], indent=2))
        else:
            put(console(), show.checks_table(checks))
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
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.inside.kubeconfig import PLUGIN, context_name
        from cluster.kube.kubeconfig_file import write

        path = Path(to or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config").expanduser()
        write(path, loaded.config, endpoint(loaded, cloud))
        print(f"Wrote {path}: context {context_name(loaded.config)} is now the current one.")
        if shutil.which(PLUGIN) is None:
            print(f"kubectl also needs {PLUGIN}: gcloud components install {PLUGIN}")


app.command()(cli_running.scale)
app.command()(cli_running.schedule)
app.command(name="install-operator")(cli_running.install_operator)
app.add_typer(cli_running.prices_app, name="prices")
