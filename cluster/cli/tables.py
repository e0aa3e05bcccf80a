"""Tables that can be read at any width: where names would be broken, each row becomes a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SENTENCES = 20
"""Characters that a column of sentences needs at least."""
GAP = 2
INDENT = 4


def table(*columns: str) -> Table:
    """An empty table; a ``>`` in front puts a column's cells to the right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, show_header=any(columns))
    for column in columns:
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return made


def console() -> Console:
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=200)  # for pipes: a line a row


def put(out: Console, shown: Table) -> None:
    """Print a table: as one where there is room, else row by row."""
    from rich.text import Text

    headers = [str(column.header) for column in shown.columns]
    columns = [[Text.from_markup(str(cell)) for cell in column.cells] for column in shown.columns]
    texts = [[header, *(cell.plain for cell in cells)] for header, cells in zip(headers, columns, strict=True)]
    if not out.is_terminal:
        with out.capture() as got:
            out.print(shown)
        out.out("\n".join(line.rstrip() for line in got.get().splitlines()), highlight=False)
    elif widths := _widths(texts, out.width):
        for column, width in zip(shown.columns, widths, strict=True):
            column.width = width
        out.print(shown)
    else:
        for row in zip(*columns, strict=True):
            _put_row(out, headers, row)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """A width a column in which no word is broken; empty where there is no room for that."""
    wanted = [max(map(len, texts)) for texts in columns]
    words = [max(len(word) for text in texts for word in text.split() or [""]) for texts in columns]
    widths = [max(word, min(SENTENCES, width)) for word, width in zip(words, wanted, strict=True)]
    spare = room - sum(widths) - GAP * (len(widths) - 1)
    if spare < 0:
        return []
    short = sorted(range(len(widths)), key=lambda number: wanted[number] - widths[number])
    for left, number in zip(range(len(short), 0, -1), short, strict=True):
        more = min(wanted[number] - widths[number], spare // left)
        widths[number], spare = widths[number] + more, spare - more
    return widths


def _put_row(out: Console, headers: Sequence[str], row: Sequence[Text]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    named = next((number for number, header in enumerate(headers) if header), 0) + 1
    out.print(Text("  ").join(cell for cell in row[:named] if cell.plain), soft_wrap=True)
    for header, cell in zip(headers[named:], row[named:], strict=True):
        if cell.plain:
            labelled = Text.assemble((f"{header}: " if header else "", "dim"), cell)
            out.print(Padding(labelled, (0, 0, 0, INDENT)))
