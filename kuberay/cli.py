"""The sub-commands about a cluster: ``render`` and its kin. Only this file prints.

Exit codes: 0 done (or nothing to change), 1 failed, 2 differences found (``diff``) or wrong use.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from kuberay.config import Service, load
from kuberay.errors import ConfigError, KubeRayError
from kuberay.manifest import objects, ray_service, to_yaml
from kuberay.release import release_of
from kuberay.rules import violations

FileOption = Annotated[
    str, typer.Option("--file", "-f", envvar="SWITCHYARD_CONFIG", help="Service file with a kubernetes section.")
]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="yaml or json.")]


def render(file: FileOption, output: OutputOption = "yaml") -> None:
    """Print the Kubernetes objects of a service, ready for kubectl.

    Example: switchyard render -f deploy/gke-l4.yaml | kubectl apply --server-side -f -
    """
    import json

    if output not in ("yaml", "json"):
        raise typer.BadParameter("use yaml or json.", param_hint="--output")
    try:
        service = checked(file)
        items = objects(service)
    except KubeRayError as error:
        fail(error)
    if output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
    else:
        print(to_yaml(items), end="")


def checked(file: str) -> Service:
    """The service in ``file``, which KubeRay would accept.

    Raises:
        ConfigError: it would not, or the file is wrong.
    """
    service = load(file, os.environ)
    if found := violations(ray_service(service, release_of(service)).to_object()):
        raise ConfigError("KubeRay would refuse this RayService:\n" + "\n".join(f"  {one}" for one in found))
    return service


def fail(error: Exception) -> NoReturn:
    """Print an error and leave with 1."""
    print(f"switchyard: {error}", file=sys.stderr)
    raise typer.Exit(1)
