"""The sub-commands that decide what serves: ``rollout``, ``promote``, ``abort``, ``rollback``.

Exit codes: 0 done, 1 it failed, was refused, aborted or rolled back, 2 wrong use, 130 ended by Ctrl-C, which leaves
the rollout where it stands: the same command goes on with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from kuberay.cli.common import (
    ContextOption,
    FileOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    ServiceOption,
    Target,
    YesOption,
    checked,
    fail,
    name_and_revision,
    one_of,
    revision_argument,
    target,
)
from kuberay.cli.deciding import Say, roll_back, roll_out, wish
from kuberay.cli.proof import LoadOption, LoadOutOption, LoadPauseOption, LoadTokensOption, LoadUrlOption, proof
from kuberay.errors import KubeRayError

if TYPE_CHECKING:
    from kuberay.rollout.run import Stand

AutoOption = Annotated[bool, typer.Option("--auto", help="Promote on a good verdict, abort on a bad one.")]
_STANDS = "The rollout stays where it is: the same command goes on with it."
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; it is kept in the history.")]


def rollout(
    ctx: typer.Context,
    file: FileOption,
    context: ContextOption = None,
    auto: AutoOption = False,
    wait: Annotated[bool, typer.Option(help="Stay until it is decided; without, end once it is held.")] = True,
    force: Annotated[
        bool, typer.Option(help="Apply even what diff refuses or has no way back, and fields others manage.")
    ] = False,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Bring a new release up beside the one that serves, hold it, validate it, and switch when that is decided.

    Without --auto it waits for `switchyard promote` or `switchyard abort`, which anybody may give from anywhere.
    Running it again goes on where an earlier run was ended.

    Example: switchyard rollout -f deploy/gke-l4.yaml --auto
    """
    from kuberay.api.client import Api

    if auto and not wait:
        raise typer.BadParameter("with --auto the verdict decides: nothing is left to others.", param_hint="--no-wait")
    one_of(output, "text", "json")
    with _ending(output) as (say, done):
        service = checked(file)
        there = Target(Api.connect(context), service.kubernetes.namespace, service.name)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        quiet = output == "json"
        done.append(roll_out(ctx, file, there, service, streams, say, auto=auto, wait=wait, force=force, quiet=quiet))


def promote(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    reason: ReasonOption = "",
    force: Annotated[bool, typer.Option(help="Although the verdict is bad or not there; needs --reason.")] = False,
    to: Annotated[int, typer.Option(min=1, max=100, help="Per cent of the traffic, to hold there; incremental.")] = 100,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Let a release that is held have the traffic; with --to, and the incremental strategy, so much of it.

    Example: switchyard promote -f deploy/gke-l4.yaml
    """
    from kuberay.rollout.record import Verb

    if force and not reason:
        raise typer.BadParameter("say why with --reason: it is kept in the history.", param_hint="--force")
    with _ending(output) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(wish(there, streams, Verb.PROMOTE, reason, say, force=force, to=to, file=None if name else file))


def abort(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    reason: ReasonOption = "",
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """End a rollout, in whatever state it is: what served before serves, while it still runs, and the new cluster goes.

    Example: switchyard abort -f deploy/gke-l4.yaml -m "answers are too long"
    """
    from kuberay.rollout.record import Verb

    with _ending(output, wanted=("aborted", "rolled back")) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(wish(there, streams, Verb.ABORT, reason, say))


def rollback(
    words: Annotated[list[str] | None, revision_argument("the last other release that served")] = None,
    name: ServiceOption = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    yes: YesOption = False,
    load: LoadOption = 0,
    load_url: LoadUrlOption = None,
    load_tokens: LoadTokensOption = 128,
    load_pause: LoadPauseOption = 0,
    load_out: LoadOutOption = None,
    output: OutputOption = "text",
) -> None:
    """Go back to an earlier revision, or forward again: at once where its cluster still runs.

    Example: switchyard rollback -f deploy/gke-l4.yaml
    """
    name, revision = name_and_revision(words, name)
    with _ending(output) as (say, done):
        there = target(name, file, namespace, context)
        streams = proof(there, load, load_url, load_tokens, load_pause, load_out, say)
        done.append(roll_back(there, streams, revision, say, yes=yes))


@contextmanager
def _ending(output: str, wanted: Collection[str] = ("serves",)) -> Iterator[tuple[Say, list[Stand]]]:
    """Progress on the way, the outcome and the exit code at the end."""
    from kuberay.rollout.show import as_json, conclusion

    one_of(output, "text", "json")
    begun = time.monotonic()
    done: list[Stand] = []

    def say(phase: str, text: str) -> None:
        stream = sys.stderr if output == "json" else sys.stdout
        print(f"  {time.monotonic() - begun:5.0f} s  {phase:9} {text}", file=stream, flush=True)

    try:
        yield say, done
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt as stopped:
        print(f"\nStopped. {stopped.args[0] if stopped.args else _STANDS}", file=sys.stderr)
        raise typer.Exit(130) from None
    record, trouble = done[0]
    told = as_json(record) | {"trouble": trouble}
    print(json.dumps(told, indent=2) if output == "json" else conclusion(record, trouble))
    missed = record.stuck or record.outcome.value not in wanted
    if (record.breach or trouble or record.not_promoted) if record.running else missed:
        raise typer.Exit(1)
