"""What the commands share: live progress, tables, failing. Prints; ``cli.py`` and this only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.finish import Findings
    from bench.records import Record
    from bench.results import Run
    from bench.runner import Course


def fail(error: BenchError) -> NoReturn:
    """Say what went wrong; exit 1."""
    print(error, file=sys.stderr)
    raise typer.Exit(1)


def wrong_use(message: str) -> NoReturn:
    """Say how it is used; exit 2."""
    print(message, file=sys.stderr)
    raise typer.Exit(2)


@contextmanager
def failing() -> Iterator[None]:
    """Errors of this package as one sentence and exit status 1."""
    try:
        yield
    except BenchError as error:
        fail(error)


@contextmanager
def progress() -> Iterator[Callable[[Course, Sequence[Record]], None]]:
    """A line on standard error that is kept up to date; where that is no terminal, a line every ten seconds."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    last = 0.0

    def line(course: Course, records: Sequence[Record]) -> str:
        recent = [record for record in records[-200:] if record.ok and record.ttft is not None]
        ttft = sorted(record.ttft or 0.0 for record in recent)
        took = course.elapsed
        text = f"{course.done}/{course.due} requests  {course.running} running  {course.failed} failed  {took:.0f} s"
        if ttft and took > 0:
            good = course.done - course.failed
            text += f"  {good / took:.1f} req/s  TTFT p50 {ttft[len(ttft) // 2] * 1000:.0f} ms"
        return text

    if not console.is_terminal:

        def now_and_then(course: Course, records: Sequence[Record]) -> None:
            nonlocal last
            if course.elapsed - last >= 10:
                last = course.elapsed
                print(line(course, records), file=sys.stderr)

        yield now_and_then
        return
    with console.status("asking whether it is there") as status:
        yield lambda course, records: status.update(line(course, records))


def show(found: Findings) -> None:
    """The numbers of a run as tables."""
    from bench.tables import COMPARED, HEADER, compared, drift, row

    if found.comparison:
        table(COMPARED, [compared(line) for line in found.comparison.lines], {"worse": "red", "better": "green"})
        print(drift(found.comparison))
    table(HEADER, [row(name, part) for name, part in found.stages.items()], {})
    print("Latencies of requests that ended well: p50 / p90 / p99.")
    for error, count in list(found.total.errors.items())[:5]:
        print(f"Failed {count} times: {error}")
    for note in found.notes:
        print(f"Note: {note}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], colours: dict[str, str]) -> None:
    """Rows of plain text; ``colours``: of cells by what they say."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for cells in rows:
        table.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in cells))
    console = Console(highlight=False)
    # In a pipe, and where the screen is narrow: a line a row all the same.
    (console if console.is_terminal and console.width >= 120 else Console(highlight=False, width=200)).print(table)


def drawn(run: Run, found: Findings) -> bool:
    """Draw the report; whether there is one. The run itself has not failed where nothing can be drawn."""
    from bench.errors import ToolMissing
    from bench.finish import write_report

    try:
        write_report(run, found)
    except ToolMissing as error:
        later = f"The results are kept; draw them later with 'switchyard bench report {run.folder}'."
        print(f"{error} {later}", file=sys.stderr)
        return False
    return True


def where(run: Run, report: bool) -> None:
    """Say where the results are."""
    print(f"Results: {run.folder}/{'report.html' if report else ''}", file=sys.stderr)
