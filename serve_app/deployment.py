"""The Ray Serve application: one deployment that is HTTP ingress and engine at once.

``serve.ingress()`` without an app defers the ASGI app to the replica (``__serve_build_asgi_app__``), which hands out
vLLM's own. A request goes client -> HAProxy -> replica; there is no router deployment in between to pay for.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve.config import AutoscalingConfig

from models import store
from models.errors import ModelError
from serve_app import http, preflight, progress
from serve_app.config import ServiceConfig
from serve_app.engine import collect
from serve_app.engine_options import Weights, executor, placement, thread_binding
from serve_app.errors import ConfigError, StartError, SwitchyardError
from serve_app.load import load
from serve_app.run_environment import set_environment
from serve_app.schema import Event, GenerateRequest, GenerateResponse
from serve_app.vllm_args import one_line
from serve_app.vllm_engine import VllmEngine

logger = logging.getLogger("ray.serve")

HANDLE_HEADROOM = 64
"""Requests Serve lets into a replica beyond what the engine admits, so that the engine's 503 is what a client sees."""


@serve.deployment
@serve.ingress()
class LLM:
    """A replica. Call it over HTTP, or from Python with :meth:`generate` and :meth:`stream` through a Serve handle."""

    async def __init__(self, config: dict[str, Any]) -> None:
        self.config = ServiceConfig.model_validate(config)
        for warning in self.config.warnings:
            logger.warning(warning)
        try:
            limits = http.limits_of(self.config)
            progress.tell("preparing the model")
            located = store.locate(
                self.config.model.id,
                self.config.model.revision,
                report=progress.tell,
                everywhere=self.config.engine.pipeline_parallel_size > 1,
            )
            weights = Weights(located.model, located.revision, located.load_format)
            progress.tell("starting the engine: loading weights, making room for the KV cache, warming up")
            cores = os.cpu_count() or 1
            os.environ.update(thread_binding(self.config, cores, psutil.cpu_count(logical=False) or cores))
            self.engine = await VllmEngine.start(
                self.config,
                weights,
                commit=located.commit,
                on_ray=True,
                placement_group=_workers_placement(self.config),
            )
            self.asgi_app = await http.vllm_app(self.engine, limits)
        except (ModelError, StartError) as error:
            progress.tell(str(error), failed=True)
            raise
        except Exception as error:
            progress.tell(f"{type(error).__name__}: {one_line(error)}", failed=True)
            raise

    async def __serve_build_asgi_app__(self) -> Any:
        return self.asgi_app

    async def generate(self, request: GenerateRequest) -> GenerateResponse:
        """Generate a whole answer, as ``POST /generate`` does.

        Raises:
            RequestError: with the status HTTP would have had.
        """
        request_id = _request_id()
        return await collect(self.engine.stream(request, request_id), request_id)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """Generate piece by piece: deltas, then one ``Finished``."""
        async with contextlib.aclosing(self.engine.stream(request, _request_id())) as events:
            async for event in events:
                yield event

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises three times in a row."""
        health = self.engine.health()
        if not health.ok:
            raise RuntimeError(f"The engine does not answer: {health.reason}.")

    def __del__(self) -> None:
        if engine := getattr(self, "engine", None):
            engine.shutdown()


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application; Serve calls it with the ``args`` of its command line or config file.

    Args:
        args: ``config``, the path of a service file; without it ``$SWITCHYARD_CONFIG``, else ``deploy/local.yaml``.

    Raises:
        ConfigError: the file is wrong, or there is another argument.
        StartError: vLLM does not accept its settings, found before Ray starts.
        SystemExit: either of them, in Ray's ``serve`` command, with the message alone.
    """
    if unknown := sorted(args.keys() - {"config"}):
        raise ConfigError(f"serve_app:build knows the argument 'config' only, not {', '.join(unknown)}.")
    try:
        config = load(args.get("config"))
        if not ray.is_initialized():
            _prepare_ray(config)
    except SwitchyardError as error:
        if _serve_command() is None:
            raise
        sys.exit(f"switchyard: {error}")  # Ray's command line would print a stack trace
    return bind(config)


def bind(config: ServiceConfig) -> serve.Application:
    """The application for a config."""
    place = placement(config)
    options: dict[str, Any] = {
        "ray_actor_options": place.actor_options,
        # The engine does the queueing and refuses with a proper error; Serve's own bound must not come first.
        "max_ongoing_requests": config.engine.max_num_seqs + config.engine.max_waiting + HANDLE_HEADROOM,
        "graceful_shutdown_timeout_s": config.serving.max_request_s,
        "health_check_period_s": 5,
        "health_check_timeout_s": 15,
    }
    if place.bundles is not None:
        options["placement_group_bundles"] = place.bundles
        options["placement_group_strategy"] = place.strategy
    scaling = config.scaling
    if scaling.min_replicas == scaling.max_replicas:
        options["num_replicas"] = scaling.min_replicas
    else:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
        )
    return LLM.options(**options).bind(config.model_dump(mode="json"))


def _prepare_ray(config: ServiceConfig) -> None:
    """Check the service as ``switchyard serve`` does, and give the Ray that is about to start its settings.

    A cluster that runs already has its own settings and machines; in a pod they come with the pod.
    """
    elsewhere = os.environ.get("RAY_ADDRESS", "local") not in ("", "local")
    if not elsewhere and _serve_command() != "build":  # `serve build` only writes down what is to run somewhere else
        http.limits_of(config)
        located = preflight.find_model(config, report=logger.info)
        if executor(config) != "ray":  # its workers' machines are not this one
            preflight.check_engine(config, located)
    folder = tempfile.mkdtemp(prefix="switchyard-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    set_environment(Path(folder), config)


def _serve_command() -> str | None:
    """The sub-command, where this process is Ray's ``serve`` command line."""
    return "".join(sys.argv[1:2]) if Path(sys.argv[0]).name == "serve" else None


def _workers_placement(config: ServiceConfig) -> Any:
    """The replica's placement group, for vLLM's Ray executor; None where workers are child processes."""
    if executor(config) != "ray":
        return None
    # vLLM's engine process is a driver of its own and must join this cluster, not start one.
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    return ray.util.get_current_placement_group()


def _request_id() -> str:
    return f"gen-{uuid.uuid4().hex}"
