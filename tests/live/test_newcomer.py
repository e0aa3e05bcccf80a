"""The embedded model as a newcomer meets it: a sensible answer, a chat, a Python handle, and a clean end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from .conftest import BIN, ROOT, Service, serving, wait_until

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("embedded"), "switchyard", "serve") as service:
        yield service


def test_it_knows_the_capital_of_france(embedded: Service):
    answer = httpx2.post(f"{embedded.url}/generate", json={"prompt": "What is the capital of France?"}, timeout=60)
    assert "Paris" in answer.json()["text"]
    assert answer.json()["finish_reason"] == "stop"


def test_the_curl_line_it_prints_streams_a_sensible_answer(embedded: Service):
    log = embedded.log.read_text()
    command = next(line.strip() for line in log.splitlines() if line.strip().startswith("curl -N"))
    out = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True).stdout
    data = [line.removeprefix("data: ") for line in out.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    pieces = [json.loads(item)["text"] for item in data[:-1]]
    assert len(pieces) > 20
    assert "scatter" in "".join(pieces)


def test_chat_answers_once_and_from_a_pipe(embedded: Service):
    command = [str(BIN / "switchyard"), "chat", "--url", embedded.url]
    asked = subprocess.run([*command, "What is the capital of France?"], capture_output=True, text=True, check=True)
    piped = subprocess.run(command, input="What is the capital of France?", capture_output=True, text=True, check=True)
    assert "Paris" in asked.stdout
    assert piped.stdout == asked.stdout


def test_the_example_job_classifies_through_the_handle(embedded: Service):
    done = subprocess.run(
        [sys.executable, "examples/classify.py", "examples/reviews.txt"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **embedded.ray_environment(), "COLUMNS": "120"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    labels = [line.split("\t")[0] for line in done.stdout.splitlines() if "\t" in line]
    assert labels == ["positive", "negative"] * 4
    assert "Classifying" in done.stderr


def test_progress_is_told_while_it_starts(embedded: Service):
    log = embedded.log.read_text()
    for step in ("checking this machine", "finding the model embedded", "starting Ray", "starting the engine"):
        assert re.search(rf"ok {step}.* [\d.]+ s", log), step


def test_a_kill_that_cannot_be_caught_leaves_nothing_either(embedded: Service):
    """Last, as it ends the service: SIGKILL to the one process that would have cleaned up."""
    family = psutil.Process(embedded.process.pid).children(recursive=True)
    embedded.engine()
    assert {"raylet", "haproxy"} <= {name_of(process) for process in family}
    embedded.kill()
    wait_until(lambda: not any(map(alive, family)), 60, "Ray, HAProxy and vLLM to be gone")


def name_of(process: psutil.Process) -> str:
    """A process's name as the kernel has it; '' for one that has ended since it was found."""
    try:
        return process.name()[:15]
    except psutil.NoSuchProcess:
        return ""


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
