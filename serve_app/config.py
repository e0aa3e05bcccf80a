"""One YAML file describes one service. Pure: text and environment in, a frozen :class:`ServiceConfig` out.

Nothing is silently dropped: an unknown key is an error that names the nearest known one and its line. Every key can be
overridden by an environment variable, ``SWITCHYARD__ENGINE__MAX_NUM_SEQS=8``; the short names of
:data:`ENVIRONMENT_ALIASES` keep working as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, JsonValue, field_validator, model_validator

import service_file
from serve_app.errors import ConfigError
from service_file import Override, Section

SECTIONS_OF_OTHERS = ("kubernetes", "rollout", "cluster")
"""Sections of a service file that other packages own; a replica has no use for them."""

ENVIRONMENT_ALIASES: dict[str, str] = {
    "MODEL_ID": "model.id",
    "DEFAULT_MAX_LENGTH": "serving.defaults.max_tokens",
    "DEFAULT_TEMPERATURE": "serving.defaults.temperature",
    "STREAMING_MODE": "serving.defaults.stream",
    "USE_4BIT": "model.quantization",
}

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


class ModelConfig(Section):
    """Which weights are served, and in what precision."""

    id: str = Field(
        default="embedded",
        description="'embedded' (SmolLM2-135M-Instruct from a Python package), 'tiny' (random weights, for tests), "
        "a Hugging Face id, a local folder, or gs://bucket/path.",
    )
    revision: str | None = Field(default=None, description="Commit of a Hugging Face model, 40 hex digits.")
    name: str | None = Field(default=None, description="Name clients use; by default the last part of the id.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16, description="Longest prompt + answer, in tokens.")
    quantization: str | None = Field(
        default=None, description="vLLM quantization method, e.g. fp8, bitsandbytes (4 bit)."
    )

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not value or value != value.strip() or any(c in value for c in "\n\t\0"):
            raise ValueError("must be a model id, a folder or a gs:// address, without spaces around it")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value) and not value.startswith("gs://"):
            raise ValueError("an address must begin with gs://; other stores are not supported")
        return value

    @field_validator("revision")
    @classmethod
    def _revision(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{40}", value):
            raise ValueError("must be a full commit hash (40 hex digits); branches and tags can move")
        return value

    @property
    def served_name(self) -> str:
        """The name in ``/v1/models`` and in every answer."""
        if self.name:
            return self.name
        if self.id == "embedded":
            return "smollm2-135m-instruct"
        return self.id.rstrip("/").rsplit("/", 1)[-1]

    @property
    def public_id(self) -> str:
        """The id, or the served name where the id is a folder of this machine."""
        return self.served_name if self._is_folder else self.id

    @property
    def is_pinned(self) -> bool:
        """Whether the id always means the same weights, as far as can be told: a Hugging Face id needs a revision."""
        elsewhere = self.id in ("embedded", "tiny") or self.id.startswith("gs://") or self._is_folder
        return elsewhere or self.revision is not None

    @property
    def _is_folder(self) -> bool:
        return self.id.startswith(("/", ".", "~"))


class EngineConfig(Section):
    """How vLLM runs the model. Anything not named here goes into ``options``, under vLLM's own names."""

    accelerator: str = Field(
        default="cpu",
        pattern=r"^(cpu|gpu|[A-Z][A-Za-z0-9-]*[0-9][A-Za-z0-9-]*)$",
        description="'cpu', 'gpu' (any), or a Ray accelerator type: L4, A100, H100, H200.",
    )
    cpus_per_worker: float = Field(
        default=1, ge=0, description="CPUs Ray reserves for each worker (each GPU, or CPU rank)."
    )
    tensor_parallel_size: int = Field(
        default=1, ge=1, le=64, description="GPUs one layer is split over, within one node."
    )
    pipeline_parallel_size: int = Field(
        default=1, ge=1, le=64, description="Stages the layers are split into, over nodes."
    )
    max_num_seqs: int = Field(default=64, ge=1, le=4096, description="Requests decoded together.")
    max_waiting: int = Field(
        default=256, ge=0, description="Requests that may wait beyond that; more are answered 503."
    )
    gpu_memory_utilization: float = Field(default=0.9, gt=0, lt=1)
    kv_cache_gib: float | None = Field(default=None, gt=0, description="Size of the KV cache. CPU default: 0.5.")
    options: dict[str, JsonValue] = Field(
        default_factory=dict[str, JsonValue], description="More of vLLM's AsyncEngineArgs."
    )

    @property
    def workers(self) -> int:
        """Processes (GPUs) one replica uses."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def on_cpu(self) -> bool:
        return self.accelerator == "cpu"


class Defaults(Section):
    """What a request gets that does not say."""

    max_tokens: int = Field(default=256, ge=1, le=1_000_000)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=-1, ge=-1)
    stream: bool = False


class ServingConfig(Section):
    """The HTTP side."""

    port: int = Field(
        default=8000, ge=1, le=65535, description="HAProxy listens on it, on all interfaces. In pods it is always 8000."
    )
    max_request_s: float = Field(
        default=600, gt=0, le=86_400, description="Longest time one request may take, stream included."
    )
    max_body_bytes: int = Field(default=1 << 20, ge=1024, le=1 << 30)
    health_window_s: float = Field(
        default=30, ge=2, description="/health fails when the engine has not answered for so long."
    )
    api_keys_file: str | None = Field(
        default=None, min_length=1, description="File with one 'name:sha256-of-key' a line; none: open."
    )
    ray_metrics: bool = Field(default=True, description="Also export vLLM's metrics through Ray, as ray_vllm_*.")
    defaults: Defaults = Defaults()


class ScalingConfig(Section):
    """How many replicas Ray Serve keeps."""

    min_replicas: int = Field(default=1, ge=0, le=4096)
    max_replicas: int = Field(default=1, ge=1, le=4096)
    target_ongoing_requests: float = Field(
        default=32, gt=0, description="Requests in flight a replica that scaling aims at."
    )
    upscale_delay_s: float = Field(default=10, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> ScalingConfig:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        return self


ServiceName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$")]


class ServiceConfig(Section):
    """A whole service file."""

    name: ServiceName = Field(default="llm", description="Serve application and, on Kubernetes, RayService name.")
    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    serving: ServingConfig = ServingConfig()
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> ServiceConfig:
        clash = sorted(set(self.engine.options) & _ENGINE_OPTIONS_SET_ELSEWHERE.keys())
        if clash:
            where = ", ".join(f"{key}: use {_ENGINE_OPTIONS_SET_ELSEWHERE[key]}" for key in clash)
            raise ValueError(f"engine.options repeats settings that have a place of their own ({where})")
        if self.model.quantization == "bitsandbytes" and self.engine.on_cpu:
            raise ValueError("model.quantization: bitsandbytes (USE_4BIT) needs a GPU; engine.accelerator is cpu")
        limit = self.model.max_model_len
        if limit is not None and self.serving.defaults.max_tokens >= limit:
            raise ValueError(
                f"serving.defaults.max_tokens ({self.serving.defaults.max_tokens}) leaves no room for a prompt in "
                f"model.max_model_len ({limit})"
            )
        return self

    @property
    def warnings(self) -> list[str]:
        """What works, but is better changed."""
        if self.model.is_pinned:
            return []
        return [
            f"model.id {self.model.id} has no model.revision: each start serves what is newest on Hugging Face then, "
            "and replicas started at different times may differ. Pin a commit (40 hex digits)."
        ]

    @property
    def release(self) -> str:
        """Content hash (12 hex digits) of what decides the answers: model, engine and request defaults, written out.

        Two services with the same hash, the same pinned revision and the same image answer alike. Ports, limits,
        scaling and the service's name are left out: they change no answer.
        """
        part = self.model_dump(mode="json", include={"model": True, "engine": True, "serving": {"defaults"}})
        text = json.dumps(part, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_ENGINE_OPTIONS_SET_ELSEWHERE = {
    "model": "model.id",
    "revision": "model.revision",
    "served_model_name": "model.name",
    "dtype": "model.dtype",
    "max_model_len": "model.max_model_len",
    "quantization": "model.quantization",
    "tensor_parallel_size": "engine.tensor_parallel_size",
    "pipeline_parallel_size": "engine.pipeline_parallel_size",
    "distributed_executor_backend": "engine.pipeline_parallel_size",
    "max_num_seqs": "engine.max_num_seqs",
    "max_num_queued_reqs": "engine.max_waiting",
    "gpu_memory_utilization": "engine.gpu_memory_utilization",
    "kv_cache_memory_bytes": "engine.kv_cache_gib",
    "hf_token": "the environment variable HF_TOKEN",
    "data_parallel_size": "scaling.min_replicas",
    "nnodes": "engine.pipeline_parallel_size",
    "node_rank": "engine.pipeline_parallel_size",
    "disable_log_stats": "nothing: health and metrics are made of them",
}


def parse_config(text: str, *, source: str, environ: Mapping[str, str]) -> ServiceConfig:
    """Turn a service file's text into a config, overrides applied.

    Args:
        text: YAML.
        source: the file's name, for messages.
        environ: environment variables to take overrides from.

    Raises:
        ConfigError: with the line, the key, and what would do instead.
    """
    try:
        overrides = [*_aliases_in(environ), *service_file.overrides_in(environ)]
        file = service_file.parse(text, source)
        section = file.data.get("model")
        model = cast("dict[str, Any]", section) if isinstance(section, dict) else {}
        if any(override.path == ("model", "id") and override.value != model.get("id") for override in overrides):
            # The file's revision and name belong to the file's model.
            file.data["model"] = {key: value for key, value in model.items() if key not in ("revision", "name")}
        return service_file.override(file, overrides).validate(ServiceConfig, except_for=SECTIONS_OF_OTHERS)
    except service_file.ServiceFileError as error:
        raise ConfigError(str(error)) from None


def _aliases_in(environ: Mapping[str, str]) -> list[Override]:
    return [
        Override(tuple(key.split(".")), _alias_value(variable, environ[variable]), variable)
        for variable, key in ENVIRONMENT_ALIASES.items()
        if variable in environ
    ]


def _alias_value(variable: str, raw: str) -> Any:
    if variable == "MODEL_ID":
        return raw
    if variable in ("USE_4BIT", "STREAMING_MODE"):
        word = raw.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ConfigError(f"{variable}={raw!r}: use true or false.")
        if variable == "USE_4BIT":
            return "bitsandbytes" if word in _TRUE else None
        return word in _TRUE
    try:
        return int(raw) if variable == "DEFAULT_MAX_LENGTH" else float(raw)
    except ValueError:
        raise ConfigError(f"{variable}={raw!r}: must be a number.") from None
