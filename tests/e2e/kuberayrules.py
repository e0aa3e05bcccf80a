"""KubeRay's own code as a child process: what it refuses, and the hash by which it decides on a new cluster.

Needs Go, and takes minutes to build where Go's cache is empty. The program is ``go/kuberayrules``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "go" / "kuberayrules"


class KubeRay:
    """A running ``kuberayrules``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def refusals(self, service: dict[str, Any]) -> list[str]:
        """What KubeRay says against a RayService; a panic of its code counts."""
        answer = self._ask("validate", service)
        return answer.get("errors", []) + ([answer["failed"]] if "failed" in answer else [])

    def hash(self, cluster_spec: dict[str, Any]) -> str:
        """The annotation ``ray.io/hash-without-replicas-and-workers-to-delete`` that it would write."""
        answer = self._ask("hash", cluster_spec)
        if "failed" in answer:
            raise ValueError(answer["failed"])
        return answer["hash"]

    def hashes(self, cluster_specs: Iterable[dict[str, Any]]) -> list[str]:
        return [self.hash(spec) for spec in cluster_specs]

    def _ask(self, op: str, item: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"op": op, "object": item}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def built(folder: Path) -> Path:
    """The program, built into ``folder``."""
    program = folder / "kuberayrules"
    command = ["nice", "-n", "19", "go", "build", "-trimpath", "-o", str(program), "."]
    environ = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    subprocess.run(command, cwd=SOURCE, env=environ, check=True)
    return program


@contextmanager
def running(program: Path) -> Iterator[KubeRay]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([program], **pipes) as process:
        try:
            yield KubeRay(process)
        finally:
            process.kill()
