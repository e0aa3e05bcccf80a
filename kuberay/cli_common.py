"""What the commands about a cluster share: options, which service is meant, how an error ends.

Modules that take time to import, pydantic models among them, are imported where they are used: ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from kuberay.errors import ConfigError

if TYPE_CHECKING:
    from kuberay.api import Api
    from kuberay.capacity import Prices
    from kuberay.config import Service

FileOption = Annotated[
    str, typer.Option("--file", "-f", envvar="SWITCHYARD_CONFIG", help="Service file with a kubernetes section.")
]
MaybeFileOption = Annotated[
    str | None, typer.Option("--file", "-f", envvar="SWITCHYARD_CONFIG", help="Service file that names the service.")
]
NameArgument = Annotated[str | None, typer.Argument(help="Name of the service, instead of a file.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: the file's, else the context's.")
]
ContextOption = Annotated[
    str | None, typer.Option(help="Kubeconfig context. Default: the current one; in a pod, the pod's own.")
]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="text or json.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Target(NamedTuple):
    """A service on a cluster."""

    api: Api
    namespace: str
    name: str


def target(name: str | None, file: str | None, namespace: str | None, context: str | None) -> Target:
    """Which service is meant: by name, else by file.

    Raises:
        ConfigError: neither is given.
        KubeRayError: the file is wrong, or there is no cluster to talk to.
    """
    from kuberay.api import Api
    from kuberay.config import load

    if name is None and file is None:
        raise ConfigError("Which service? Give its name, or its file with -f.")
    if name is None and file is not None:
        service = load(file, os.environ)
        return Target(Api.connect(context), namespace or service.kubernetes.namespace, service.name)
    api = Api.connect(context)
    return Target(api, namespace or api.namespace, name or "")


def checked(file: str) -> Service:
    """The service in ``file``, which KubeRay would accept.

    Raises:
        ConfigError: it would not, or the file is wrong.
    """
    from kuberay.config import load
    from kuberay.manifest import ray_service
    from kuberay.release import release_of
    from kuberay.rules import violations

    service = load(file, os.environ)
    if found := violations(ray_service(service, release_of(service)).to_object()):
        raise ConfigError("KubeRay would refuse this RayService:\n" + "\n".join(f"  {one}" for one in found))
    return service


def prices_of(ctx: typer.Context, file: str) -> Prices:
    """From whoever joined the commands, who may know what the cluster's machines cost."""
    from kuberay.capacity import UNPRICED

    return ctx.obj(file) if ctx.obj else UNPRICED


def one_of(value: str, *allowed: str) -> str:
    """``value``, if it is an output format that there is."""
    if value not in allowed:
        raise typer.BadParameter(f"use {' or '.join(allowed)}.", param_hint="--output")
    return value


def fail(error: Exception) -> NoReturn:
    """Print an error and leave with 1."""
    print(f"switchyard: {error}", file=sys.stderr)
    raise typer.Exit(1)
