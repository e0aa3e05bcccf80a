"""A service that the real commands deploy from deploy/e2e.yaml, for the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kuberay.api import kinds
from kuberay.api.client import Api
from kuberay.snapshot import dig
from tests.e2e.conftest import Kube

ROOT = Path(__file__).parents[2]
FILE = "deploy/e2e.yaml"
START_S = 600


@dataclass
class Service:
    """The service under test.

    Attributes:
        environ: overrides of the service file, which tests change to deploy something else.
    """

    kube: Kube
    api: Api
    namespace: str
    environ: dict[str, str]
    name: str = "llm"

    def run(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """One ``switchyard`` command, as a user types it."""
        command = Path(sys.executable).with_name("switchyard")
        environ = {**os.environ, "KUBECONFIG": str(self.kube.kubeconfig), "COLUMNS": "120", **self.environ}
        return subprocess.run(
            [str(command), *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def deploy(self, *arguments: str) -> str:
        """``switchyard deploy``; what it printed."""
        done = self.run("deploy", "-f", FILE, "--timeout", str(START_S), *arguments, timeout_s=START_S + 60)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.doctor()}"
        return done.stdout

    def doctor(self) -> str:
        done = self.run("doctor", "-f", FILE)
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "-f", FILE, "-o", "json").stdout)

    def diff(self) -> dict[str, Any]:
        done = self.run("diff", "-f", FILE, "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout) | {"exit": done.returncode}

    def active(self) -> str:
        """The RayCluster that serves."""
        service = self.api.get(kinds.RAYSERVICE, self.name, self.namespace)
        return dig(service, "status", "activeServiceStatus", "rayClusterName", default="")

    def pods(self, role: str, cluster: str = "") -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={self.name},switchyard.dev/role={role}"
        selector += f",ray.io/cluster={cluster}" if cluster else ""
        return self.api.list(kinds.POD, self.namespace, selector=selector)

    def ask(self) -> dict[str, Any]:
        """One request through the Service, as any client in the cluster sends it."""
        answer = self.api.via_service(
            "POST",
            f"{self.name}-serve-svc",
            8000,
            "/generate",
            self.namespace,
            body={"prompt": "hello", "max_tokens": 8},
            read_s=60,
        )
        return json.loads(answer.body)
