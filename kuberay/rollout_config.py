"""The ``rollout`` section of a service file: what a new release must show before, and keep after, the switch. Pure.

Every check can be switched off, and every bound changed. The prompts of all checks are answered greedily (temperature
0), whatever the service's default is.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from serve_app.schema import Message
from service_file import Section

Prompt = Annotated[str, Field(min_length=1)]

PROMPTS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in two sentences why the sky is blue.",
    "List three uses of copper.",
    "Translate to German: The train leaves at noon.",
    "What is 17 times 3? Explain your steps.",
    "Write a Python function that reverses a string.",
    "Summarise the plot of Hamlet in one sentence.",
]
"""Asked where the section names none: ordinary questions of several kinds."""


class Contract(Section):
    """Every route answers in the agreed form, with this release's name and the error envelope."""

    enabled: bool = True


class Streaming(Section):
    """Streams come token by token, end with a finish reason and ``[DONE]``, and say what the whole answer says."""

    enabled: bool = True
    requests: int = Field(default=4, ge=1, le=1000)
    max_tokens: int = Field(default=32, ge=2)


class Expect(Section):
    """What an answer must be like; exactly one. Letter case and spaces around count in ``equals`` only."""

    contains: str | None = Field(default=None, min_length=1, description="This text, in any letter case.")
    matches: str | None = Field(default=None, min_length=1, description="A Python regular expression, found anywhere.")
    equals: str | None = Field(default=None, description="The whole answer, letter by letter.")

    @model_validator(mode="after")
    def _one(self) -> Expect:
        import re

        if sum(value is not None for value in (self.contains, self.matches, self.equals)) != 1:
            raise ValueError("give exactly one of contains, matches and equals")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as error:
                raise ValueError(f"matches is no regular expression: {error}") from None
        return self


class GoldenPrompt(Section):
    """A prompt whose answer is known."""

    prompt: Prompt | None = None
    messages: list[Message] | None = Field(default=None, min_length=1)
    expect: Expect
    max_tokens: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> GoldenPrompt:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of prompt and messages")
        return self


class Golden(Section):
    """Prompts whose answers are known. Skipped without any."""

    enabled: bool = True
    prompts: list[GoldenPrompt] = Field(default_factory=list[GoldenPrompt])


class Drift(Section):
    """How far answers may be from those of the release that serves. null: not judged."""

    min_exact_share: float | None = Field(default=None, ge=0, le=1, description="Share of answers with the same text.")
    max_length_drift: float | None = Field(
        default=None, ge=0, description="Tokens of all answers, longer side over shorter, minus 1: 0.1 is 10 %."
    )
    max_logprob_drift: float | None = Field(
        default=None, ge=0, description="Mean absolute difference of the tokens' log-probabilities, nats."
    )


class Answers(Section):
    """The same prompts, asked of both releases. Bounds by what the new release is to the old."""

    enabled: bool = True
    prompts: list[Prompt] = Field(default_factory=lambda: list(PROMPTS), min_length=1)
    max_tokens: int = Field(default=32, ge=1)
    same_model: Drift = Drift(min_exact_share=0.8, max_length_drift=0.1, max_logprob_drift=0.1)
    quantized: Drift = Drift(min_exact_share=0.1, max_length_drift=0.3, max_logprob_drift=0.4)
    new_model: Drift = Drift(max_length_drift=2.0)


class Latency(Section):
    """Times to the first token and to the end, beside the release that serves, request by request in random order.

    Fails only where a difference beyond the bound is shown, with 95 % confidence, of the median or the 90th percentile.
    """

    enabled: bool = True
    requests: int = Field(default=40, ge=8, le=10_000, description="Of each release.")
    concurrency: int = Field(default=1, ge=1, le=256, description="Requests in flight at a time, of both together.")
    max_tokens: int = Field(default=32, ge=1)
    max_ttft_ratio: float = Field(default=1.3, ge=1, description="Time to first token, new over old.")
    max_e2e_ratio: float = Field(default=1.3, ge=1, description="Time to the end, new over old.")


class Throughput(Section):
    """Output tokens a second at some load, in rounds that alternate with the release that serves (and loads it)."""

    enabled: bool = True
    rounds: int = Field(default=4, ge=2, le=100)
    requests: int = Field(default=8, ge=1, le=10_000, description="A round, of each release.")
    concurrency: int = Field(default=4, ge=1, le=1024)
    max_tokens: int = Field(default=64, ge=1)
    min_ratio: float = Field(default=0.75, gt=0, le=1, description="New over old; fails where less is shown.")


class Soak(Section):
    """A steady load on the new release."""

    enabled: bool = True
    seconds: float = Field(default=30, gt=0, le=86_400)
    concurrency: int = Field(default=4, ge=1, le=1024)
    max_tokens: int = Field(default=64, ge=1)
    max_error_rate: float = Field(default=0, ge=0, le=1)


class Replay(Section):
    """A recorded trace, sent to the new release. Off without a path."""

    path: str | None = Field(
        default=None, min_length=1, description="JSONL: a /generate body a line, and 'at', seconds from the beginning."
    )
    speed: float = Field(default=1, gt=0, description="2: twice as fast as recorded.")
    max_requests: int = Field(default=1000, ge=1)
    max_error_rate: float = Field(default=0, ge=0, le=1)


class Capacity(Section):
    """The new release has at least as many ready endpoints as the one that serves."""

    enabled: bool = True


class Checks(Section):
    """What the new release is checked for while the switch is held."""

    timeout_s: float = Field(default=60, gt=0, description="Longest time for one request.")
    contract: Contract = Contract()
    streaming: Streaming = Streaming()
    golden: Golden = Golden()
    answers: Answers = Answers()
    latency: Latency = Latency()
    throughput: Throughput = Throughput()
    soak: Soak = Soak()
    replay: Replay = Replay()
    capacity: Capacity = Capacity()


class WarmUp(Section):
    """Requests to the new release just before the switch: caches and kernels are then warm for the first users."""

    enabled: bool = True
    prompts: list[Prompt] = Field(
        default_factory=list[Prompt], description="Such as the system prompts that many requests begin with."
    )
    recent: int = Field(
        default=32,
        ge=0,
        description="Prompts from the end of the recorded trace (checks.replay.path), where there is one.",
    )
    requests: int = Field(default=32, ge=1, le=10_000, description="At least so many; prompts are repeated.")
    concurrency: int = Field(default=8, ge=1, le=256)
    max_tokens: int = Field(default=16, ge=1)


class Watch(Section):
    """After the switch, and at a canary's stops: what takes it back."""

    seconds: float = Field(default=300, ge=0, le=86_400, description="0: no watch.")
    interval_s: float = Field(default=10, gt=0)
    max_error_rate: float = Field(default=0.02, ge=0, le=1, description="Server faults (5xx) of all requests.")
    max_ttft_p99_ratio: float = Field(default=2.0, ge=1, description="p99 time to first token, after over before.")
    min_requests: int = Field(default=50, ge=1, description="With fewer since the switch, nothing is concluded.")
    golden: bool = Field(default=True, description="Ask the golden prompts in each interval as well.")


Percent = Annotated[int, Field(ge=1, le=99)]


class Canary(Section):
    """The stops on the way of the traffic, with the incremental strategy. What goes wrong there takes it all back."""

    stops: list[Percent] = Field(
        default_factory=lambda: [10, 99],
        min_length=1,
        description="Per cent on the new release. At 100 the old one goes: the last stop is the last warm way back.",
    )
    seconds: float = Field(
        default=60, ge=0, le=86_400, description="Watched at each stop; at the last one at least watch.seconds."
    )

    @model_validator(mode="after")
    def _ascending(self) -> Canary:
        if self.stops != sorted(set(self.stops)):
            raise ValueError(f"stops must ascend, without repetition; they are {self.stops}")
        return self


class Rollout(Section):
    """How a new release is tried, and when it is taken back."""

    start_s: int = Field(default=1800, ge=1, description="How long the new release may take to be ready.")
    checks: Checks = Checks()
    warm_up: WarmUp = WarmUp()
    canary: Canary = Canary()
    watch: Watch = Watch()
