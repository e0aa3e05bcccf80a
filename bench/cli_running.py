"""What ``run`` and ``compare`` do once their options are understood: measure, write down, show, end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

import typer

from bench.errors import BenchError
from bench.terminal import drawn, fail, progress, show, where

if TYPE_CHECKING:
    from bench.measure import How
    from bench.options import Load
    from bench.protocol import Target
    from bench.statistics import Slo


def measured(
    targets: list[Target],
    load: Load,
    how: How,
    rounds: int,
    slo: Slo,
    out: str | None,
    report: bool,
    output: str,
    confidence: float,
    limit: float,
) -> NoReturn:
    """Carry a run out, write it down and show it, whole or not; ends with the exit code."""
    import asyncio
    from collections.abc import Mapping
    from datetime import UTC, datetime
    from pathlib import Path
    from typing import Any

    from bench.client import event_loop
    from bench.finish import findings, to_json, write_summary
    from bench.measure import carry_out
    from bench.results import Run, Writer, default_folder, machine
    from bench.runner import Course

    now = datetime.now(UTC)
    folder = Path(out) if out else default_folder(now)
    begun: list[Writer] = []
    courses: list[Course] = []

    def started(about: Mapping[str, Any]) -> Writer:
        about = {"started": now.isoformat(timespec="seconds"), "machine": machine(), **about}
        begun.append(Writer(folder, about))
        return begun[0]

    interrupted = False
    with progress() as live:

        def watch(course: Course, records: Any) -> None:
            courses[:] = [course]
            live(course, records)

        try:
            with asyncio.Runner(loop_factory=event_loop) as runner:
                runner.run(carry_out(targets, load, how, started, watch, rounds))
        except (KeyboardInterrupt, asyncio.CancelledError):
            interrupted = True
    if not begun or not begun[0].records:
        fail(BenchError("Ended before a request was."))
    writer, course = begun[0], courses[0]
    reason = "it was interrupted" if interrupted else course.gone
    done = Run(folder.name, writer.about, writer.records, folder)
    found = findings(done, slo, confidence, limit, course.client, reason)
    write_summary(done, found, course.client)
    print(json.dumps(to_json(found, course.client), indent=2)) if output == "json" else show(found)
    where(done, report and drawn(done, found))
    if interrupted:
        raise typer.Exit(130)
    if reason or found.total.failed:
        raise typer.Exit(1)
    raise typer.Exit(2 if found.comparison and found.comparison.worse else 0)


def compare_files(
    a: str, b: str, slo: Slo, out: str | None, report: bool, output: str, confidence: float, limit: float
) -> NoReturn:
    """Compare two runs that were kept; ends with the exit code."""
    from dataclasses import replace
    from pathlib import Path

    from bench.errors import ResultError
    from bench.finish import findings, to_json, write_summary
    from bench.results import Run, load

    runs = [load(Path(a)), load(Path(b))]
    for given in runs:
        if len(given.labels) > 1:
            raise ResultError(f"{given.name} is a comparison itself: look at it with 'switchyard bench report'.")
    records = [replace(r, target=label) for label, one in zip("AB", runs, strict=True) for r in one.records]
    folder = Path(out) if out else None
    done = Run(f"{runs[0].name} and {runs[1].name}", {}, records, folder or Path())
    found = findings(done, slo, confidence, limit)
    print(json.dumps(to_json(found), indent=2)) if output == "json" else show(found)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(done, found)
        where(done, report and drawn(done, found))
    raise typer.Exit(2 if found.comparison and found.comparison.worse else 0)
