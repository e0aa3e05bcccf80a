"""Python handles, as other Ray jobs use them: from a driver and from tasks, awaited and waited for, whole and not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from .conftest import ROOT, Service

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=["as printed", "without the faster transport"])
def ways(request: pytest.FixtureRequest, tiny: Service) -> dict[str, list[str]]:
    """What each way gave; the environment is what `switchyard serve` prints, or only where the cluster is."""
    printed = tiny.ray_environment()
    if request.param != "as printed":
        printed = {name: value for name, value in printed.items() if name in ("RAY_ADDRESS", "RAY_AUTH_MODE")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.live.ask_through_handles"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **printed},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("caller", ["a driver", "a task"])
def test_a_handle_answers_whole_and_in_pieces(ways: dict[str, list[str]], caller: str):
    awaited, waited = ways[f"{caller}, awaiting"], ways[f"{caller}, waiting"]
    whole, pieces, reason = awaited
    assert whole and pieces == whole and reason == "length"
    assert waited == awaited


@pytest.mark.parametrize("caller", ["a driver", "a task"])
def test_a_refusal_is_the_same_error_as_here(ways: dict[str, list[str]], caller: str):
    status, said = ways[f"{caller}, refused"]
    assert status == "400"
    assert "max_tokens" in said
