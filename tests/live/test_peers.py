"""`make bench` in its short form, with the real servers: all four answer, are accounted for, and are gone after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, assert_nothing_left

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1200)]  # four servers, some minutes


@pytest.mark.skipif(not (ROOT / ".venv/.peers").is_dir(), reason="ray.serve.llm's packages: 'make bench' installs them")
def test_all_four_servers(tmp_path: Path) -> None:
    result = tmp_path / "bench.json"
    places = ("--runs", str(tmp_path / "runs"), "--result", str(result))
    command = [sys.executable, "-m", "bench.peers", "--quick", *places]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(result.read_text())
    assert found["complete"]
    ratios = found["ratios"]
    assert ratios["throughput_c64"] is None, "the short form has 32 at a time only"
    assert all(ratios[name] > 0 for name in ("throughput_c32", "ttft_open_p50", "replica_cpu", "handle_vs_http"))
    rows = {(row["server"], row["load"]): row for row in found["figures"]}
    assert all(row["failed"] == 0 for row in rows.values())
    for (server, load), row in rows.items():
        used = {kind for kind, ms in row["cpu_ms"].items() if ms > 0}
        assert {"server", "engine core", "client"} <= used, (server, load, used)
        assert ("worker" in used) == (server != "switchyard"), "ours is in the engine core's process"
        assert ("haproxy" in used) == (server in ("switchyard", "ray-best") and not load.startswith("handle"))
        assert ("ingress" in used) == (server == "ray-default") or server in ("ray-best", "switchyard")
    assert_nothing_left()
