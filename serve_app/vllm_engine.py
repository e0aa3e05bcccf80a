"""vLLM's AsyncLLM as an :class:`~serve_app.engine.Engine`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
import uuid
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from typing import Any

from serve_app.config import Defaults, ServiceConfig
from serve_app.engine import Health
from serve_app.engine_options import Weights
from serve_app.environment import RELEASE_VARIABLE
from serve_app.errors import BadRequest, EngineUnavailable, GenerationFailed, StartError
from serve_app.schema import Delta, Event, Finished, GenerateRequest, Usage
from serve_app.vllm_args import engine_args, engine_config, frontend_args, one_line, versions

logger = logging.getLogger("ray.serve")


class VllmEngine:
    """A running vLLM engine. Make one with :meth:`start`."""

    def __init__(self, client: Any, args: Namespace, config: ServiceConfig, pulse: _Pulse, commit: str | None):
        self.client = client
        self.args = args
        self.config = config
        self.app_state: Any = None
        self.tasks: tuple[Any, ...] = ()
        self._pulse = pulse
        self._commit = commit
        self._release = os.environ.get(RELEASE_VARIABLE) or config.release
        self._started = time.time()
        self._canary: asyncio.Task[None] | None = None
        self._has_template = False
        self._markers: re.Pattern[str] | None = None

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

        pulse = _Pulse()
        loggers: list[Any] = [pulse.stat_logger()]
        if on_ray and config.serving.ray_metrics:
            from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

            loggers.append(RayPrometheusStatLogger)
        loggers.append(PrometheusStatLogger)  # last: the one before it unregisters what is in the registry
        args = engine_args(config, weights)
        try:
            vllm_config = engine_config(args)
            if placement_group is not None:
                vllm_config.parallel_config.placement_group = placement_group
            client = AsyncLLM.from_vllm_config(vllm_config, enable_log_requests=False, stat_loggers=loggers)
        except Exception as error:
            raise StartError(f"vLLM could not start {config.model.id}: {one_line(error)}") from error
        engine = cls(client, frontend_args(args, config), config, pulse, commit)
        try:
            await engine._prepare()
        except Exception as error:
            engine.shutdown()
            raise StartError(
                f"The engine for {config.model.id} started, but did not answer: {one_line(error)}"
            ) from error
        return engine

    async def _prepare(self) -> None:
        from starlette.datastructures import State
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state

        self.tasks = await self.client.get_supported_tasks()
        self.app_state = State()
        await init_app_state(self.client, self.app_state, self.args, self.tasks)
        tokenizer: Any = self.client.get_tokenizer()
        self._has_template = getattr(tokenizer, "chat_template", None) is not None
        markers = [token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special]
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else None
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
        messages = self._messages(request)
        if messages is not None:
            rendered = await renderer.render_chat(ChatCompletionRequest(messages=messages))  # type: ignore[arg-type]
            inputs = rendered if isinstance(rendered, ErrorResponse) else rendered[1]
        else:
            inputs = await renderer.render_completion(CompletionRequest(prompt=request.prompt))  # pyright: ignore[reportCallIssue]
        if isinstance(inputs, ErrorResponse):
            raise BadRequest(inputs.error.message, param=inputs.error.param)
        prompt = inputs[0]
        defaults = self.config.serving.defaults
        params = SamplingParams(  # pyright: ignore[reportCallIssue]
            max_tokens=self._max_tokens(request, defaults, len(prompt["prompt_token_ids"])),
            temperature=_given(request.temperature, defaults.temperature),
            top_p=_given(request.top_p, defaults.top_p),
            top_k=_given(request.top_k, defaults.top_k),
            seed=request.seed,
            stop=request.stop_strings,
            output_kind=RequestOutputKind.DELTA,
        )
        return prompt, params

    def _messages(self, request: GenerateRequest) -> list[dict[str, Any]] | None:
        """The chat a request is, or None if its prompt goes to the model unchanged."""
        if request.messages is not None:
            return [message.model_dump() for message in request.messages]
        prompt = request.prompt or ""
        raw = request.raw
        if raw is None:
            raw = not self._has_template or (self._markers is not None and bool(self._markers.search(prompt)))
        return None if raw else [{"role": "user", "content": prompt}]

    def _max_tokens(self, request: GenerateRequest, defaults: Defaults, prompt_tokens: int) -> int:
        room = self.client.model_config.max_model_len - prompt_tokens
        limit = self.client.model_config.max_model_len
        if room < 1:
            raise BadRequest(
                f"The prompt has {prompt_tokens} tokens; the model takes at most {limit - 1}.", param="prompt"
            )
        if request.max_tokens is not None and request.max_tokens > room:
            raise BadRequest(
                f"The prompt has {prompt_tokens} tokens and the model's context is {limit}, so max_tokens can be at "
                f"most {room}, not {request.max_tokens}.",
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
            release=self._release,
        )

    def health(self) -> Health:
        """Judge by the last step the engine took, for a client or for the canary."""
        age = time.monotonic() - self._pulse.last_step
        window = self.config.serving.health_window_s
        reason = None
        if self.client.errored:
            reason = "the engine process has died"
        elif "generate" in self.tasks and age > window:
            reason = f"no step for {age:.0f} s (limit {window:g} s)"
        in_flight = self.client.get_num_unfinished_requests()
        return Health(ok=reason is None, last_step_age_s=age, in_flight=in_flight, reason=reason)

    def release(self) -> dict[str, Any]:
        """What runs here, for ``GET /release``. Free of secrets and of paths of the machine."""
        config = self.config
        return {
            "release": self._release,
            "name": config.name,
            "model": config.model.served_name,
            "model_id": config.model.public_id,
            "revision": self._commit,
            "engine": {**config.model.model_dump(include={"quantization"}), **config.engine.model_dump(mode="json")}
            | {
                "options": sorted(config.engine.options),  # names: a value could be a path or a secret
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
            if time.monotonic() - self._pulse.last_step < window / 2:
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


class _Pulse:
    """When the engine last took a step, learned from vLLM once a step rather than once a token."""

    def __init__(self) -> None:
        self.last_step = time.monotonic()

    def stat_logger(self) -> Callable[..., Any]:
        """A factory in the form vLLM's ``stat_loggers`` wants."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        pulse = self

        class PulseLogger(StatLoggerBase):
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

            def record(
                self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
            ) -> None:
                # A step without a token is a sign of life too: a long prompt takes many before its first.
                if scheduler_stats is not None or iteration_stats is not None:
                    pulse.last_step = time.monotonic()

            def log_engine_initialized(self) -> None: ...

        return PulseLogger


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
