"""Nothing of a local cluster outlives it, whatever ends it. Runs before the session's cluster is started."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import eventually, foreign
from tests.e2e.kube import cgroups, cluster, holder, layout
from tests.e2e.kube.steps import KubeError

pytestmark = pytest.mark.e2e


def snapshot() -> dict[str, set[str]]:
    """What a cluster could leave on a machine."""

    def lines(*command: str) -> set[str]:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    rules = {line for line in lines("iptables-save") if line.startswith("-A")}
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    groups = {str(folder) for folder in cgroups.ROOT.rglob("*") if folder.is_dir() and "switchyard" in str(folder)}
    return {
        "links": {line.split(":")[1] for line in lines("ip", "-oneline", "link")},
        "routes": lines("ip", "route"),
        "rules": rules,
        "mounts": mounts,
        "groups": groups,
    }


@pytest.fixture
def running() -> dict[str, set[str]]:
    """Start a cluster; what the machine was like before."""
    if foreign():
        pytest.skip("$KUBECONFIG names a cluster, which is not ours to end")
    try:
        if holder.init_pid() is None:
            cluster.down()  # what an earlier one left that was killed: starting another removes it, too
        before = snapshot()
        if not cluster.up(tied=True):
            pytest.skip("a cluster is running on this machine, which is not ours to end")
    except KubeError as error:
        pytest.fail(str(error), pytrace=False)
    return before


def test_killing_the_process_that_holds_the_node_leaves_nothing(running: dict[str, set[str]]) -> None:
    during = snapshot()
    assert layout.INTERFACE in str(during["links"] - running["links"])
    assert during["groups"]
    assert not during["mounts"] - running["mounts"], "a mount of the node is seen outside of it"
    assert not during["rules"] - running["rules"], "a packet filter rule of the node is seen outside of it"

    os.kill(holder.pid(), signal.SIGKILL)
    # The kernel's work alone: processes, interface, routes. Control groups belong to no namespace.
    eventually(lambda: not [item for item in cluster.left() if not item.startswith("control group")], 20, "all to end")
    assert cluster.left(), "control groups have to be removed by 'make kube-down'"

    assert cluster.down() == []
    for kind, items in snapshot().items():
        assert items == running[kind], kind
    assert not layout.RUN.exists()
