"""What is asked of a service before it is measured: is it there, what is its model called, how long are words in it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import aiohttp

from bench.client import send
from bench.errors import TargetError
from bench.protocol import Request, Target
from bench.workloads import Measure, words

_TIMEOUT_S = 60.0
_SHORT, _LONG = 16, 144


async def named(session: aiohttp.ClientSession, target: Target) -> Target:
    """The target with its model's name, which OpenAI's routes want: the first of ``GET /v1/models``.

    Raises:
        TargetError: the service does not say.
    """
    if target.model or target.api == "generate":
        return target
    url = f"{target.url.rstrip('/')}/v1/models"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with session.get(url, headers=target.headers, timeout=timeout) as response:
            return replace(target, model=str((await response.json(content_type=None))["data"][0]["id"]))
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise TargetError(f"{target.label}: nothing answers at {target.url} ({error}). {_ADVICE}") from None
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError) as error:
        raise TargetError(
            f"{target.label}: {url} does not say what its model is called ({type(error).__name__}). Name it with "
            "--model, and check the address and the key."
        ) from None


_ADVICE = "Start a service with 'make serve', or give another address."


async def measured(session: aiohttp.ClientSession, target: Target) -> Measure:
    """Ask twice, which shows that the service answers, and how many tokens it makes of words.

    Raises:
        TargetError: it does not answer, or not as the API does.
    """
    counted: list[int] = []
    for count in (_SHORT, _LONG):
        request = Request(words(count, random.Random(count)), max_tokens=2)
        record = await send(session, target, request, timeout_s=_TIMEOUT_S)
        if not record.ok:
            hint = _ADVICE if record.status == 0 else "Nothing was measured."
            raise TargetError(f"{target.label}: a first request to {target.address} failed: {record.error}. {hint}")
        counted.append(record.prompt_tokens)
    per_word = (counted[1] - counted[0]) / (_LONG - _SHORT)
    if per_word <= 0:  # the service does not count
        return Measure()
    return Measure(per_word, counted[0] - _SHORT * per_word)


async def warmed(session: aiohttp.ClientSession, target: Target, requests: tuple[Request, ...]) -> None:
    """Send some requests at once and forget about them: connections, caches, kernels compiled on first use."""
    await asyncio.gather(*(send(session, target, request) for request in requests))
