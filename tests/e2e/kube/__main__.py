"""The commands behind ``make kube-up``, ``kube-down``, ``kube-image`` and ``kube-gateway``."""

from __future__ import annotations

import sys
import time

from tests.e2e.kube import build, cluster, holder, layout, manifests
from tests.e2e.kube.needs import check_needs
from tests.e2e.kube.steps import KubeError


def main() -> int:
    """Exit status: 0 done, 1 failed, 2 wrong use."""
    commands = {"up": _up, "down": _down, "build": _build, "image": _image, "gateway": _gateway, "needs": _needs}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"usage: python -m tests.e2e.kube {'|'.join(commands)}", file=sys.stderr)
        return 2
    try:
        return commands[sys.argv[1]]()
    except KubeError as error:
        print(f"kube: {error}", file=sys.stderr)
        return 1


def _up() -> int:
    begun = time.monotonic()
    started = cluster.up()
    took = (
        f"is up, after {time.monotonic() - begun:.1f} s" if started else f"is running since {holder.uptime_s():.0f} s"
    )
    print(
        f"\nThe cluster {took}.\n\n"
        f"  export KUBECONFIG={layout.KUBECONFIG}\n"
        f"  export PATH={build.KUBERNETES.folder()}:$PATH   # kubectl\n"
        f"  logs   {layout.LOGS}\n\n"
        "'make kube-down' ends it."
    )
    return 0


def _down() -> int:
    begun = time.monotonic()
    left = cluster.down()
    if left:
        print("\n".join(["kube: these are left:", *left]), file=sys.stderr)
        return 1
    print(f"The cluster is down, after {time.monotonic() - begun:.1f} s.")
    print("No process, mount, interface, control group or packet filter rule of it is left.")
    return 0


def _build() -> int:
    cluster.build_all()
    return 0


def _needs() -> int:
    check_needs()
    return 0


def _image() -> int:
    begun = time.monotonic()
    cluster.refresh_image()
    print(f"The image is up to date, after {time.monotonic() - begun:.1f} s.")
    return 0


def _gateway() -> int:
    begun = time.monotonic()
    cluster.add_gateway()
    print(
        f"Gateways of the class {manifests.GATEWAY_CLASS} are served at {layout.GATEWAY_SERVICE}, "
        f"after {time.monotonic() - begun:.1f} s."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
