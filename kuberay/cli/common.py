"""What the commands about a cluster share: options, which service is meant, how an error ends.

Modules that take time to import, pydantic models among them, are imported where they are used: ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from kuberay.errors import ConfigError, Forbidden, NotFound, Refused

if TYPE_CHECKING:
    from kuberay.api.client import Api
    from kuberay.config import Service
    from kuberay.plan.capacity import Prices
    from kuberay.plan.outlook import Outlook
    from kuberay.snapshot import Snapshot

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


ServiceOption = Annotated[str | None, typer.Option("--name", help="Name of the service, instead of a file.")]


def revision_argument(default: str) -> Any:
    """A revision's number, and a service's name beside it, as other commands take it: no name begins with a digit."""
    return typer.Argument(
        metavar="NAME|REVISION", help=f"The service, instead of a file; a number, instead of {default}."
    )


def name_and_revision(words: list[str] | None, name: str | None) -> tuple[str | None, int | None]:
    """What :func:`revision_argument` was given, in either order, and ``--name``.

    Raises:
        BadParameter: more than one of each.
    """
    numbers = [int(one) for one in words or () if one.isdecimal()]
    names = [one for one in words or () if not one.isdecimal()] + ([name] if name else [])
    if len(numbers) > 1 or len(set(names)) > 1:
        raise typer.BadParameter("give one service's name, and one revision's number.")
    return (names or [None])[0], (numbers or [None])[0]


def there_is(there: Target) -> None:
    """A service of that name, as far as one may see.

    Raises:
        NotFound: there is none.
    """
    from kuberay.api.kinds import RAYSERVICE

    with contextlib.suppress(Forbidden):
        try:
            there.api.get(RAYSERVICE, there.name, there.namespace)
        except NotFound:
            raise NotFound(absent(there)) from None


def target(name: str | None, file: str | None, namespace: str | None, context: str | None) -> Target:
    """Which service is meant: by name, else by file, which may come from the environment.

    Raises:
        ConfigError: neither is given.
        KubeRayError: the file is wrong, or there is no cluster to talk to.
    """
    from kuberay.api.client import Api
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
    from kuberay.manifests.manifest import ray_service, release_of
    from kuberay.manifests.rules import violations

    service = load(file, os.environ)
    if found := violations(ray_service(service, release_of(service)).to_object()):
        raise ConfigError("KubeRay would refuse this RayService:\n" + "\n".join(f"  {one}" for one in found))
    return service


def agreed(question: str) -> None:
    """Ask before what cannot be taken back at once.

    Raises:
        Refused: the answer was no, or nobody is there to answer.
        KeyboardInterrupt: the answer was Ctrl-C.
    """
    try:
        if typer.confirm(question, err=True):
            return
    except typer.Abort as over:
        print(file=sys.stderr)
        if isinstance(over.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt("Nothing was changed.") from None
        raise Refused("Nothing was changed: nobody answered. With --yes nobody is asked.") from None
    raise Refused("Nothing was changed.")


def prices_of(ctx: typer.Context, file: str) -> Prices:
    """From whoever joined the commands, who may know what the cluster's machines cost."""
    from kuberay.plan.capacity import UNPRICED

    return ctx.obj(file) if ctx.obj else UNPRICED


def observed(there: Target, *, logs: bool) -> Snapshot:
    """What is there of a service now."""
    from kuberay.observing.observe import observe

    return observe(there.api, there.namespace, there.name, logs=logs)


def must_exist(there: Target, snapshot: Snapshot) -> None:
    """A wrong name is told as such, before anything is said of pods.

    Raises:
        NotFound: there is no such service.
    """
    unknown = any(one.startswith("the RayService") for one in snapshot.unreadable)
    if snapshot.service is None and snapshot.put_away is None and not unknown:
        raise NotFound(absent(there))


def absent(there: Target) -> str:
    """That there is no such service, and which there are, as far as one may see."""
    from kuberay.api.kinds import RAYSERVICE
    from kuberay.errors import ApiError

    places = [there.namespace, ""]
    found: list[str] = []
    for place in places:
        with contextlib.suppress(ApiError):
            items = [item["metadata"] for item in there.api.list(RAYSERVICE, place)]
            found = [f"{one['name']} -n {one['namespace']}" for one in items]
        if any(one.split()[0] == there.name for one in found) or (found and place):
            break
    some = f" There are: {', '.join(found[:5])}{' ...' if len(found) > 5 else ''}." if found else ""
    return f"There is no service {there.name} in namespace {there.namespace} of {there.api.context}.{some}"


def one_of(value: str, *allowed: str) -> str:
    """``value``, if it is an output format that there is."""
    if value not in allowed:
        raise typer.BadParameter(f"use {' or '.join(allowed)}.", param_hint="--output")
    return value


def heed_refusals(outlook: Outlook, *, force: bool, shown: bool) -> None:
    """Go on only with a plan that may be carried out, or that is forced.

    Raises:
        Refused: with the reasons, unless they were ``shown`` already.
    """
    if outlook.refusals and not force:
        reasons = "for the reasons above." if shown else " ".join(outlook.refusals)
        raise Refused(f"Nothing was changed: {reasons} --force applies it all the same.")


def fail(error: Exception) -> NoReturn:
    """Print an error and leave with 1."""
    print(f"switchyard: {error}", file=sys.stderr)
    raise typer.Exit(1)
