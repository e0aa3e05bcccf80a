"""The options of the proof load, which the commands that change a service share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kuberay.cli.common import Target

if TYPE_CHECKING:
    from kuberay.rollout.proof.during import Proof

LoadOption = Annotated[
    int, typer.Option("--load", min=0, max=5000, help="Keep so many streams running meanwhile, for the report.")
]
LoadUrlOption = Annotated[
    str | None, typer.Option(help="Send them there. Default: through the API server; with API keys, give it.")
]
LoadTokensOption = Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")]
LoadPauseOption = Annotated[float, typer.Option(min=0, help="Seconds from an answer to a stream's next request.")]
LoadOutOption = Annotated[
    Path | None, typer.Option(help="File for a line each request. Default: build/rollouts/SERVICE-REVISION.jsonl.")
]


def proof(
    there: Target,
    streams: int,
    url: str | None,
    max_tokens: int,
    pause_s: float,
    out: Path | None,
    say: Callable[[str, str], None],
) -> Proof:
    """The load that was asked for."""
    from kuberay.rollout.proof.during import Proof, Wanted

    return Proof(there.api, there.namespace, there.name, Wanted(streams, url, max_tokens, pause_s, out), say)
