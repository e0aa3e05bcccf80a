"""What a machine must have for the local cluster, checked before anything is started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.kube.steps import KubeError

GO = (1, 26)
PROGRAMS = ("buildah", "ip", "iptables-save", "mmdebstrap", "mount", "nsenter", "runc", "setpriv", "unshare")
CNI = ("/usr/lib/cni", "/opt/cni/bin")


def check_needs() -> None:
    """Say everything that is missing in one go.

    Raises:
        KubeError: something is.
    """
    if missing := _missing():
        raise KubeError(
            f"A local Kubernetes cluster needs {', '.join(missing)}. On Debian as root: scripts/kube-needs.sh."
        )


def _missing() -> list[str]:
    if not sys.platform.startswith("linux"):
        return ["Linux"]
    missing = [] if os.geteuid() == 0 else ["to be root"]
    missing += [f"the program {program}" for program in PROGRAMS if not shutil.which(program)]
    if not any(Path(folder, "ptp").exists() for folder in CNI):
        missing.append("the CNI plugins")
    if not missing and not _may_unshare():
        missing.append("the right to make namespaces (unshare fails)")
    if _go() < GO:
        missing.append(f"Go {GO[0]}.{GO[1]}")
    return missing


def _may_unshare() -> bool:
    """Root in a container may lack the capability."""
    command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _go() -> tuple[int, ...]:
    if not shutil.which("go"):
        return (0,)
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else (0,)
