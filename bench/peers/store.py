"""What a run has measured so far, on disk: a run that was broken off goes on where it was. Edge: files.

DIR/run.json                          the plan, the machine, the versions
DIR/round-1/bare/visit.json           a server's visit: written when it is complete
                 c32.jsonl ...        its requests
                 server.log
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from bench.errors import ResultError
from bench.records import Record, read, to_line
from bench.results import write_json

RUN, VISIT = "run.json", "visit.json"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        servers: who, bare first.
        rounds: how often each.
        concurrency: closed loops.
        per: requests of a closed loop, a place; ``least``: of each closed loop, at least.
        open_s: seconds of the open loop; its rate is ``share`` of bare's best throughput in the first round.
        prompt, answer: tokens.
        dtype: of the engines.
        model: its folder.
        handle: also measure Switchyard's Python handle.
        max_num_seqs: requests an engine decodes together.
        gpu: name of the GPU, as nvidia-smi gives it; empty: on CPUs.
    """

    servers: tuple[str, ...]
    rounds: int = 5
    concurrency: tuple[int, ...] = (1, 8, 32, 64)
    per: int = 8
    least: int = 16
    open_s: float = 20.0
    share: float = 0.6
    prompt: int = 64
    answer: int = 64
    dtype: str = "bfloat16"
    model: str = ""
    handle: bool = True
    max_num_seqs: int = 64
    gpu: str = ""

    def order(self, number: int) -> tuple[str, ...]:
        """The servers in the order of a round (from 0): every second one the other way round."""
        return self.servers if number % 2 == 0 else self.servers[::-1]


@dataclass(frozen=True)
class Load:
    """What one load of a visit came to.

    Attributes:
        name: ``c32``, ``open``, ``http whole``, ``handle stream`` ...
        records: its requests.
        wall_s: how long it took.
        cpu_s: CPU time of the server meanwhile, by kind of process.
        client_cpu_s: of the client.
        late_s: 99th percentile of how late the client's event loop woke up.
        offered: requests a second that an open loop sent.
        others: cores that everything else on the machine used meanwhile.
    """

    name: str
    records: Sequence[Record]
    wall_s: float
    cpu_s: Mapping[str, float]
    client_cpu_s: float
    late_s: float
    offered: float | None = None
    others: float = 0.0


@dataclass
class Visit:
    """One server in one round.

    Attributes:
        server, number: who; the round, from 0.
        started_s: from its start to its first answer, s.
        memory_mib: at the end, by kind of process.
        machine_load: load averages of the machine before the server was started.
        loads: by name.
    """

    server: str
    number: int
    started_s: float = 0.0
    memory_mib: dict[str, float] = field(default_factory=dict[str, float])
    machine_load: float = 0.0
    loads: dict[str, Load] = field(default_factory=dict[str, Load])


@dataclass(frozen=True)
class Store:
    """A run's folder."""

    folder: Path
    plan: Plan
    about: Mapping[str, Any]

    def place(self, server: str, number: int) -> Path:
        """The folder of a visit, made if it is not there."""
        folder = self.folder / f"round-{number + 1}" / server
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, visit: Visit) -> None:
        """Keep a visit that is complete."""
        folder = self.place(visit.server, visit.number)
        for load in visit.loads.values():
            lines = "".join(to_line(record) + "\n" for record in load.records)
            (folder / _file(load.name)).write_text(lines, encoding="utf-8")
        loads = [{k: v for k, v in vars(load).items() if k != "records"} for load in visit.loads.values()]
        write_json(folder / VISIT, {**vars(visit), "loads": loads})

    def visit(self, server: str, number: int) -> Visit | None:
        """A visit that was kept; None if there is none, or only part of one.

        Raises:
            ResultError: its files are broken.
        """
        folder = self.folder / f"round-{number + 1}" / server
        if not (folder / VISIT).exists():
            return None
        try:
            data = json.loads((folder / VISIT).read_text(encoding="utf-8"))
            loads: dict[str, Load] = {}
            for load in data.pop("loads"):
                file = folder / _file(load["name"])
                loads[load["name"]] = Load(**load, records=read(file.read_text().splitlines(), str(file)))
            return Visit(**data, loads=loads)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ResultError(f"{folder} is broken ({error}). Delete it, and it is measured again.") from None

    def visits(self) -> list[Visit]:
        """All that are complete, round by round."""
        found = (self.visit(server, number) for number in range(self.plan.rounds) for server in self.plan.servers)
        return [visit for visit in found if visit]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return len(self.visits()) == self.plan.rounds * len(self.plan.servers)


def opened(parent: Path, plan: Plan, about: Mapping[str, Any], now: datetime) -> Store:
    """The newest run below ``parent`` if it is the same plan and commit and not complete, else a new one.

    Raises:
        ResultError: the folder cannot be written.
    """
    wanted = json.loads(json.dumps(asdict(plan)))
    for folder in sorted(parent.glob("*/"), reverse=True):
        try:
            kept = cast("dict[str, Any]", json.loads((folder / RUN).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        store = Store(folder, plan, kept["about"])
        if kept["plan"] == wanted and kept["about"].get("commit") == about.get("commit") and not store.complete:
            return store
        break
    store = Store(parent / now.strftime("%Y%m%d-%H%M%S"), plan, about)
    try:
        store.folder.mkdir(parents=True)
        write_json(store.folder / RUN, {"plan": wanted, "about": dict(about)})
    except OSError as error:
        raise ResultError(f"{store.folder} cannot be written: {error}.") from None
    return store


def _file(load: str) -> str:
    return load.replace(" ", "-") + ".jsonl"
