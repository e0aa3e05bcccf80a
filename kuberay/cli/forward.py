"""The sub-command ``port-forward``, and the way of ``chat`` and ``generate`` to a service: a port of this machine.

Exit codes: 1 failed, or the pod is gone, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kuberay.cli.common import (
    ContextOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    Target,
    fail,
    must_exist,
    observed,
    target,
)
from kuberay.errors import KubeRayError, NotFound
from kuberay.names import DASHBOARD_PORT, SERVE_PORT

if TYPE_CHECKING:
    from kuberay.api.forward import Forward


def port_forward(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Local port; 0 takes a free one. Default: 8000, the dashboard's 8265."),
    ] = None,
    dashboard: Annotated[bool, typer.Option(help="Ray's dashboard instead of the model.")] = False,
) -> None:
    """Make a service a port of this machine until Ctrl-C, without knowing pod names.

    Example: switchyard port-forward -f deploy/gke-l4.yaml --port 8000
    """
    try:
        there = target(name, file, namespace, context)
        local = (DASHBOARD_PORT if dashboard else SERVE_PORT) if port is None else port
        with _forwarded(there, local, dashboard=dashboard) as forward:
            what = f"Ray's dashboard of {there.name}" if dashboard else f"the service {there.name}"
            print(f"{forward.url} is {what}. Ctrl-C ends it.", flush=True)
            if dashboard and (command := _token_command(there)):
                print(f"It asks for Ray's token, which this prints: {command}", flush=True)
            _report_failures(forward)
    except KubeRayError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextlib.contextmanager
def reached(file: str, context: str | None = None, *, preview: bool = False) -> Iterator[str]:
    """The URL of the service in ``file``, forwarded through the API server while the block runs.

    Args:
        preview: of the release that is held, instead of the one that serves.
    """
    try:
        there = target(None, file, None, context)
        with _forwarded(there, 0, preview=preview) as forward:
            yield forward.url
    except KubeRayError as error:
        fail(error)


@contextlib.contextmanager
def _forwarded(there: Target, port: int, *, dashboard: bool = False, preview: bool = False) -> Iterator[Forward]:
    from kuberay.look.stages import serving_pod

    snapshot = observed(there, logs=False)
    must_exist(there, snapshot)
    pod = serving_pod(snapshot, head=dashboard, preview=preview)
    if pod is None and preview:
        raise NotFound(
            f"No new release of {there.name} in namespace {there.namespace} is ready beside the one that serves: there "
            "is nothing to preview. switchyard history shows what was."
        )
    if pod is None:
        raise NotFound(
            f"{there.name} in namespace {there.namespace} has no pod that serves. switchyard doctor {there.name} "
            f"-n {there.namespace} looks for the reason."
        )
    remote = DASHBOARD_PORT if dashboard else SERVE_PORT
    try:
        forward = there.api.forward(pod, remote, there.namespace, port)
    except OSError as error:
        raise KubeRayError(
            f"Port {port} of this machine cannot be used: {error.strerror}. Take another: --port."
        ) from error
    with forward as open_forward:
        yield open_forward


def _report_failures(forward: Forward) -> NoReturn:
    """Says why connections fail, each reason once, until the pod is gone.

    Raises:
        NotFound: it is.
    """
    said = ""
    while True:
        error = forward.error
        if isinstance(error, NotFound):
            raise NotFound("The pod behind this port is gone. Run it again: it takes one that serves now.") from error
        if error is not None and str(error) != said:
            said = str(error)
            print(f"switchyard: {said}", file=sys.stderr, flush=True)
        time.sleep(0.5)


def _token_command(there: Target) -> str:
    """What prints the token that Ray's dashboard asks for; empty where it asks for none."""
    from kuberay.api.proxy import TOKEN_KEY, token_secret
    from kuberay.look.facts import Facts

    facts = Facts(observed(there, logs=False), datetime.now(UTC))
    cluster = facts.cluster("active") or facts.cluster("pending")
    secret = token_secret(cluster.object) if cluster and cluster.object else ""
    command = f"{facts.kubectl} get secret {secret} -o go-template='{{{{.data.{TOKEN_KEY} | base64decode}}}}'"
    return command if secret else ""
