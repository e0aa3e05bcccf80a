"""What commands print: readable at any width, and with commands that can be pasted."""

from __future__ import annotations

from collections import Counter
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cluster.cli.hints import with_file
from cluster.cli.tables import put, table
from tests.cluster.fakes import FakeGoogle, Fault
from tests.cluster.terminal import sitting

NAME = "grant/repository:artifactregistry.reader:switchyard-nodes"


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("make it with: switchyard cluster apply", "make it with: switchyard cluster apply -f my.yaml"),
        ("run `switchyard cluster apply`, then", "run `switchyard cluster apply -f my.yaml`, then"),
        ("switchyard cluster scale --resume", "switchyard cluster scale -f my.yaml --resume"),
        ("switchyard cluster prices refresh", "switchyard cluster prices refresh -f my.yaml"),
        ("switchyard cluster install-operator --version 1.7.0",) * 2,
        ("switchyard cluster plan, then apply", "switchyard cluster plan -f my.yaml, then apply"),
        ("switchyard resume gemma",) * 2,
        ("python/switchyard cluster",) * 2,
    ],
)
def test_a_command_in_a_message_has_the_file_that_was_given(text: str, fitted: str) -> None:
    if "install-operator" in text:
        fitted = "switchyard cluster install-operator -f my.yaml --version 1.7.0"
    assert with_file(text, "my.yaml") == fitted
    assert with_file(text, None) == text


def test_a_file_with_a_blank_can_be_pasted() -> None:
    assert with_file("switchyard cluster plan", "my file.yaml") == "switchyard cluster plan -f 'my file.yaml'"


def printed(width: int, *, terminal: bool) -> list[str]:
    shown = table("", "resource", ">$/month", "what")
    shown.add_row("[green]create[/]", NAME, "1,234", "roles/artifactregistry.reader for the nodes")
    shown.add_row("", "sum", "1", "")
    out = Console(width=width, force_terminal=terminal, no_color=True, file=StringIO())
    put(out, shown)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue().splitlines()


def test_where_there_is_room_it_is_a_table() -> None:
    header, first, last = printed(140, terminal=True)
    assert first.index(NAME) == last.index("sum")
    assert first.index("roles/") == header.replace("\x1b[1m", "").replace("\x1b[0m", "").index("what")


@given(st.integers(10, 200), st.lists(st.lists(st.text("ab ", max_size=60), min_size=1), min_size=1, max_size=5))
def test_a_table_that_is_shown_breaks_no_word_and_fits(width: int, columns: list[list[str]]) -> None:
    longest = max(len(word) for column in columns for text in column for word in text.split() or [""])
    shown = table("", *[""] * (len(columns) - 1))
    for row in zip_longest(*columns, fillvalue=""):
        shown.add_row(*row)
    out = Console(width=width, force_terminal=True, no_color=True, file=StringIO())
    put(out, shown)
    assert isinstance(out.file, StringIO)
    lines = out.file.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "").splitlines()
    words = Counter(word for line in lines for word in line.split())
    if longest + 4 <= width:
        assert words == Counter(word for column in columns for text in column for word in text.split())
        first = max(len(text) for text in columns[0])
        assert max(map(len, lines), default=0) <= max(width, first)


def test_in_a_narrow_terminal_no_name_is_broken() -> None:
    lines = [line.rstrip() for line in printed(62, terminal=True)]
    assert lines[0] == f"create  {NAME}"
    assert [line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines[1:]] == [
        "    $/month: 1,234",
        "    what: roles/artifactregistry.reader for the nodes",
        "sum",
        "    $/month: 1",
    ]


def test_a_pipe_gets_no_blanks_at_the_end() -> None:
    lines = printed(200, terminal=False)
    assert len(lines) == 3
    assert all(line == line.rstrip() for line in lines)


def test_a_retry_is_told(tmp_path: Path) -> None:
    with sitting(tmp_path, FakeGoogle(slow=0)) as user:
        user.fake.fail("*BatchGetServices", Fault(503, "The service is currently unavailable"))
        done = user.run("plan")
        assert done.code == 2
        assert "  .. serviceusage.BatchGetServices: " in done.text and "; trying again in 1 s" in done.text
        assert "trying again" not in done.out
