"""The console command: joins the packages' sub-commands, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

import typer

import cluster.cli
from serve_app import __version__, cli

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
app.add_typer(cli.config_app, name="config")
app.add_typer(cluster.cli.app, name="cluster")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the console script."""
    app()
