"""What is asked of a service before it is measured: is it there, what is its model called, how long are words in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import aiohttp

from bench.client import send
from bench.errors import TargetError
from bench.protocol import Request, Target
from bench.workloads import WORDS, Measure

_TIMEOUT_S = 60.0
_TIMES, _AT_A_TIME = 24, 4
REQUESTS = len(WORDS) + 2
"""What :func:`measured` asks a service that counts."""


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
    """Ask a few short things, which shows that the service answers, and which words are equally many tokens.

    Prompts of these words then have the lengths that were asked for, whatever the tokenizer, without having it here.

    Raises:
        TargetError: it does not answer, or not as the API does.
    """
    if not await _count(session, target, "Hello."):
        return Measure()  # the service does not count
    counts: dict[str, int] = {}
    waiting = iter(WORDS)

    async def worker() -> None:
        for word in waiting:
            counts[word] = await _count(session, target, " ".join([word] * _TIMES))

    await asyncio.gather(*(worker() for _ in range(_AT_A_TIME)))
    usual = Counter(counts.values()).most_common(1)[0][0]
    vocabulary = tuple(word for word in WORDS if counts[word] == usual)
    twice = await _count(session, target, " ".join([vocabulary[0]] * 2 * _TIMES))
    per_word = (twice - usual) / _TIMES
    return Measure(per_word, usual - _TIMES * per_word, vocabulary) if per_word > 0 else Measure()


async def _count(session: aiohttp.ClientSession, target: Target, prompt: str) -> int:
    """How many tokens a prompt is."""
    record = await send(session, target, Request(prompt, max_tokens=1), timeout_s=_TIMEOUT_S)
    if not record.ok:
        hint = _ADVICE if record.status == 0 else "Nothing was measured."
        raise TargetError(f"{target.label}: a first request to {target.address} failed: {record.error}. {hint}")
    return record.prompt_tokens


async def warmed(session: aiohttp.ClientSession, target: Target, requests: tuple[Request, ...]) -> None:
    """Send some requests at once and forget about them: connections, caches, kernels compiled on first use."""
    await asyncio.gather(*(send(session, target, request) for request in requests))
