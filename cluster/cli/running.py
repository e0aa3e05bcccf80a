"""The sub-commands for a cluster that runs: scale, schedule, install-operator, prices. Exit codes: ``commands.py``."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from cluster.cli.hints import with_file
from cluster.cli.in_kubernetes import do_operator, do_suspend, kube_of
from cluster.cli.terminal import (
    FileOption,
    KubeconfigOption,
    ManifestsOption,
    YesOption,
    asker,
    failing,
    opened,
    print_cost,
    progress,
    schedule_notes,
    show_plan,
    stop,
)
from cluster.errors import ClusterError

prices_app = typer.Typer(no_args_is_help=True, help="The price list that plans use.")


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
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.execute import execute
        from cluster.plan.scale import plan_resume, plan_to_zero
        from cluster.workflow import look

        found = look(loaded.config, cloud, token=False)
        planned = (plan_to_zero if to_zero else plan_resume)(found.wanted, found.observed)
        if not planned.empty:
            shown = type(found)(planned, found.observed, found.wanted)
            if not asker("Do this?", yes, lambda item: show_plan(loaded, item, cost=False))(shown):
                stop("Nothing was changed.")
            if to_zero and kubernetes:
                do_suspend(loaded, cloud, found, value=True)
            with progress() as report:
                execute(planned, cloud, cloud.clock, report)
        if resume and kubernetes:
            do_suspend(loaded, cloud, found, value=False)
        for note in planned.notes:
            print(with_file(note, file))
        if to_zero:
            print("At zero: control plane, bucket and stored images are what is left.")
        elif not planned.empty:
            print("Nodes come back.")
        print_cost(loaded, look(loaded.config, cloud, token=False), wanted=False)


def schedule(
    hours: Annotated[str | None, typer.Argument(help='"weekdays 08:00-20:00 Europe/Berlin"; none: show it.')] = None,
    off: Annotated[bool, typer.Option("--off", help="Remove the schedule.")] = False,
    wake: Annotated[bool, typer.Option("--wake", help="Resume the service now, whatever the schedule says.")] = False,
    sleep: Annotated[bool, typer.Option("--sleep", help="Suspend the service now.")] = False,
    *,
    file: FileOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Suspend the service outside these hours, by CronJobs in the cluster; its GPU nodes go with it.

    Example: switchyard cluster schedule "weekdays 08:00-20:00 Europe/Berlin"
    """
    if sum([hours is not None, off, wake, sleep]) > 1:
        raise typer.BadParameter("say one of HOURS, --off, --wake and --sleep.")
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.hours import parse
        from cluster.kube import in_cluster

        wanted = None if hours is None else parse(hours)
        kube = kube_of(loaded, cloud, None, kubeconfig)
        if wake or sleep:
            if not in_cluster.suspend(kube, loaded.config.namespace, loaded.service, print, value=sleep):
                print(f"RayService {loaded.service} {'sleeps' if sleep else 'is awake'} already.")
        elif wanted or off:
            in_cluster.set_schedule(kube, loaded.config, wanted, loaded.service, print)
        if wanted:
            schedule_notes(loaded, wanted.share_on)
        if not (wake or sleep):
            text = in_cluster.schedule_of(kube, loaded.config, loaded.service)
            print(f"{loaded.service} is up {text}." if text else f"{loaded.service} has no schedule.")


def install_operator(
    *,
    file: FileOption = None,
    version: Annotated[str | None, typer.Option(help="Instead of cluster.kuberay_version.")] = None,
    manifests: ManifestsOption = None,
    kubeconfig: KubeconfigOption = None,
    image: Annotated[str, typer.Option(help="Operator image instead of the release's, best with its digest.")] = "",
    downgrade: Annotated[bool, typer.Option(help="Also to an older version.")] = False,
    again: Annotated[bool, typer.Option(help="Apply although it is installed.")] = False,
) -> None:
    """Install or upgrade KubeRay, CRDs included. Refuses while a rollout is running.

    Example: switchyard cluster install-operator --version 1.7.0
    """
    with failing(file):
        loaded, cloud = opened(file)
        if loaded.config.ray_operator == "addon":
            raise ClusterError("cluster.ray_operator is addon: GKE installs and upgrades KubeRay itself.")
        kube = kube_of(loaded, cloud, None, kubeconfig)
        do_operator(
            kube, version or loaded.config.kuberay_version, manifests, image=image, downgrade=downgrade, again=again
        )


@prices_app.command()
def refresh(file: FileOption = None) -> None:
    """Fetch the region's list prices from Google's Billing Catalog.

    Example: switchyard cluster prices refresh
    """
    with failing(file):
        loaded, cloud = opened(file)
        from cluster.gcp.billing import rates_of_region
        from cluster.load import write_prices

        rates = rates_of_region(cloud.clients, loaded.config.region)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        path, missing = write_prices(loaded.config.region, rates, today)
        print(f"Wrote {path}: {len(rates)} rates for {loaded.config.region}, {today}.")
        if missing:
            print(f"Not in the catalogue, still estimates: {', '.join(missing)}")
