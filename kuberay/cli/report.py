"""What looks back: ``history``, ``report`` of one revision, and ``diff --revisions`` between two.

They change nothing in the cluster. Exit codes: 0 done, 1 failed, 2 (``diff``) differences found, or wrong use.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from kuberay.cli.common import (
    ContextOption,
    MaybeFileOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    ServiceOption,
    Target,
    fail,
    name_and_revision,
    one_of,
    revision_argument,
    target,
    there_is,
)
from kuberay.errors import KubeRayError


def history(
    name: NameArgument = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = "text",
) -> None:
    """List a service's revisions: who, when, how each ended.

    Example: switchyard history -f deploy/gke-l4.yaml
    """
    from kuberay.rollout.show import as_json, table
    from kuberay.rollout.store import Store

    one_of(output, "text", "json")
    try:
        there = target(name, file, namespace, context)
        known = Store(there.api, there.namespace, there.name).all()
        if not known:
            there_is(there)
    except KubeRayError as error:
        fail(error)
    width = shutil.get_terminal_size((160, 24)).columns
    print(
        json.dumps([as_json(one) for one in known], indent=2) if output == "json" else table(known, there.name, width)
    )


def report(
    words: Annotated[list[str] | None, revision_argument("the newest")] = None,
    name: ServiceOption = None,
    file: MaybeFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    out: Annotated[Path | None, typer.Option(help="The page. Default: build/rollouts/SERVICE-REVISION.html.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Write the pictures beside the page as well.")] = False,
    output: OutputOption = "text",
) -> None:
    """Write one revision's report: who, what, verdict, timings, and what became of every request of its --load.

    Example: switchyard report 3 -f deploy/gke-l4.yaml --out report.html
    """
    from kuberay.rollout.proof.gather import story

    name, revision = name_and_revision(words, name)
    one_of(output, "text", "json")
    try:
        there = target(name, file, namespace, context)
        found = story(there.api, there.namespace, there.name, revision)
    except KubeRayError as error:
        fail(error)
    if output == "json":
        print(json.dumps(found.to_json(), indent=2))
        if out is None:
            return
    from kuberay.rollout.proof.pictures import draw
    from kuberay.rollout.proof.report import page

    pictures, note = draw(found)
    path = out or Path("build/rollouts") / f"{there.name}-{found.record.number}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = page(found, pictures, [note] if note else [])
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a reason may hold any byte
        made = [path]
        for one in pictures if png else ():
            made.append(path.with_name(f"{path.stem}-{one.wide.name}.png"))
            made[-1].write_bytes(one.wide.png)
    except OSError as error:
        fail(KubeRayError(f"The report cannot be written: {error}. Name another file with --out."))
    if output == "text":
        print(found.account.sentence)
    print(f"Wrote {', '.join(map(str, made))}.", file=sys.stdout if output == "text" else sys.stderr)


def compared(there: Target, old: int, new: int, output: str) -> bool:
    """Print what differs between two revisions; whether anything does.

    Raises:
        KubeRayError: one of them is not kept.
    """
    from kuberay.rollout.proof.between import as_json, between, lines
    from kuberay.rollout.proof.gather import side

    before, after = (side(there.api, there.namespace, there.name, number) for number in (old, new))
    changed = between(before, after)
    if output == "json":
        print(json.dumps(as_json(before, after, changed), indent=2))
    else:
        print("\n".join(lines(before, after, changed)))
    return bool(changed)
