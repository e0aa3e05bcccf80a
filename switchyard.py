"""The console command: joins the packages' sub-commands, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

import typer

import kuberay.cli
import service_file
from serve_app import __version__, cli
from serve_app.config import ServiceConfig

app = typer.Typer(
    name="switchyard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of the time --help takes
    help="Run an open language model on Ray Serve and vLLM, and change it without an outage.",
)
app.command()(cli.serve)
app.command()(cli.chat)
app.command()(cli.generate)
app.add_typer(cli.config_app, name="config")
for command in (
    kuberay.cli.render,
    kuberay.cli.diff,
    kuberay.cli.deploy,
    kuberay.cli.suspend,
    kuberay.cli.resume,
    kuberay.cli.delete,
):
    app.command()(command)


@cli.config_app.command()
def schema() -> None:
    """Print the JSON schema of service files, for editors and for reading.

    Example: switchyard config schema > service.schema.json
    """
    import json

    from kuberay.config import KubernetesConfig

    print(json.dumps(service_file.json_schema(ServiceConfig, {"kubernetes": KubernetesConfig}), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the console script."""
    app()
