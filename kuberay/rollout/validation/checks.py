"""Sends a validation's requests and writes down what came back. Edge: HTTP, through ``bench.client``.

A server's fault never raises: it is in the evidence. Requests to both releases alternate in random order, so that
whatever else happens on their machines meanwhile hits both alike.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.client import Request, open_session
from bench.records import Record
from kuberay.rollout.validation import contract, trace
from kuberay.rollout.validation.evidence import Evidence, Sides
from kuberay.rollout.validation.sending import Place, Sender
from kuberay.rollout.validation.validate import mismatch
from kuberay.rollout_config import PROMPTS, GoldenPrompt, Replay, Rollout

__all__ = ["Place", "Warmed", "gather", "golden_failures", "warm"]

_GOLDEN_S = 60.0
_UNCOUNTED = 2
"""Requests of each side before latencies are measured: connections and caches are then there."""


@dataclass(frozen=True)
class Warmed:
    """What warming up did.

    Attributes:
        sent, failed: requests.
        seconds: how long it took.
        text: in a sentence.
    """

    sent: int
    failed: int
    seconds: float
    text: str


def gather(
    settings: Rollout,
    green: Place,
    blue: Place | None,
    *,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda text: None,
    chance: random.Random | None = None,
) -> Evidence:
    """Send what the settings ask for to ``green``, and to ``blue`` beside it.

    Once ``green`` answers a whole check's requests with nothing but faults, the checks after it are not made: the
    verdict is clear, and each might wait for its timeouts.

    Args:
        blue: the release that serves; None on a first install.
        stop: asked between requests; once it is true, what has been measured is returned.
        report: told each check's beginning, in a few words.
        chance: decides the order of requests, and what makes prompts new.
    """

    async def run() -> Evidence:
        async with open_session() as session:
            sender = Sender(session, settings.checks.timeout_s, stop)
            return await _Validation(settings, green, blue, sender, report, chance or random.Random()).run()

    return asyncio.run(run())


class _Validation:
    """One run of the checks, each filling in its part of the evidence."""

    def __init__(
        self,
        settings: Rollout,
        green: Place,
        blue: Place | None,
        sender: Sender,
        report: Callable[[str], None],
        chance: random.Random,
    ) -> None:
        self._checks = settings.checks
        self._green = replace(green, label="green")
        self._blue = blue and replace(blue, label="blue")
        self._sender, self._report = sender, report
        self._chance = chance
        self._found: dict[str, Any] = {}
        self._hopeless = False

    async def run(self) -> Evidence:
        checks, begun = self._checks, time.monotonic()
        both = self._blue is not None
        text = not self._green.embeds
        steps = (
            ("contract", checks.contract.enabled or (text and checks.streaming.enabled), self._contract),
            ("streaming", text and checks.streaming.enabled, self._streaming),
            ("golden", text and checks.golden.enabled and bool(checks.golden.prompts), self._golden),
            ("answers", text and both and checks.answers.enabled, self._answers),
            ("latency", text and both and checks.latency.enabled, self._latency),
            ("throughput", text and both and checks.throughput.enabled, self._throughput),
            ("soak", text and checks.soak.enabled, self._soak),
            ("replay", text and checks.replay.path is not None, self._replay),
        )
        stopped = ""
        for name, asked, step in steps:
            if not asked or self._hopeless:
                continue
            if not self._sender.stopped:
                await step()
            if self._sender.stopped:
                stopped = name
                break
        green, blue = self._green, self._blue
        return Evidence(
            release=green.release,
            model=green.model,
            against=blue.release if blue else "",
            embeds=green.embeds,
            keyed=green.api_key is not None,
            stopped=stopped,
            seconds=time.monotonic() - begun,
            **self._found,
        )

    def _keep(self, name: str, records: Sequence[Record]) -> None:
        self._found[name] = tuple(records)
        self._hopeless |= bool(records) and not any(record.ok for record in records)

    async def _contract(self) -> None:
        green, checks = self._green, self._checks
        wanted = {"contract": checks.contract.enabled, "streaming": checks.streaming.enabled}
        calls = [
            call
            for call in contract.calls(green.model, embeds=green.embeds, keyed=green.api_key is not None)
            if wanted[call.check]
        ]
        self._report(f"contract: {len(calls)} requests")
        replies = await self._sender.calls(green, calls)
        self._found["replies"] = tuple(replies)
        self._hopeless |= bool(replies) and not any(reply.status for reply in replies)

    async def _streaming(self) -> None:
        bounds = self._checks.streaming
        self._report(f"streaming: {bounds.requests} prompts, as a stream and whole")
        requests = [
            # To the full length: of an answer of few tokens, one piece says nothing about buffers.
            Request(prompt=PROMPTS[i % len(PROMPTS)], max_tokens=bounds.max_tokens, ignore_eos=True, index=i)
            for i in range(bounds.requests)
        ]
        self._keep("streamed", await self._sender.load(self._green, requests))
        self._found["whole"] = tuple(await self._sender.load(self._green, requests, stream=False))

    async def _golden(self) -> None:
        prompts = self._checks.golden.prompts
        self._report(f"golden: {len(prompts)} prompts with known answers")
        self._keep("golden", await self._sender.load(self._green, _golden_requests(prompts), stream=False))

    async def _answers(self) -> None:
        bounds = self._checks.answers
        self._report(f"answers: {len(bounds.prompts)} prompts to both releases")
        requests = [
            Request(prompt=prompt, max_tokens=bounds.max_tokens, logprobs=True, index=index)
            for index, prompt in enumerate(bounds.prompts)
        ]
        # What users get goes through the chat template; a model without one can only continue a text.
        probe = Request(prompt=PROMPTS[0], max_tokens=1)
        records = [await self._sender.send(place, probe, api="chat") for place in self._places()]
        api = "chat" if all(record.ok for record in records) else "completions"
        await self._keep_sides("answers", requests, api=api)

    async def _latency(self) -> None:
        bounds = self._checks.latency
        self._report(f"latency: {bounds.requests} requests to each release, in random order")
        for place in self._places():
            for request in self._fresh(_UNCOUNTED, bounds.max_tokens):
                await self._sender.send(place, request, api="completions")
        requests = self._fresh(bounds.requests, bounds.max_tokens)
        await self._keep_sides("latency", requests, bounds.concurrency)

    async def _keep_sides(self, name: str, requests: Sequence[Request], *args: Any, **options: Any) -> None:
        green, blue = self._green, self._blue
        if blue is None:
            return
        sides = await self._sender.alternate(green, blue, requests, self._chance, *args, **options)
        self._found[name] = sides
        self._hopeless |= bool(sides.green) and not any(record.ok for record in sides.green)

    async def _throughput(self) -> None:
        bounds = self._checks.throughput
        self._report(f"throughput: {bounds.rounds} rounds of {bounds.requests} requests to each release")
        found: dict[str, list[Record]] = {"green": [], "blue": []}
        for number in range(bounds.rounds):
            requests = self._fresh(bounds.requests, bounds.max_tokens, number)
            sides = [("green", self._green), *([("blue", self._blue)] if self._blue else [])]
            self._chance.shuffle(sides)
            for side, place in sides:
                records = await self._sender.load(place, requests, bounds.concurrency, api="completions")
                found[side] += records
                if not any(record.ok for record in records):
                    break  # rounds that fail are not compared, and each might wait for its timeouts
            else:
                continue
            break
        self._found["throughput"] = Sides(tuple(found["green"]), tuple(found["blue"]))

    async def _soak(self) -> None:
        bounds = self._checks.soak
        self._report(f"soak: {bounds.concurrency} requests at a time for {bounds.seconds:g} s")
        until = time.monotonic() + bounds.seconds
        requests = (
            Request(prompt=PROMPTS[i % len(PROMPTS)], max_tokens=bounds.max_tokens, index=i) for i in range(10**9)
        )
        self._keep("soak", await self._sender.load(self._green, requests, bounds.concurrency, until=until))

    async def _replay(self) -> None:
        bounds = self._checks.replay
        try:
            requests = _recorded(bounds)
        except (OSError, ValueError) as error:
            self._found["replay_fault"] = f"The trace cannot be replayed: {error}."
            return
        self._report(f"replay: {len(requests)} requests in {requests[-1].at:.0f} s")
        self._keep("replay", await self._sender.on_time(self._green, requests))

    def _places(self) -> list[Place]:
        return [self._green, *([self._blue] if self._blue else [])]

    def _fresh(self, count: int, max_tokens: int, number: int = 0) -> list[Request]:
        """Prompts that no cache can know, answered to their full length so that every answer costs the same."""
        return [
            Request(
                prompt=f"({self._chance.randrange(10**9)}) {PROMPTS[i % len(PROMPTS)]}",
                max_tokens=max_tokens,
                ignore_eos=True,
                index=i,
                round=number,
            )
            for i in range(count)
        ]


def _golden_requests(prompts: Sequence[GoldenPrompt]) -> list[Request]:
    return [
        Request(
            prompt=golden.prompt,
            messages=None if golden.messages is None else tuple(message.model_dump() for message in golden.messages),
            max_tokens=golden.max_tokens,
            index=index,
        )
        for index, golden in enumerate(prompts)
    ]


def _recorded(bounds: Replay) -> list[Request]:
    path = Path(bounds.path or "")
    lines = path.read_text(encoding="utf-8").splitlines()
    return trace.parse(lines, str(path), speed=bounds.speed, most=bounds.max_requests)


def _recent(settings: Rollout) -> list[str]:
    """The last prompts of the recorded trace. Services keep none themselves: prompts are their users'."""
    bounds = settings.checks.replay
    if not (bounds.path and settings.warm_up.recent):
        return []
    try:
        requests = _recorded(bounds)
    except (OSError, ValueError):  # which the check `replay` has said
        return []
    prompts = [one.prompt for one in requests if isinstance(one.prompt, str) and one.prompt]
    return prompts[-settings.warm_up.recent :]


def warm(settings: Rollout, green: Place, *, stop: Callable[[], bool] = lambda: False) -> Warmed:
    """Fill ``green``'s caches with the configured prompts and those of the recorded trace, the last one last."""
    bounds = settings.warm_up
    if not bounds.enabled or green.embeds:
        why = "The model makes embeddings, which need no warming up" if green.embeds else "Warming up is switched off"
        return Warmed(0, 0, 0.0, why)
    prompts = [*bounds.prompts, *_recent(settings)] or PROMPTS
    count = max(bounds.requests, len(prompts))
    requests = [Request(prompt=prompts[i % len(prompts)], max_tokens=bounds.max_tokens, index=i) for i in range(count)]
    begun = time.monotonic()
    records = _sent(green, requests, bounds.concurrency, settings.checks.timeout_s, stop)
    failed = [record for record in records if not record.ok]
    seconds = time.monotonic() - begun
    text = f"{len(records)} requests over {len(prompts)} prompts in {seconds:.1f} s"
    text += f", {len(failed)} failed: {failed[0].error}" if failed else ""
    return Warmed(len(records), len(failed), seconds, text)


def golden_failures(prompts: Sequence[GoldenPrompt], place: Place) -> tuple[list[str], list[str]]:
    """Ask the golden prompts after a switch: sentences for those answered wrongly, and for those not answered.

    The latter may be the connection's fault. One that was told to come again later is in neither.
    """
    wrong, unanswered = list[str](), list[str]()
    records = _sent(place, _golden_requests(prompts), 1, _GOLDEN_S, lambda: False)
    for number, (record, golden) in enumerate(zip(records, prompts, strict=True), 1):
        if record.ok and (fault := mismatch(record.text, golden.expect)):
            wrong.append(f"prompt {number}: {fault}")
        elif not record.ok and not record.retry_after:
            unanswered.append(f"prompt {number}: {record.error or 'no finish reason'}")
    return wrong, unanswered


def _sent(
    place: Place, requests: Sequence[Request], concurrency: int, timeout_s: float, stop: Callable[[], bool]
) -> list[Record]:
    async def run() -> list[Record]:
        async with open_session() as session:
            return await Sender(session, timeout_s, stop).load(place, requests, concurrency)

    return asyncio.run(run())
