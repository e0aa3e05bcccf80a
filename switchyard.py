"""The console command: joins the packages' sub-commands, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

import bench.cli
import cluster.cli.commands
import kuberay.cli.changes
import service_file
from bench import cli_planning
from kuberay.cli import forward as cli_forward
from kuberay.cli import look as cli_look
from kuberay.cli import report as cli_report
from kuberay.cli import rollout as cli_rollout
from serve_app import __version__, cli
from serve_app.config import ServiceConfig

if TYPE_CHECKING:
    from bench.price_table import Prices as MachinePrices
    from kuberay.plan.capacity import Prices

LOCAL = "http://localhost:8000"
OnClusterOption = Annotated[
    str | None, typer.Option("--file", "-f", help="Service file: talk to it on its cluster instead of --url.")
]
PreviewOption = Annotated[bool, typer.Option("--preview", help="With -f: the release that a rollout holds.")]

app = typer.Typer(
    name="switchyard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of the time --help takes
    help="Run an open language model on Ray Serve and vLLM, and change it without an outage.",
)
app.command()(cli.serve)


@app.callback()
def joined(ctx: typer.Context) -> None:
    """Hand the commands of one package what another knows."""
    ctx.obj = _gpu_prices
    ctx.meta[cli_planning.MACHINE_PRICES] = _machine_prices


def _gpu_prices(file: str) -> Prices:
    """What GPUs cost in the cluster that a service file describes; nothing is known without such a section."""
    from cluster import errors, load
    from cluster.gpus import machine
    from kuberay.plan.capacity import UNPRICED, Prices

    try:
        config, listed = load.load(file).config, load.load_prices()
    except errors.ConfigError:
        return UNPRICED

    def of(label: str, spot: bool) -> float | None:
        for _, pool, on_spot in config.all_pools():
            shape = machine(pool.machine)
            if shape.accelerator == label and on_spot == spot:
                return listed.of_machine(config.region, pool.machine, spot=spot) / shape.gpus
        return None

    parts = [listed.machine_parts(pool.machine, spot=spot) for _, pool, spot in config.all_pools()]
    return Prices(of, listed.label(config.region, chain.from_iterable(parts)))


def _machine_prices(region: str) -> MachinePrices:
    """What each machine type costs in a region, and what a cluster costs whatever runs in it."""
    from bench.errors import PriceError
    from bench.price_table import Machine, Prices
    from cluster import errors, gpus, load

    try:
        listed = load.load_prices()
    except errors.ConfigError as error:
        raise PriceError(str(error)) from None

    def of(name: str, spot: bool) -> float | None:
        try:
            return listed.of_machine(region, name, spot=spot)
        except KeyError:  # no such offer in the list
            return None

    shapes = gpus.GPU_MACHINES | gpus.SYSTEM_MACHINES
    machines = {name: Machine(name, of(name, False), of(name, True), shape.gpus) for name, shape in shapes.items()}
    # NAT is paid by the node: of the one system node here.
    always: dict[str, float] = dict.fromkeys(("gke.cluster", "nat.node", "nat.address"), listed.hours)
    used = chain(always, *(listed.machine_parts(name, spot=spot) for name in shapes for spot in (False, True)))
    return Prices(f"{region}, {listed.label(region, used)}", machines, listed.of(region, always))


@app.command()
def chat(
    question: cli.QuestionArgument = None,
    url: cli.UrlOption = LOCAL,
    file: OnClusterOption = None,
    preview: PreviewOption = False,
    system: cli.SystemOption = None,
    max_tokens: cli.MaxTokensOption = None,
) -> None:
    """Chat with a running service in the terminal. The key, if it wants one, is taken from $SWITCHYARD_API_KEY.

    Example: switchyard chat "What is the capital of France?"
    """
    with _where(url, file, preview=preview) as address:
        cli.chat(question, address, system, max_tokens)


@app.command()
def generate(
    prompt: cli.PromptArgument = None,
    url: cli.UrlOption = LOCAL,
    file: OnClusterOption = None,
    preview: PreviewOption = False,
    max_tokens: cli.MaxTokensOption = None,
    temperature: cli.TemperatureOption = None,
    output: cli.AnswerOption = "text",
) -> None:
    """Ask a running service once. The key, if it wants one, is taken from $SWITCHYARD_API_KEY.

    Example: switchyard generate -f deploy/gke-l4.yaml "The capital of France is" --max-tokens 8
    """
    with _where(url, file, preview=preview) as address:
        cli.generate(prompt, address, max_tokens, temperature, output)


def _where(url: str, file: str | None, *, preview: bool) -> AbstractContextManager[str]:
    if preview and not file:
        raise typer.BadParameter("name the service file with -f.", param_hint="--preview")
    return cli_forward.reached(file, preview=preview) if file else nullcontext(url)


app.add_typer(cli.config_app, name="config")
for command in (
    kuberay.cli.changes.render,
    kuberay.cli.changes.diff,
    kuberay.cli.changes.deploy,
    cli_rollout.rollout,
    cli_rollout.promote,
    cli_rollout.abort,
    cli_rollout.rollback,
    cli_report.history,
    cli_report.report,
    cli_look.status,
    cli_look.doctor,
    cli_look.logs,
    kuberay.cli.changes.suspend,
    kuberay.cli.changes.resume,
    kuberay.cli.changes.delete,
):
    app.command()(command)
app.command("port-forward")(cli_forward.port_forward)
app.add_typer(cluster.cli.commands.app, name="cluster")
app.add_typer(bench.cli.app, name="bench")
app.command()(cli_planning.cost)
app.command()(cli_planning.plan_capacity)


@cli.config_app.command()
def schema() -> None:
    """Print the JSON schema of service files, for editors and for reading.

    Example: switchyard config schema > service.schema.json
    """
    import json

    from cluster.config import ClusterConfig
    from kuberay.config import KubernetesConfig
    from kuberay.rollout_config import Rollout

    sections = {"kubernetes": KubernetesConfig, "rollout": Rollout, "cluster": ClusterConfig}
    print(json.dumps(service_file.json_schema(ServiceConfig, sections), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
