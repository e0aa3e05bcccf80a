"""What is told beside the numbers, and the page: whole, escaped, with nothing fetched."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.comparison import compare
from bench.finish import findings, to_json, write_report
from bench.plots import draw, picture, style
from bench.records import GIVEN_UP, Record, to_line
from bench.results import Run
from bench.runner import Client
from bench.statistics import Slo, summary
from bench.tables import as_json, milliseconds, remarks
from tests.test_bench_statistics import drawn, record

IDLE = Client(cpu_s=0.1, wall_s=1.0, late=[0.001] * 100)


def rounds(target: str, scale: float, count: int = 5, **fields: Any) -> list[Record]:
    """Rounds of twenty requests, every time of them ``scale`` times as long."""
    found: list[Record] = []
    for number in range(count):
        ttfts = drawn(number + round(scale * 100), 20, 0.1 * scale)
        found += [record(i, ttft, target=target, round=number, **fields) for i, ttft in enumerate(ttfts)]
    return found


def test_a_clean_run_has_no_remarks() -> None:
    assert remarks(summary([record(n) for n in range(9)]), IDLE, 3) == []


@pytest.mark.parametrize(
    ("records", "client", "asked", "says"),
    [
        ([record()], Client(0.8, 1.0, [0.001]), 3, "used 80% of a core"),
        ([record()], Client(0.1, 1.0, [0.1] * 9), 3, "late by 100 ms"),
        ([record()], IDLE, 64, "3.0 tokens on average where 64.0 were asked for"),
        ([record(gaps=(0.0, 0.0, 0.2))], IDLE, 4, "came together with the one before"),
        ([record(served_by="r1"), record(1, served_by="r2")], IDLE, 3, "More than one release answered: r1 1, r2 1."),
    ],
)
def test_what_a_reader_should_know(records: list[Record], client: Client, asked: float, says: str) -> None:
    told = remarks(summary(records), client, asked)
    assert len(told) == 1
    assert says in told[0]


@pytest.mark.parametrize(("seconds", "text"), [(1.23456, "1235"), (0.0123, "12.3"), (0.00012, "0.12"), (math.nan, "-")])
def test_times_in_tables(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def test_json_has_no_nan() -> None:
    found = as_json(summary([]))
    assert found["ttft"] == {"count": 0, "mean": None, "p50": None, "p90": None, "p99": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_failures_are_compared_exactly() -> None:
    bad = [record(n, error="broke") for n in range(20)]
    good = [record(n) for n in range(20)]
    said = {line.metric: line.verdict for line in compare(good, bad).lines}
    assert said["failed"] == "worse"
    assert compare(bad, good).lines[0].verdict == "better"
    assert compare(good, [*good[1:], bad[0]]).lines[0].verdict == "no difference shown"


def test_rounds_are_found_and_compared() -> None:
    found = compare(rounds("A", 1.0), rounds("B", 1.5))
    said = {line.metric: line for line in found.lines}
    assert found.rounds == 5
    assert said["ttft p50"].verdict == "worse"
    assert said["ttft p50"].ratio.low < 1.5 < said["ttft p50"].ratio.high
    assert said["itl p50"].verdict == "no difference shown"
    assert compare(rounds("A", 1.0, 2), rounds("B", 1.5, 2)).rounds == 0, "too few to say anything about rounds"


def test_requests_that_were_given_up_are_no_failures(tmp_path: Path) -> None:
    records = [record(0), record(1), record(2, error=GIVEN_UP, finish_reason=None)]
    found = findings(Run("r", {}, records, tmp_path), Slo(), reason="it was interrupted")
    assert (found.total.requests, found.total.failed) == (2, 0)
    assert any("1 requests were running" in note for note in found.notes)
    assert to_json(found)["complete"] is False


def test_a_page_is_whole_and_takes_nothing_for_markup(tmp_path: Path) -> None:
    nasty = '<script>alert("x")</script> $x^2$'
    records = [*rounds(nasty, 1.0), *rounds("B", 2.0), record(99, target="B", error=nasty, finish_reason=None)]
    about = {"targets": [{"label": nasty, "url": nasty, "api": "chat", "model": nasty}], "load": {"workload": nasty}}
    run = Run(nasty, about, records, tmp_path)
    write_report(run, findings(run, Slo()))
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert" in html
    assert html.count("<figure>") == html.count("<svg") == len(list(tmp_path.glob("*.png"))) == 7
    assert "#1f6fb2" not in html.split("</style>", 1)[1].lower(), "colours of the pictures are the page's"
    for outside in ("src=", "@import", "url(http", "<link"):
        assert outside not in html


@pytest.mark.parametrize(
    "records",
    [
        [record()],
        [record(error="broke", finish_reason=None, first=None, gaps=())],
        [record(gaps=()), record(1, first=None, gaps=(), ended=1.0)],
        [record(n % 7, ttft=0.1 + n / 9000) for n in range(9000)],
    ],
)
def test_pictures_of_odd_runs(records: list[Record]) -> None:
    pictures = draw({"it": records})
    assert {"ttft-over-time", "time-line"} <= {picture.name for picture in pictures}
    assert all(picture.svg.startswith("<svg") and len(picture.svg) < 1_500_000 for picture in pictures)


def test_numbers_in_a_picture_are_rounded_but_not_those_in_its_text() -> None:
    with style():
        svg = picture("prices", "Prices", "", lambda axes: axes.set(xlabel="0.0125 USD", xlim=(0, 0.7))).svg
    assert "0.0125 USD</text>" in svg
    assert re.search(r"<[^>]*\.\d\d", svg) and not re.search(r"<[^>]*\.\d\d\d", svg)


def test_without_matplotlib_a_run_has_not_failed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "requests.jsonl").write_text("".join(to_line(record(n)) + "\n" for n in range(3)))
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import switchyard; sys.argv = ['switchyard', 'bench', 'compare', *sys.argv[1:]]; switchyard.main()"
    )
    command = [sys.executable, "-c", code, str(folder), str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Reports need matplotlib" in done.stderr) == (0, True), done.stderr
    assert (tmp_path / "out/summary.json").exists()
