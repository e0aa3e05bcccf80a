"""etcd and a kube-apiserver on loopback and nothing else: the API's real behaviour, in five seconds.

No controllers, no nodes: objects stay as they are written. Users and their rights are what the tests give them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "switchyard" / "kube"
KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.6.1"
ADMIN, NOBODY = "admin-token-of-a-test", "nobody-token-of-a-test"
READY_S = 60


@dataclass(frozen=True)
class BareServer:
    """A running API server."""

    url: str
    folder: Path

    def kubeconfig(self, token: str = ADMIN, user: dict[str, Any] | None = None, server: str | None = None) -> str:
        """Path of a kubeconfig for one user."""
        about = {"server": server or self.url, "certificate-authority": str(self.folder / "certs" / "apiserver.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bare",
            "clusters": [{"name": "bare", "cluster": about}],
            "users": [{"name": "user", "user": user if user is not None else {"token": token}}],
            "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": "user", "namespace": "default"}}],
        }
        path = self.folder / f"kubeconfig-{abs(hash(json.dumps(content)))}"
        path.write_text(yaml.safe_dump(content))
        return str(path)


def binary(name: str) -> str | None:
    """Where a program is: on the path, or built by the cluster of these tests."""
    cached = [path for path in CACHE.glob(f"bin/*/{name}") if os.access(path, os.X_OK)]
    return shutil.which(name) or (str(max(cached, key=lambda path: path.stat().st_mtime)) if cached else None)


def kuberay_config() -> Path:
    """KubeRay's folder ``ray-operator/config``, from its Go module."""
    done = subprocess.run(["go", "mod", "download", "-json", KUBERAY], capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"]) / "config"


def crds() -> list[dict[str, Any]]:
    """KubeRay's CRDs."""
    bases = kuberay_config() / "crd" / "bases"
    return [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in sorted(bases.glob("*.yaml"))]


@contextmanager
def bare_server(folder: Path) -> Iterator[BareServer]:
    """Runs one for as long as the context is open; its state is gone afterwards."""
    etcd_port, peer_port, port = _free_ports(3)
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{NOBODY},nobody,2\n')
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    programs = [
        [
            str(binary("etcd")),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
        ],
        [
            str(binary("kube-apiserver")),
            f"--etcd-servers={etcd_url}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={folder / 'certs'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://test",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--disable-admission-plugins=ServiceAccount",
        ],
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            with (folder / f"{Path(program[0]).name}.log").open("wb") as log:
                running.append(subprocess.Popen(program, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        server = BareServer(f"https://127.0.0.1:{port}", folder)
        _wait(server, running)
        yield server
    finally:
        for process in reversed(running):  # without etcd, the API server does not end by itself
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: BareServer, running: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + READY_S
    trust = ssl._create_unverified_context()  # its certificate is being made
    request = urllib.request.Request(f"{server.url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
    while True:
        ended = [process.args for process in running if process.poll() is not None]
        if ended or time.monotonic() > end:
            logs = "\n".join(path.read_text()[-2000:] for path in server.folder.glob("*.log"))
            raise RuntimeError(f"the API server did not become ready; ended: {ended}\n{logs}")
        try:
            with urllib.request.urlopen(request, timeout=2, context=trust) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
