"""The sub-commands ``switchyard serve``, ``chat`` and ``config``. Only this file prints (and the chat).

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C (``chat``; it is how ``serve`` ends, with 0).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape

from serve_app.config import ServiceConfig
from serve_app.environment import HANDLE_ENV
from serve_app.errors import SwitchyardError
from serve_app.load import load

if TYPE_CHECKING:
    from serve_app.local import Running

config_app = typer.Typer(no_args_is_help=True, help="Look at service files.")

FileOption = Annotated[
    str | None, typer.Option("--file", "-f", help="Service file. Default: $SWITCHYARD_CONFIG, else deploy/local.yaml.")
]


UrlOption = Annotated[str, typer.Option(help="Where the service is.")]
QuestionArgument = Annotated[str | None, typer.Argument(help="Ask this one thing and leave.")]
PromptArgument = Annotated[str | None, typer.Argument(help="Default: standard input.")]
SystemOption = Annotated[str | None, typer.Option(help="System message.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=1, help="Most tokens an answer may have.")]
TemperatureOption = Annotated[float | None, typer.Option(min=0, max=2, help="0 is the likeliest answer.")]
AnswerOption = Annotated[
    str, typer.Option("--output", "-o", help="text as it comes, or json with token counts and release.")
]


def serve(
    file: FileOption = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port, instead of the file's.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, instead of the file's.")] = None,
    dashboard: Annotated[bool, typer.Option(help="Also start Ray's dashboard, on port 8265.")] = False,
) -> None:
    """Serve a model on this machine until Ctrl-C.

    Example: switchyard serve -f deploy/local.yaml --port 8001
    """
    from serve_app import lifetime

    lifetime.stay_behind()
    environ = dict(os.environ)
    if port is not None:
        environ["SWITCHYARD__SERVING__PORT"] = str(port)
    if model is not None:
        environ.pop("SWITCHYARD__MODEL__ID", None)
        environ["MODEL_ID"] = model
    for number in lifetime.END_SIGNALS:
        signal.signal(number, _interrupt)
    steps = _Steps()
    try:
        config = load(file, environ)
        _warn(config)
        from serve_app import local

        with local.running(config, report=steps.begin, dashboard=dashboard) as running:
            steps.end()
            _welcome(config, running, steps.elapsed())
            while True:
                signal.pause()
    except KeyboardInterrupt:
        steps.end(interrupted=True)
        _say_goodbye()
    except SwitchyardError as error:
        steps.end(failed=True)
        _fail(error)


def chat(
    question: QuestionArgument = None,
    url: UrlOption = "http://localhost:8000",
    system: SystemOption = None,
    max_tokens: MaxTokensOption = None,
) -> None:
    """Chat with a running service in the terminal. The key, if it wants one, is taken from $SWITCHYARD_API_KEY.

    Example: switchyard chat "What is the capital of France?"
    """
    from serve_app import chat as talk

    session = talk.Session(url, system=system, max_tokens=max_tokens, api_key=os.environ.get("SWITCHYARD_API_KEY"))
    try:
        if question is None and not sys.stdin.isatty():
            question = sys.stdin.read().strip()
            if not question:
                raise typer.BadParameter("nothing came through the pipe.", param_hint="QUESTION")
        if question is not None:
            talk.say(session, question)
        else:
            talk.loop(session)
    except KeyboardInterrupt:
        print()
        raise typer.Exit(130) from None
    except SwitchyardError as error:
        _fail(error)


def generate(
    prompt: PromptArgument = None,
    url: UrlOption = "http://localhost:8000",
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    output: AnswerOption = "text",
) -> None:
    """Ask a running service once. The key, if it wants one, is taken from $SWITCHYARD_API_KEY.

    Example: switchyard generate "The capital of France is" --max-tokens 8
    """
    from serve_app import client

    if output not in ("text", "json"):
        raise typer.BadParameter("use text or json.", param_hint="--output")
    body: dict[str, Any] = {"prompt": prompt if prompt is not None else sys.stdin.read().strip()}
    optional = {"max_tokens": max_tokens, "temperature": temperature}
    body |= {key: value for key, value in optional.items() if value is not None}
    key = os.environ.get("SWITCHYARD_API_KEY")
    try:
        if output == "json":
            print(json.dumps(client.whole(url, body, key), indent=2))
            return
        for piece in client.stream(url, body, key):
            print(piece, end="", flush=True)
        print()
    except KeyboardInterrupt:
        print()
        raise typer.Exit(130) from None
    except SwitchyardError as error:
        _fail(error)


@config_app.command()
def show(
    file: FileOption = None,
    output: Annotated[str, typer.Option(help="yaml or json.")] = "yaml",
) -> None:
    """Print a service file as it is understood: defaults filled in, overrides applied, its release hash.

    Example: switchyard config show -f deploy/gke-l4.yaml --output json
    """
    if output not in ("yaml", "json"):
        raise typer.BadParameter("use yaml or json.", param_hint="--output")
    try:
        config = load(file)
    except SwitchyardError as error:
        _fail(error)
    _warn(config)
    data: dict[str, Any] = {"release": config.release, **config.model_dump(mode="json")}
    print(json.dumps(data, indent=2) if output == "json" else yaml.safe_dump(data, sort_keys=False), end="")
    if output == "json":
        print()


class _Steps:
    """Prints each step with the seconds it took; in a terminal, a running line shows the current one."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._begun = time.monotonic()
        self._text: str | None = None
        self._since = self._begun
        self._status: Any = None

    def begin(self, text: str) -> None:
        self.end()
        self._text, self._since = text, time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(f"{escape(text)} ...")
            self._status.start()
        else:
            self._console.print(f"  .. {escape(text)}", soft_wrap=True)

    def end(self, *, failed: bool = False, interrupted: bool = False) -> None:
        """Close the current step, if there is one."""
        if self._text is None:
            return
        if self._status is not None:
            self._status.stop()
            self._status = None
        mark = "[red]failed[/]" if failed else "[yellow]stopped[/]" if interrupted else "[green]ok[/]"
        took = time.monotonic() - self._since
        self._console.print(f"  {mark} {escape(self._text)} [dim]{took:.1f} s[/]", soft_wrap=True)
        self._text = None

    def elapsed(self) -> float:
        """Seconds since the first step."""
        return time.monotonic() - self._begun


def _welcome(config: ServiceConfig, running: Running, took: float) -> None:
    url = running.url
    auth = os.environ.get("RAY_AUTH_MODE", "disabled")  # Ray has set it by now
    faster = " ".join(f"{name}={value}" for name, value in HANDLE_ENV.items())
    body = '{"prompt": "Why is the sky blue?", "stream": true}'
    print(
        f"\nServing {config.model.served_name} (release {config.release}) on {url}, after {took:.0f} s.\n\n"
        f"  curl -N {url}/generate -H 'content-type: application/json' -d '{body}'\n\n"
        f'  chat  make chat ARGS="--url {url}"\n'
        f"  API   {url}/docs  (OpenAI clients: base_url {url}/v1)\n"
        f"  Ray   RAY_AUTH_MODE={auth} RAY_ADDRESS={running.ray_address} {faster}\n"
        "        (for Python handles, as in examples/classify.py)\n"
        f"  logs  {running.logs}\n\n"
        "Ctrl-C stops everything.",
        flush=True,
    )


def _say_goodbye() -> None:
    from serve_app import lifetime

    left = [f"{process.name()} (pid {process.pid})" for process in lifetime.descendants()]
    if left:
        print(f"switchyard: stopped, but still running: {', '.join(left)}.", file=sys.stderr)
        raise typer.Exit(1)
    print("Stopped. Nothing is left running.")


def _warn(config: ServiceConfig) -> None:
    for warning in config.warnings:
        print(f"switchyard: warning: {warning}", file=sys.stderr)


def _fail(error: Exception) -> None:
    print(f"switchyard: {error}", file=sys.stderr)
    raise typer.Exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: what follows is the clean-up, and a second Ctrl-C must not break it off half-way.
    from serve_app import lifetime

    for other in lifetime.END_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
