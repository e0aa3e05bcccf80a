"""A service whose releases are rolled out by the real commands, for the end-to-end tests of rollouts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.errors import NotFound
from kuberay.names import GATE, SERVE_PORT
from kuberay.rollout.proof.account import Account, account
from kuberay.rollout.proof.during import loads
from kuberay.rollout.proof.load import Load, through_api
from kuberay.rollout.proof.trips import Outcome, Trip
from kuberay.rollout.store import Store
from kuberay.snapshot import dig
from tests.e2e.conftest import Kube, eventually
from tests.e2e.deployed import FILE, ROOT, START_S
from tests.e2e.rights import documented, somebody

LOAD = ("--load", "2", "--load-pause", "1", "--load-tokens", "128")
"""People who read: closed-loop streams would fill two cores, and a second vLLM needs them to start."""
LONG_S = 40.0
"""At the speed of its first thousand tokens. It slows down as it grows, and outlives KubeRay's own delay of 60 s."""
LONGEST_S = 180
OPTIONS: dict[str, Any] = {"enforce_eager": True, "hf_overrides": {"max_position_embeddings": 65536}}
"""The tiny model knows 8192 positions, which are over in less than a minute."""
WRONG = {"SWITCHYARD__ENGINE__OPTIONS": json.dumps({**OPTIONS, "load_format": "dummy", "seed": 7})}
"""Other random weights under the same name: a release that answers, and answers wrongly."""
SWITCH_S, ABORT_S, WARM_S, GATE_S = 10, 30, 15, 5
"""What is promised: decision to traffic, abort to freed GPUs, warm rollback to traffic, a gate that need not hold."""


class Command(subprocess.Popen[str]):
    """A ``switchyard`` command that goes on by itself; what it tells people is in ``log``."""

    def __init__(self, arguments: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self.log = log
        command = [str(Path(sys.executable).with_name("switchyard")), *arguments]
        with log.open("w") as told:
            super().__init__(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=told, text=True)


@dataclass
class Service:
    """The service under test.

    Attributes:
        api: an administrator's client, for the tests' own eyes.
        user: the kubeconfig of who runs the commands, with the rights that docs/rollouts.md lists.
    """

    kube: Kube
    api: Api
    namespace: str
    folder: Path
    user: Path
    name: str = "llm"
    tokens: int = 64
    retired: float = 0.0  # time.monotonic() when the first cluster had served

    @property
    def store(self) -> Store:
        """Its revisions."""
        return Store(self.api, self.namespace, self.name)

    def environ(self, more: dict[str, str] | None) -> dict[str, str]:
        place = {"SWITCHYARD__KUBERNETES__NAMESPACE": self.namespace, "KUBECONFIG": str(self.user)}
        release = {
            "SWITCHYARD__SERVING__DEFAULTS__MAX_TOKENS": str(self.tokens),
            "SWITCHYARD__SERVING__MAX_REQUEST_S": str(LONGEST_S),
            "SWITCHYARD__MODEL__MAX_MODEL_LEN": "65536",
            "SWITCHYARD__ENGINE__OPTIONS": json.dumps(OPTIONS),
            # Two clusters side by side fill the machine: neither may grow.
            "SWITCHYARD__SCALING__MAX_REPLICAS": "1",
        }
        return {**os.environ, **place, "COLUMNS": "160", **release, **(more or {})}

    def start(self, *arguments: str, more: dict[str, str] | None = None) -> Command:
        log = self.folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        return Command([*arguments, "-f", FILE], self.environ(more), log)

    def run(self, *arguments: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        """A command to its end; the record it leaves, with its exit code."""
        return ended(self.start(*arguments, "-o", "json", more=more), START_S)

    def history(self) -> list[dict[str, Any]]:
        process = self.start("history", "-o", "json")
        return json.loads(process.communicate(timeout=60)[0])

    def active(self) -> str:
        service = self.api.get(kinds.RAYSERVICE, self.name, self.namespace)
        return dig(service, "status", "activeServiceStatus", "rayClusterName", default="")

    def gate_alone(self, process: Command) -> float:
        """Seconds for which a first release runs but for its gate, as KubeRay sees it: without one it would switch."""
        runs = 0.0
        while process.poll() is None:
            status: dict[str, Any] = {}
            with suppress(NotFound):  # nothing is applied yet
                status = self.api.get(kinds.RAYSERVICE, self.name, self.namespace).get("status") or {}
            now = time.monotonic()
            apps = dig(status, "pendingServiceStatus", "applicationStatuses", default={})
            others = [one["status"] for name, one in apps.items() if name != GATE]
            if not runs and others and set(others) == {"RUNNING"}:
                runs = now
            if dig(status, "activeServiceStatus", "rayClusterName"):
                return now - runs if runs else 0.0
            time.sleep(0.1)
        raise AssertionError(f"It ended with {process.returncode}:\n{process.log.read_text()}")

    def clusters(self) -> set[str]:
        """RayClusters that have pods, or will."""
        pods = self.api.list(kinds.POD, self.namespace, selector=f"app.kubernetes.io/instance={self.name}")
        return {pod["metadata"]["labels"]["ray.io/cluster"] for pod in pods} | self.kept()

    def kept(self) -> set[str]:
        """RayClusters that are not being deleted."""
        made = self.api.list(kinds.RAYCLUSTER, self.namespace)
        return {one["metadata"]["name"] for one in made if "deletionTimestamp" not in one["metadata"]}

    def answer(self, **body: Any) -> dict[str, Any]:
        """One request through the Service."""
        sent = {"prompt": "One two three", "max_tokens": 12, "temperature": 0} | body
        path = f"{self.name}-serve-svc"
        answer = self.api.via_service("POST", path, 8000, "/generate", self.namespace, body=sent, read_s=LONGEST_S)
        return json.loads(answer.body)

    def long_answer(self) -> int:
        """Tokens that take about ``LONG_S`` on this machine."""
        begun = time.monotonic()
        self.answer(max_tokens=1000)
        return min(int(LONG_S / (time.monotonic() - begun) * 1000), 60_000)


S = TypeVar("S", bound=Service)


@contextmanager
def in_a_namespace(kube: Kube, folder: Path, kind: type[S]) -> Iterator[S]:
    """A service that is still to be made, whose commands have the rights of docs/rollouts.md and no others."""
    with kube.namespace("rollout") as namespace:
        api = Api.connect(kubeconfig=str(kube.kubeconfig))
        user = somebody(kube, api, namespace, folder, "operator", documented()["rules"])
        yield kind(kube, api, namespace, folder, user)


def ended(process: Command, timeout_s: float) -> dict[str, Any]:
    out, _ = process.communicate(timeout=timeout_s)
    assert out, f"exit {process.returncode}, and on its screen:\n{process.log.read_text()}"
    return json.loads(out) | {"exit": process.returncode}


def between(record: dict[str, Any], one: str, other: str) -> float:
    """Seconds between two phases of a rollout."""
    return record["seconds"][other] - record["seconds"][one]


def load_of(service: Service, record: dict[str, Any]) -> Account:
    """What the proof load saw, as it is kept with the revision; nothing may have been dropped."""
    kept, data = service.store.kept(record["number"])
    (load,) = loads(data)
    found = account(load.trips, kept)
    print(f"\n{found.sentence}")
    for one in found.crossings:
        first, before = (
            f"{one.after_p99_s:.2f} s of {one.after_count}",
            f"{one.before_p99_s:.2f} s of {one.before_count}",
        )
        print(f"p99 to the first token: {first} after, {before} before: {one.ratio:.2f}")
    assert (found.dropped, found.sent > 0) == (0, True), found
    return found


class LongStream:
    """One answer of more than a minute through the Service, begun now."""

    def __init__(self, service: Service, tokens: int) -> None:
        route = through_api(service.api, service.namespace, f"{service.name}-serve-svc", SERVE_PORT)
        out = service.folder / f"long-{time.monotonic_ns()}.jsonl"
        self._load = Load(route, out, streams=1, max_tokens=tokens)
        self._load.start()
        self._found: list[Trip] = []
        time.sleep(2)  # it runs; and as it is asked to stop now, no other follows it
        self._ending = threading.Thread(target=lambda: self._found.extend(self._load.stop()), daemon=True)
        self._ending.start()

    def ended(self) -> Trip:
        """How it ended: well."""
        self._ending.join(LONGEST_S + 60)
        (trip,) = self._found
        print(f"\na stream of {trip.ended - trip.sent:.0f} s: {trip.outcome.value} {trip.error}")
        assert trip.outcome is Outcome.FINISHED, trip
        return trip


@contextmanager
def held_back(process: Any) -> Iterator[None]:
    """A process does nothing meanwhile, as one that hangs."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def verdict_of_last(service: Service) -> str:
    """The verdict on the revision that was begun last, once there is one."""

    def found() -> str:
        last = service.store.all()[-1]
        return last.verdict if last.running else ""

    return eventually(found, START_S, "a verdict")
