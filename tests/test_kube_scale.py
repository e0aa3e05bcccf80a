"""A thousand services with ten thousand pods: what reading them all costs, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_kubernetes import fake_kubernetes
from tests.kube_fixtures import Fleet

READ = """
import json, re, sys, time
from kuberay.api.client import Api
from kuberay.observing.observe import observe_all
api = Api.connect(kubeconfig=sys.argv[1])
begun = time.process_time()
found = observe_all(api)
print(json.dumps({
    "cpu_s": time.process_time() - begun,
    "most_mib": int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024,
    "services": len(found),
    "objects": sum(len(one.objects) for one in found),
    "calls": {verb + " " + what: count for (verb, what), count in api.calls.items()},
}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_thousand_services(tmp_path: Path) -> None:
    fleet = Fleet(services=1000, pods=10)
    assert fleet.pod_bytes > 50e6
    with fake_kubernetes() as server:
        server.answer = fleet
        command = [sys.executable, "-c", READ, server.kubeconfig(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=True)
    cost = json.loads(done.stdout)
    assert (cost["services"], cost["objects"]) == (1000, 12_000)
    # One list a kind, in pages of 500.
    assert cost["calls"] == {"list rayservices.ray.io": 2, "list rayclusters.ray.io": 2, "list pods": 20}
    assert cost["cpu_s"] < 2
    assert cost["most_mib"] < 300
