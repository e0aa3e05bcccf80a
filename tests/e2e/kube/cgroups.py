"""The node's control groups: the only thing of it that no namespace holds, so they are removed by hand."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.e2e.kube import layout

ROOT = Path("/sys/fs/cgroup")
SYSTEM = "system"
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
# Pods together get 1024 for each of the machine's cores. With two Ray clusters starting, the API server must still
# answer in time, or watches are dropped and probes fail.
SHARES = 8192
WEIGHT = 1000


def make() -> None:
    """Make the node's group in each hierarchy, as the kubelet expects to find it."""
    for root in _hierarchies():
        group = root / layout.CGROUP
        group.mkdir(exist_ok=True)
        if _unified():
            for folder in (root, group):
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in V2_CONTROLLERS))
        for name in ("cpuset.cpus", "cpuset.mems"):  # a new group of version 1 has none
            if not _unified() and (root / name).exists():
                (group / name).write_text((root / name).read_text())
        if _unified() or (root / "cpu.shares").exists():
            (group / SYSTEM).mkdir(exist_ok=True)
            for folder in (group, group / SYSTEM):
                name, value = ("cpu.weight", WEIGHT) if _unified() else ("cpu.shares", SHARES)
                (folder / name).write_text(str(value))


def join() -> None:
    """Put this process, and what it will start, in the group of the control plane."""
    for root in _hierarchies():
        group = root / layout.CGROUP / SYSTEM
        if group.is_dir():
            (group / "cgroup.procs").write_text(str(os.getpid()))


def left() -> list[Path]:
    """The node's groups that are there, innermost first."""
    found: list[Path] = []
    # On a machine with both versions, runc makes groups in the unified hierarchy, too.
    for root in (ROOT, *(folder for folder in ROOT.iterdir() if folder.is_dir())):
        found += [Path(folder) for folder, _, _ in os.walk(root / layout.CGROUP, topdown=False)]
    return found


def remove(timeout_s: float = 10) -> None:
    """Remove them. The kernel takes a moment to empty a group whose processes were killed."""
    deadline = time.monotonic() + timeout_s
    while groups := left():
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [ROOT]
    return sorted({folder.resolve() for folder in ROOT.iterdir() if (folder / "cgroup.clone_children").exists()})
