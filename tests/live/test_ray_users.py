"""The ways Ray users start things: ``serve run`` with a builder and an app, ``serve build``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx2
import pytest
import yaml

from .conftest import BIN, ROOT, serving

pytestmark = pytest.mark.live


def test_serve_run_with_the_builder(tmp_path: Path, tiny_file: Path):
    """`serve run` listens on 8000 whatever the file says: the port is Serve's own there."""
    run = ("serve", "run", "serve_app:build", f"config={tiny_file}")
    with serving(tmp_path, *run, ready="is ready at") as service:
        answer = httpx2.post("http://localhost:8000/generate", json={"prompt": "the", "max_tokens": 4}, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert service.process.poll() is None


def test_serve_run_with_the_app_and_a_file_from_the_environment(tmp_path: Path, tiny_file: Path):
    env = {"SWITCHYARD_CONFIG": str(tiny_file)}
    with serving(tmp_path, "serve", "run", "serve_app:app", ready="is ready at", env=env):
        assert httpx2.get("http://localhost:8000/release", timeout=60).json()["model"] == "tiny"


def test_serve_build_writes_a_config_that_names_the_app(tmp_path: Path, tiny_file: Path):
    out = tmp_path / "serve.yaml"
    environ = {**os.environ, "SWITCHYARD_CONFIG": str(tiny_file)}
    command = [str(BIN / "serve"), "build", "serve_app:app", "-o", str(out)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, timeout=120)
    built = yaml.safe_load(out.read_text())
    assert built["applications"][0]["import_path"] == "serve_app:app"
    assert [deployment["name"] for deployment in built["applications"][0]["deployments"]] == ["LLM"]
