"""Serve on this machine: start Ray, Serve and the engine, wait until the service answers, and take it all down again.

Everything started here is a descendant of this process, also after its own parent has died (see
:mod:`serve_app.lifetime`), so the end is simple: whatever is still below this process goes.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from models.store import Report
from serve_app import http, lifetime, preflight, progress
from serve_app.config import ServiceConfig
from serve_app.environment import KEEP_ALIVE_S
from serve_app.errors import StartError
from serve_app.run_environment import set_environment

START_TIMEOUT_S = 1800.0
_VLLM_ERROR = re.compile(
    r"^\((?:Worker|EngineCore)[^)]*\) ERROR [^\]]*\] ((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE
)


@dataclass(frozen=True)
class Running:
    """A service that answers: where, the address of its Ray cluster, and where Ray keeps its logs."""

    url: str
    ray_address: str
    logs: Path


@contextmanager
def running(config: ServiceConfig, *, report: Report, dashboard: bool = False) -> Iterator[Running]:
    """The service, up inside the ``with`` block and gone after it, whichever way the block ends.

    Args:
        config: the service.
        report: told of each step as it begins.
        dashboard: also start Ray's dashboard (needed by ``serve status``).

    Raises:
        StartError: with the reason in one line.
    """
    report("checking this machine")
    preflight.check_port(config)
    preflight.check_machine(config)
    http.limits_of(config)  # reads the key file, if there is one
    located = preflight.find_model(config, report)
    preflight.check_machine(config, preflight.weights_size(located))
    report("asking vLLM to check the engine options")
    preflight.check_engine(config, located)

    lifetime.adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="switchyard-"))
    try:
        set_environment(folder, config)
        os.environ[progress.PROGRESS_VARIABLE] = str(folder / "progress.jsonl")
        report("starting Ray")
        ray_address, logs = _start_ray(config, dashboard)
        try:
            _deploy(config, folder / "progress.jsonl", report)
        except StartError as error:
            raise StartError(f"{root_cause(logs) or error} (logs: {logs})") from error
        except Exception as error:
            reason = f"Ray gave up: {type(error).__name__}: {_first_line(str(error))}"
            raise StartError(f"{root_cause(logs) or reason} (logs: {logs})") from error
        url = f"http://localhost:{config.serving.port}"
        report("waiting for the first answer")
        _wait_for_health(url)
        yield Running(url, ray_address, logs)
    finally:
        _stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start_ray(config: ServiceConfig, dashboard: bool) -> tuple[str, Path]:
    import ray
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    handlers = {number: signal.getsignal(number) for number in lifetime.END_SIGNALS}
    try:
        context: Any = ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
        serve.start(http_options={"port": config.serving.port, "keep_alive_timeout_s": KEEP_ALIVE_S})
    except Exception as error:
        raise StartError(f"Ray did not start: {_first_line(str(error))}") from error
    finally:
        # Ray installs a handler that ends the process with a stack trace, and nothing would be taken down.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return context.address_info["gcs_address"], Path(context.address_info["session_dir"]) / "logs"


def _deploy(config: ServiceConfig, told: Path, report: Report) -> None:
    """Deploy the application and follow what its replica says, so that a failure is known at once and in its words."""
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    from serve_app import deployment

    report("starting the replica: importing vLLM")
    target = serve.RunTarget(deployment.bind(config), name=config.name, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)
    seen = 0
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for step in progress.steps(told)[seen:]:
            seen += 1
            if step.failed:
                raise StartError(step.text)
            report(step.text)
        application = serve.status().applications[config.name]
        if application.status == ApplicationStatus.RUNNING:
            return
        if application.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise StartError(f"Serve could not deploy the application: {_first_line(application.message)}")
        time.sleep(0.1)
    raise StartError(f"The replica was not up after {START_TIMEOUT_S:.0f} s.")


def root_cause(logs: Path) -> str | None:
    """The first error vLLM's own processes wrote: the replica only learns that they are gone."""
    for file in sorted(logs.glob("worker-*.err")) + sorted(logs.glob("worker-*.out")):
        if found := _VLLM_ERROR.search(file.read_text(errors="replace")):
            return f"vLLM failed: {found[1]}"
    return None


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def _wait_for_health(url: str) -> None:
    deadline = time.monotonic() + 60
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = httpx2.get(f"{url}/health", timeout=5)
            if answer.status_code == httpx2.codes.OK:
                return
            last = f"status {answer.status_code}"
        except httpx2.HTTPError as error:
            last = type(error).__name__
        time.sleep(0.1)
    raise StartError(f"The replica is up but {url}/health does not answer ({last}).")


def _stop() -> None:
    import ray

    with suppress(Exception):  # what is left is ended next
        ray.shutdown()
    lifetime.end_descendants()
