"""The commands as a user types them, against a server that behaves and one that does not; and what is left on disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import switchyard
from bench.probe import REQUESTS
from bench.records import GIVEN_UP, Record, read, to_line
from tests.bench_server import KEY, BenchServer
from tests.test_bench_statistics import record

SWITCHYARD = Path(sys.executable).with_name("switchyard")
SMALL = ("--shape", "8/4", "--warmup", "2")


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path, **environ: str) -> Any:
    """`switchyard bench ...` in a process of its own."""
    pipe = asyncio.subprocess.PIPE
    env = {**os.environ, **environ}
    words = [str(word) for word in arguments]
    return asyncio.create_subprocess_exec(SWITCHYARD, "bench", *words, stdout=pipe, stderr=pipe, env=env)


async def bench(*arguments: str | Path, **environ: str) -> Done:
    process = await command(*arguments, **environ)
    out, err = await process.communicate()
    return Done(process.returncode, out.decode(), err.decode())


def kept(folder: Path) -> list[Record]:
    return read((folder / "requests.jsonl").read_text().splitlines(), "it")


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


async def test_a_run_leaves_records_summary_report_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with BenchServer(delay_s=0.01, gap_s=0.002) as server:
        done = await bench(
            "run", "--url", server.url, *SMALL, "--concurrency", "2,4", "--requests", "12", "--out", folder,
            "--slo", "ttft:5000",
        )  # fmt: skip
    assert (done.code, "report.html" in done.err) == (0, True), done.err
    assert "2 at a time" in done.out and "4 at a time" in done.out
    records = kept(folder)
    assert len(records) == 24 and all(record.ok for record in records)
    assert {record.prompt_tokens for record in records} == {8}
    found = summary_of(folder)
    assert found["complete"] is True
    assert found["stages"]["4 at a time"]["requests"] == 12
    assert found["total"]["good_share"] == 1.0
    assert 10 < found["total"]["ttft"]["p50"] * 1000 < 500
    about = json.loads((folder / "run.json").read_text())
    assert about["targets"] == [{"label": "service", "url": server.url, "api": "generate", "model": None}]
    html = (folder / "report.html").read_text()
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html
    assert "<script" not in html and "src=" not in html and "@import" not in html
    assert html.count("<svg") == len(list(folder.glob("*.png"))) == 8
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in folder.glob("*.png"))


async def test_output_json_is_json_and_the_key_is_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with BenchServer("key") as server:
        arguments = (
            "run",
            "--url",
            server.url,
            *SMALL,
            "--requests",
            "4",
            "--no-report",
            "-o",
            "json",
            "--api",
            "chat",
        )
        refused = await bench(*arguments, "--model", "toy")
        done = await bench(*arguments, "--out", folder, "--api-key-env", "MY_KEY", MY_KEY=KEY)
    assert refused.code == 1 and "HTTP 401" in refused.err and "Give the key" in refused.err
    assert done.code == 0, done.err
    assert json.loads(done.out)["total"]["requests"] == 4
    written = "".join(file.read_text() for file in folder.iterdir())
    assert KEY not in written + done.out + done.err
    assert json.loads((folder / "run.json").read_text())["targets"][0]["model"] == "toy"


async def test_an_open_loop_and_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps({"at": n * 0.05, "prompt": "hi", "max_tokens": 2}) + "\n" for n in range(6)))
    async with BenchServer() as server:
        ladder = await bench(
            "run", "--url", server.url, *SMALL, "--rate", "20,40", "--duration", "1", "--out", tmp_path / "a",
            "--no-report", "--api", "completions", "--workload", "shared-prefix",
        )  # fmt: skip
        replayed = await bench(
            "run", "--url", server.url, "--trace", trace, "--out", tmp_path / "b", "--no-report", "--warmup", "0"
        )
    assert ladder.code == replayed.code == 0, ladder.err + replayed.err
    assert "20/s" in ladder.out and "40/s" in ladder.out
    assert server.seen[REQUESTS]["ignore_eos"] is True
    due = sorted(r.at for r in kept(tmp_path / "b"))
    assert [later - due[0] for later in due] == pytest.approx([0.05 * n for n in range(6)], abs=1e-5)
    assert {r.completion_tokens for r in kept(tmp_path / "b")} == {2}


async def test_a_service_that_dies_in_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with BenchServer(dies_after=REQUESTS + 2 + 30) as server:
        done = await bench("run", "--url", server.url, *SMALL, "--requests", "500", "--out", folder)
    assert done.code == 1
    assert "ended before its end: the last 20 requests all failed: the connection broke" in done.out
    records = kept(folder)
    assert sum(record.ok for record in records) == 30  # after the probe's and the warm-up's two
    assert 20 <= sum(not record.ok for record in records) < 60
    assert summary_of(folder)["complete"] is False
    assert "the connection broke" in (folder / "report.html").read_text()


@pytest.mark.parametrize(("number", "mode"), [(signal.SIGINT, "hangs"), (signal.SIGTERM, "hangs")])
async def test_ended_by_a_signal_it_keeps_what_it_has(number: int, mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with BenchServer() as server:
        process = await command(
            "run", "--url", server.url, *SMALL, "--requests", "100000", "--out", folder, "--no-report"
        )
        while len(server.seen) < REQUESTS + 40:
            await asyncio.sleep(0.01)
        server.mode = mode
        await asyncio.sleep(0.5)
        process.send_signal(number)
        out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    records = kept(folder)
    assert sum(record.ok for record in records) >= 30
    unfinished = [record for record in records if not record.ok]
    assert [(record.error, record.completion_tokens) for record in unfinished] == [(GIVEN_UP, 2)] * 8
    found = summary_of(folder)
    assert (found["complete"], found["total"]["failed"]) == (False, 0)
    assert "8 requests were running when it was ended" in out.decode()


async def test_killed_it_leaves_what_a_report_can_be_made_of(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with BenchServer() as server:
        process = await command("run", "--url", server.url, *SMALL, "--requests", "100000", "--out", folder)
        while len(server.seen) < REQUESTS + 60:
            await asyncio.sleep(0.01)
        process.kill()
        await process.communicate()
    with (folder / "requests.jsonl").open("a") as file:
        file.write(to_line(record())[:50])  # as a kill in the middle of a line leaves it
    assert not (folder / "summary.json").exists()
    done = await bench("report", folder)
    assert done.code == 0, done.err
    assert summary_of(folder)["total"]["requests"] >= 30
    assert (folder / "report.html").exists()


async def test_two_services_side_by_side(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # So far apart, and so often, that a busy machine that stops for a second in one of the rounds changes nothing.
    async with BenchServer(answer=list("abcd"), delay_s=0.05) as a, BenchServer(answer=list("abXX"), delay_s=0.8) as b:
        done = await bench(
            "compare", a.url, b.url, *SMALL, "--requests", "16", "--out", folder, "--rounds", "6", "-o", "json",
            "--api", "completions", "--api-b", "chat",
        )  # fmt: skip
    assert done.code == 2, done.err
    found = json.loads(done.out)["comparison"]
    lines = {line["metric"]: line for line in found["lines"]}
    assert lines["ttft p50"]["verdict"] == lines["requests_per_s"]["verdict"] == "worse"
    assert lines["failed"]["verdict"] == "no difference shown"
    assert lines["ttft p50"]["ratio"]["low"] > 1.05
    assert found["drift"] == {
        "pairs": 96, "exact": 0.0, "length_ratio": 1.0, "common_prefix": 0.5, "logprob_difference": None
    }  # fmt: skip
    assert found["rounds"] == 6
    records = kept(folder)
    turns = [next(r.target for r in records if r.round == n) for n in range(6)]
    assert turns == ["A", "B"] * 3, "the order alternates"
    prompts = [[body["prompt"] for body in a.seen], [body["messages"][0]["content"] for body in b.seen]]
    assert set(prompts[0]) == set(prompts[1]), "both get the same"
    assert "B worse" in (folder / "report.html").read_text()


def saved(folder: Path, records: list[Record]) -> Path:
    folder.mkdir()
    (folder / "requests.jsonl").write_text("".join(to_line(each) + "\n" for each in records))
    return folder


def invoke(*arguments: str | Path) -> Done:
    done = CliRunner().invoke(switchyard.app, ["bench", *map(str, arguments)])
    return Done(done.exit_code, done.stdout, done.stderr)


def test_two_results(tmp_path: Path) -> None:
    slow = saved(tmp_path / "slow", [record(n, ttft=0.3 + n / 1000) for n in range(40)])
    quick = saved(tmp_path / "quick", [record(n, ttft=0.1 + n / 1000, text="other") for n in range(40)])
    worse = invoke("compare", quick, slow / "requests.jsonl", "--out", tmp_path / "out", "--no-report")
    better = invoke("compare", slow, quick, "-o", "json")
    assert (worse.code, better.code) == (2, 0), worse.err + better.err
    assert "not measured side by side" in worse.out
    assert "Answers: 0.0% of 40 the same" in worse.out
    lines = {line["metric"]: line["verdict"] for line in json.loads(better.out)["comparison"]["lines"]}
    assert lines["ttft p50"] == "better" and lines["itl p50"] == "no difference shown"
    assert (tmp_path / "out/summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "--url", "http://127.0.0.1:9"], 1, "no connection to http://127.0.0.1:9"),
        (["run", "--url", "http://127.0.0.1:9", "--api", "chat"], 1, "nothing answers at http://127.0.0.1:9"),
        (["run", "--url", "nowhere"], 1, "is no address of a service"),
        (["run", "--api", "soap"], 1, "--api soap: it can be"),
        (["run", "--workload", "x"], 1, "--workload x: it can be"),
        (["run", "--workload", "trace"], 1, "needs --trace"),
        (["run", "--trace", "/nowhere.jsonl"], 1, "cannot be read"),
        (["run", "--shape", "big"], 1, "is no shape"),
        (["run", "-o", "xml"], 2, "it can be table or json"),
        (["compare", "http://127.0.0.1:9", "/tmp"], 2, "two addresses"),
        (["compare", "http://127.0.0.1:9", "http://127.0.0.1:9", "--rate", "1,2"], 2, "under one load"),
        (["compare", "/nowhere", "/nowhere"], 1, "There is no run in /nowhere"),
        (["report", "/nowhere"], 1, "There is no run in /nowhere"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = invoke(*arguments, *(["--out", str(tmp_path / "x")] if arguments[0] == "run" else []))
    assert (done.code, says in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "x").exists()


async def test_html_where_a_service_should_be_and_a_folder_that_is_taken(tmp_path: Path) -> None:
    async with BenchServer("html") as server:
        page = await bench("run", "--url", server.url)
        server.mode = "well"
        (tmp_path / "requests.jsonl").touch()
        taken = await bench("run", "--url", server.url, *SMALL, "--out", tmp_path)
    assert page.code == 1 and "answered with text/html instead of a stream of events" in page.err
    assert taken.code == 1 and "has a run in it already" in taken.err


async def test_the_ceiling_is_measured() -> None:
    done = await bench("ceiling", "--duration", "0.5", "--tokens", "16", "--concurrency", "8", "-o", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["requests_per_s"] > 20
    assert found["most_events_per_s"] == pytest.approx(1e6 / found["cpu_us_per_event"], rel=0.01)


@pytest.mark.parametrize("name", ["run", "compare", "report", "ceiling"])
def test_help_has_an_example(name: str) -> None:
    assert f"Example: switchyard bench {name}" in invoke(name, "--help").out
