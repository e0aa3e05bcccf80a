"""Starts the local cluster, stops it, and looks whether anything of it is left."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.kube import build, cgroups, components, holder, images, layout, manifests, network, pki
from tests.e2e.kube.containerd import Containerd
from tests.e2e.kube.needs import check_needs
from tests.e2e.kube.steps import KubeError, run, step, wait_until

ADMIN = components.PKI / "admin.kubeconfig"


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
        if _whole():
            return False
        _end()
        build.build()
        image, folders = images.switchyard()
        with step("starting the node"):
            pid = _start_node(tied)
        with step("loading images"):
            containerd = Containerd(pid)
            wait_until(_while_up(containerd.answers), 30, "containerd to answer")
            for small in (images.pause(), images.operator()):
                containerd.load(small)
            containerd.load(image, folders)
        with step("waiting for the API server and the node"):
            wait_until(_while_up(_ready), 120, "the node to be Ready", every_s=0.3)
            kubectl("patch", "node", layout.NODE, "--subresource=status", "--type=merge", "-p", manifests.gpus())
        with step("installing DNS and KubeRay"):
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
    """What there is of a cluster outside its files: processes, mounts, the interface, control groups, filter rules."""
    return [
        *(f"process {process.pid}" for process in holder.processes()),
        *(f"mount {mount}" for mount in _mounts()),
        *network.left(),
        *(f"control group {group}" for group in cgroups.left()),
        *(f"packet filter rule {rule}" for rule in _rules()),
    ]


def build_all() -> None:
    """Build programs and images, so that a later :func:`up` takes seconds."""
    check_needs()
    with _lock():
        build.build()
        images.switchyard()


def refresh_image() -> None:
    """Build the project's image again and load it, while the cluster runs. New pods get it."""
    with _lock():
        pid = holder.init_pid()
        if not pid:
            raise KubeError("No cluster is running: start one with 'make kube-up'.")
        image, folders = images.switchyard()
        with step("loading the image"):
            Containerd(pid).load(image, folders)


def add_gateway() -> None:
    """Have the running cluster implement the Gateway API, by Traefik, which is built the first time."""
    with _lock():
        pid = holder.init_pid()
        if not pid:
            raise KubeError("No cluster is running: start one with 'make kube-up'.")
        build.build((build.TRAEFIK,))
        with step("installing the Gateway API and Traefik"):
            Containerd(pid).load(images.traefik())
            kubectl("apply", "--server-side", "-f", str(build.TRAEFIK.folder() / "config"))
            kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", *manifests.GATEWAY_CRDS)
            kubectl("apply", "--server-side", "-f", "-", stdin=manifests.gateway(images.TRAEFIK))
            waited = ("rollout", "status", "deployment/traefik", "--timeout=120s")
            kubectl("-n", manifests.GATEWAY_NAMESPACE, *waited)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run the kubectl that belongs to this cluster, as its administrator."""
    return run(build.KUBERNETES.folder() / "kubectl", "--kubeconfig", ADMIN, *arguments, stdin=stdin)


def _start_node(tied: bool) -> int:
    cgroups.make()
    for folder in (layout.RUN, layout.LOGS, layout.CONTAINERD, components.CONFIG / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    pki.make(components.PKI)
    for name, text in components.files().items():
        (components.CONFIG / name).write_text(text)
    pid = holder.start(tied=tied)
    network.attach(pid)
    return pid


def _install_operator() -> None:
    folder = layout.RUN / "operator"
    folder.mkdir()
    config = os.path.relpath(build.OPERATOR.folder() / "config", folder)
    for name, text in manifests.operator(config, images.OPERATOR).items():
        (folder / name).write_text(text)
    kubectl("apply", "--server-side", "-k", str(folder))
    deployment = f"deployment/{manifests.OPERATOR}"
    kubectl("-n", manifests.OPERATOR_NAMESPACE, "rollout", "status", deployment, "--timeout=120s")


def _end() -> None:
    holder.kill()
    network.detach()
    cgroups.remove()
    shutil.rmtree(layout.RUN, ignore_errors=True)


def _whole() -> bool:
    return holder.init_pid() is not None and layout.KUBECONFIG.exists() and _ready()


def _ready() -> bool:
    try:
        said = kubectl("get", "node", layout.NODE, "-o", "json", "--request-timeout=5s")
    except KubeError:
        return False
    conditions = json.loads(said)["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _while_up(condition: Callable[[], bool]) -> Callable[[], bool]:
    """``condition``, but with the node's own words where there is no use in waiting on."""

    def checked() -> bool:
        if not holder.init_pid():
            raise KubeError(f"The node ended:\n{(layout.LOGS / 'node.log').read_text()[-2000:]}")
        return condition()

    return checked


def _mounts() -> list[str]:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(str(layout.CACHE))]


def _rules() -> list[str]:
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    return [rule for rule in rules if "KUBE-" in rule or layout.RANGE.rsplit(".", 2)[0] in rule]


@contextmanager
def _lock() -> Iterator[None]:
    """One command at a time; and none that would end what somebody else started, as there is room for one cluster."""
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with (layout.CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if others := holder.others():
            raise KubeError(f"Another user's local cluster runs on this machine (process {others[0]}).")
        yield
