"""What each process of a server has used: CPU time and memory, as /proc tells it. Pure but for :func:`snapshot`.

Times waited vary with whatever else the machine does; CPU time spent hardly does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

KINDS = ("server", "engine core", "worker", "haproxy", "ingress", "background")
"""What a process is for.

server: vLLM's API server, or the replica that holds the engine's client
engine core, worker: vLLM's two
haproxy, ingress: what a request passes before: HAProxy; Serve's Python proxy, ingress and router replicas
background: Ray's own (raylet, GCS, controller, agents, the driver), and helpers that do nothing
"""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process at one moment.

    Attributes:
        pid, parent: of it.
        started: clock tick of its beginning: with the pid, a name that is not used again.
        cpu_s: CPU time of all its threads, s.
        title: its command line, or what it set in its place.
    """

    pid: int
    parent: int
    started: int
    cpu_s: float
    title: str = ""

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return kind(self.title)


Snapshot = Mapping[tuple[int, int], Process]


def parse_stat(text: str, ticks: int = _TICKS) -> Process:
    """A line of ``/proc/PID/stat``. The name in it may have spaces and brackets (proc(5)).

    Raises:
        ValueError: it is none.
    """
    opening, closing = text.find("("), text.rfind(")")
    if opening < 0 or closing < opening:
        raise ValueError(f"not a line of /proc/PID/stat: {text[:60]!r}")
    rest = text[closing + 1 :].split()
    if len(rest) < 20:
        raise ValueError(f"a line of /proc/PID/stat that is too short: {text[:60]!r}")
    return Process(
        pid=int(text[:opening]),
        parent=int(rest[1]),
        started=int(rest[19]),
        cpu_s=(int(rest[11]) + int(rest[12])) / ticks,
        title=text[opening + 1 : closing],
    )


def parse_pss(text: str) -> float:
    """MiB of ``/proc/PID/smaps_rollup``: what processes share is divided among them. 0 where it says none."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def parse_busy(text: str, ticks: int = _TICKS) -> float:
    """CPU seconds that all cores have worked, or were taken by the host, since boot: ``/proc/stat``."""
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks


def kind(title: str) -> str:
    """What a process is for, by its title."""
    program = Path(title.partition(" ")[0]).name
    if program == "haproxy":
        return "haproxy"
    if title.startswith("VLLM::Worker"):
        return "worker"
    # Without its title too: setproctitle sets none, and says nothing, where the first variable of the environment has
    # been changed before it, and Ray gives a worker its variables in the order of a hash map.
    if title.startswith("VLLM::EngineCore") or " -c from multiprocessing.spawn import " in title:
        return "engine core"
    if title.startswith("ray::ProxyActor"):
        return "ingress"
    if title.startswith("ray::ServeReplica"):
        return "ingress" if "OpenAiIngress" in title or "LLMRouter" in title else "server"
    if title.startswith("VLLM::APIServer") or "/vllm serve " in title or "vllm.entrypoints.cli.main serve " in title:
        return "server"
    return "background"


def below(processes: Iterable[Process], root: int) -> dict[tuple[int, int], Process]:
    """``root`` and every process below it."""
    children: dict[int, list[Process]] = {}
    found: dict[tuple[int, int], Process] = {}
    waiting: list[Process] = []
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            waiting.append(process)
    while waiting:
        process = waiting.pop()
        found[process.pid, process.started] = process
        waiting += children.get(process.pid, ())
    return found


def spent(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """CPU seconds between two snapshots, by kind. What a process used that is gone by the second is lost."""
    found: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for key, process in after.items():
        earlier = before.get(key)
        found[process.kind] += max(0.0, process.cpu_s - (earlier.cpu_s if earlier else 0.0))
    return found


def snapshot(root: int, proc: Path = Path("/proc")) -> dict[tuple[int, int], Process]:
    """``root`` and every process below it, now."""
    found: list[Process] = []
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            try:
                process = parse_stat((folder / "stat").read_text(errors="replace"))
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except (OSError, ValueError):
                continue  # it has just ended
            found.append(replace(process, title=title or process.title))
    return below(found, root)


def busy_s(proc: Path = Path("/proc")) -> float:
    """CPU seconds of the whole machine, now."""
    return parse_busy((proc / "stat").read_text())


def memory_mib(processes: Snapshot, proc: Path = Path("/proc")) -> dict[str, float]:
    """MiB of each kind."""
    found: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for process in processes.values():
        try:
            found[process.kind] += parse_pss((proc / str(process.pid) / "smaps_rollup").read_text())
        except OSError:
            continue
    return found
