"""Starts the local cluster, stops it, and looks whether anything of it is left."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.e2e.kube import build, cgroups, components, images, layout, manifests, network, pki
from tests.e2e.kube.containerd import Containerd
from tests.e2e.kube.needs import check_needs
from tests.e2e.kube.steps import KubeError, run, step, wait_until

ADMIN = components.PKI / "admin.kubeconfig"
NAMESPACES = ("pid", "net", "mnt")
PR_SET_PDEATHSIG = 1


def up(*, tied: bool = False) -> bool:
    """Bring the cluster up, building first what is missing.

    Args:
        tied: the cluster ends with this process, even if that is killed.

    Returns:
        Whether it was this call that started it.

    Raises:
        KubeError: why it could not.
    """
    check_needs()
    with _lock():
        if _init_pid() and layout.KUBECONFIG.exists() and _ready():
            return False
        _end()
        build.build()
        image, folders = images.switchyard()
        with step("starting the node"):
            pid = _start_node(tied)
        containerd = Containerd(pid)
        with step("loading images"):
            wait_until(containerd.answers, 30, "containerd to answer")
            for small in (images.pause(), images.operator()):
                containerd.load(small)
            containerd.load(image, folders)
        with step("waiting for the API server and the node"):
            wait_until(_ready, 120, "the node to be Ready", every_s=0.3)
        with step("installing KubeRay"):
            kubectl("patch", "node", layout.NODE, "--subresource=status", "--type=merge", "-p", manifests.gpus())
            kubectl("apply", "--server-side", "-f", "-", stdin=manifests.dns())
            _install_operator()
        # Last, because its presence says that the cluster is whole.
        shutil.copyfile(ADMIN, layout.KUBECONFIG)
        return True


def down() -> list[str]:
    """End the cluster, in whatever state it is.

    Returns:
        What is left of it nevertheless; empty, if all went well.
    """
    with _lock():
        _end()
        return left()


def left() -> list[str]:
    """What there is of a cluster outside its files: processes, mounts, the interface, control groups, packet filter rules."""
    return [
        *(f"process {p.pid} {p.name()}" for p in _processes()),
        *(f"mount {mount}" for mount in _mounts()),
        *network.left(),
        *(f"control group {group}" for group in cgroups.left()),
        *(f"packet filter rule {rule}" for rule in _rules()),
    ]


def holder() -> int:
    """The process whose end is the cluster's."""
    return int(str(_state()["unshare"]))


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run the kubectl that belongs to this cluster, as its administrator."""
    program = build.KUBERNETES.folder() / "kubectl"
    return run(program, "--kubeconfig", ADMIN, *arguments, stdin=stdin)


def refresh_image() -> None:
    """Build the project's image again and load it, while the cluster runs. New pods get it."""
    with _lock():
        pid = _init_pid()
        if not pid:
            raise KubeError("No cluster is running: start one with 'make kube-up'.")
        image, folders = images.switchyard()
        with step("loading the image"):
            Containerd(pid).load(image, folders)


def _start_node(tied: bool) -> int:
    cgroups.make()
    for folder in (layout.RUN, layout.LOGS, layout.CONTAINERD, components.CONFIG / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    pki.make(components.PKI)
    for name, text in components.files().items():
        (components.CONFIG / name).write_text(text)
    with (layout.LOGS / "node.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-m", "tests.e2e.kube.node"],
            cwd=images.ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={"PATH": build.search_path(), "HOME": str(Path.home()), "XDG_CACHE_HOME": str(layout.CACHE.parents[1]), "TMPDIR": str(layout.RUN)},
            preexec_fn=_die_with_parent if tied else None,
        )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().strip(), 10, "the node's process 1")
    pid = int(children.read_text())
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}
    wait_until(lambda: all(_namespaces(pid).get(n) not in (None, own[n]) for n in NAMESPACES), 10, "the namespaces")
    state = {"unshare": process.pid, "init": pid, "started": psutil.Process(pid).create_time(), "namespaces": _namespaces(pid)}
    layout.STATE.write_text(json.dumps(state))
    network.attach(pid)
    return pid


def _end() -> None:
    for process in _processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not _processes(), 20, "the node's processes to be gone")
    network.detach()
    cgroups.remove()
    shutil.rmtree(layout.RUN, ignore_errors=True)


def _ready() -> bool:
    try:
        said = kubectl("get", "node", layout.NODE, "-o", "json", "--request-timeout=5s")
    except KubeError:
        return False
    conditions = json.loads(said)["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _install_operator() -> None:
    folder = layout.RUN / "operator"
    folder.mkdir()
    config = os.path.relpath(build.OPERATOR.folder() / "config", folder)
    for name, text in manifests.operator(config, images.OPERATOR).items():
        (folder / name).write_text(text)
    kubectl("apply", "--server-side", "-k", str(folder))
    kubectl("-n", manifests.OPERATOR_NAMESPACE, "rollout", "status", f"deployment/{manifests.OPERATOR}", "--timeout=120s")


def _state() -> dict[str, object]:
    try:
        return json.loads(layout.STATE.read_text())
    except (OSError, ValueError):
        return {}


def _init_pid() -> int | None:
    """Process 1 of the running node, as the machine numbers it."""
    state = _state()
    with suppress(psutil.NoSuchProcess, KeyError):
        process = psutil.Process(int(str(state["init"])))
        if process.create_time() == state["started"] and process.status() != psutil.STATUS_ZOMBIE:
            return process.pid
    return None


def _namespaces(pid: int) -> dict[str, str]:
    with suppress(OSError):
        return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}
    return {}


def _processes() -> list[psutil.Process]:
    """Every process in the node's namespaces, and the unshare(1) that holds them; also where the state file is gone."""
    theirs = set(dict(_state().get("namespaces") or {}).values())  # type: ignore[arg-type]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        holder = "tests.e2e.kube.node" in (process.info["cmdline"] or [])
        if holder or theirs & set(_namespaces(process.pid).values()):
            found.append(process)
    return found


def _mounts() -> list[str]:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(str(layout.CACHE))]


def _rules() -> list[str]:
    if not shutil.which("iptables-save"):
        return []
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    return [rule for rule in rules if rule.startswith("-A KUBE-") or layout.RANGE.rsplit(".", 2)[0] in rule]


@contextmanager
def _lock() -> Iterator[None]:
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with (layout.CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def started_s() -> float:
    """Seconds since the running node was started."""
    return time.time() - float(str(_state()["started"]))
