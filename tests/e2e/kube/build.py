"""Builds the cluster's programs from the Go modules in ``tests/e2e/go``, once for each state of those modules."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.kube import layout
from tests.e2e.kube.steps import KubeError, run, step

MODULES = Path(__file__).resolve().parents[1] / "go"
VERSION = "k8s.io/component-base/version"
KUBERAY = "github.com/ray-project/kuberay/ray-operator"
GATEWAY_API = "sigs.k8s.io/gateway-api"


@dataclass(frozen=True)
class Module:
    """A folder of ``tests/e2e/go``, and what ``go build`` makes of it.

    Attributes:
        program: what its one program is called, where upstream's name for it says too little.
        manifests: a module, and the folder of it that is copied as ``config``.
    """

    name: str
    target: str = "tool"
    tags: str = ""
    program: str = ""
    manifests: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def source(self) -> Path:
        return MODULES / self.name

    def version(self, dependency: str) -> str:
        """The version of ``dependency`` that go.mod pins."""
        found = re.search(rf"^(?:require)?\s*{re.escape(dependency)} (v\S+)", self._text("go.mod"), re.MULTILINE)
        if not found:
            raise KubeError(f"{self.source}/go.mod does not pin {dependency}.")
        return found[1]

    def flags(self) -> list[str]:
        link = ["-s", "-w"]
        if self.name == "kubernetes":
            # Clients and Kubernetes' own checks of version skew read these; a plain build says v0.0.0.
            version = self.version("k8s.io/kubernetes")
            major, minor, _ = version.removeprefix("v").split(".", 2)
            for key, value in (("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)):
                link += ["-X", f"{VERSION}.{key}={value}"]
        return ["-trimpath", *(["-tags", self.tags] if self.tags else []), "-ldflags", " ".join(link)]

    def folder(self) -> Path:
        """Where its programs are, or will be."""
        made_of = [self._text(f.name) for f in sorted(self.source.iterdir()) if f.suffix in (".mod", ".sum", ".go")]
        key = hashlib.sha256("\0".join([*made_of, *self.flags(), repr(self)]).encode()).hexdigest()[:16]
        return layout.BINARIES / f"{self.name}-{key}"

    def _text(self, name: str) -> str:
        return (self.source / name).read_text()


KUBERNETES = Module("kubernetes")
OPERATOR = Module("kuberay", program="kuberay-operator", manifests=(KUBERAY, "config"))
ETCD = Module("etcd", program="etcd")
CONTAINERD = Module("containerd", tags="no_btrfs,no_devmapper,no_zfs")
COREDNS = Module("coredns")
PAUSE = Module("pause", target=".")
ALL = (PAUSE, ETCD, CONTAINERD, OPERATOR, COREDNS, KUBERNETES)
TRAEFIK = Module("traefik", manifests=(GATEWAY_API, "config/crd/standard"))
"""Not one of all: it takes as long to build as the others together, and only tests of the Gateway API want it."""


def build(modules: Sequence[Module] = ALL) -> None:
    """Build what is not there yet. Interrupted, it leaves nothing that a later call would take for whole."""
    for module in modules:
        if not module.folder().is_dir():
            with step(f"building {module.name}"):
                _build(module)


def search_path() -> str:
    """``PATH`` with the programs first."""
    system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return ":".join([*(str(module.folder()) for module in ALL), *system])


def _build(module: Module) -> None:
    layout.BINARIES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.BINARIES, prefix=".making-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        # nice: on a small machine a build would otherwise starve whatever else is being tested.
        _go(
            module,
            ["nice", "-n", "19", "go", "build", "-v", *module.flags(), "-o", f"{made}/{module.program}", module.target],
        )
        if module.manifests:
            upstream, folder = module.manifests
            source = run("go", "-C", module.source, "list", "-m", "-f", "{{.Dir}}", upstream).strip()
            shutil.copytree(Path(source) / folder, made / "config", copy_function=shutil.copyfile)
        made.rename(module.folder())


def _go(module: Module, command: list[str]) -> None:
    environ = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    said: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(command, cwd=module.source, env=environ, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"     {len(said)} packages compiled", flush=True)
    if process.returncode:
        raise KubeError(f"go build failed in {module.source}:\n{''.join(said[-20:])}")
