"""A Ray job for test_handles.py: asks through handles in each way a job can, and prints what it got as JSON.

python ask_through_handles.py, with the environment that `make serve` prints
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import ray
from ray import serve

from serve_app.errors import BadRequest
from serve_app.schema import Delta, GenerateRequest

ASKED = GenerateRequest(prompt="one two three", raw=True, max_tokens=16, temperature=0)
WRONG = GenerateRequest(prompt="one two three", raw=True, max_tokens=10**6)


def text(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def awaited(app: str) -> list[str]:
    handle = serve.get_app_handle(app)
    whole = await handle.generate.remote(ASKED)
    stream: Any = handle.options(stream=True).stream.remote(ASKED)
    events = [event async for event in stream]
    return [whole.text, text(events), events[-1].finish_reason]


def waited(app: str) -> list[str]:
    handle = serve.get_app_handle(app)
    whole = handle.generate.remote(ASKED).result(timeout_s=120)
    stream: Any = handle.options(stream=True).stream.remote(ASKED)
    events = list(stream)
    return [whole.text, text(events), events[-1].finish_reason]


def refused(app: str) -> list[str]:
    """The reason of a refusal, as the caller catches it."""
    try:
        serve.get_app_handle(app).generate.remote(WRONG).result(timeout_s=120)
    except BadRequest as error:  # of Ray's class for errors of actors as well, where it comes that way
        return [str(error.status), str(error)]
    return []


def main() -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    ways: dict[str, Any] = {
        "a driver, awaiting": asyncio.run(awaited("llm")),
        "a driver, waiting": waited("llm"),
        "a task, waiting": ray.get(ray.remote(num_cpus=0)(waited).remote("llm")),
        "a task, awaiting": ray.get(ray.remote(num_cpus=0)(lambda: asyncio.run(awaited("llm"))).remote()),
        "a driver, refused": refused("llm"),
        "a task, refused": ray.get(ray.remote(num_cpus=0)(refused).remote("llm")),
    }
    print(json.dumps(ways))


if __name__ == "__main__":
    main()
