"""The bodies of ``POST /generate`` and what a Python handle sends and gets. Pure: pydantic only.

Types are strict: ``"10"``, ``true`` or ``1.5`` is not an integer here, so that a client's mistake is told rather than
guessed at. Bounds that depend on the model (context length, vocabulary) are the engine's to check.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve_app.body import MAX_STOP_LENGTH, parse_object
from serve_app.errors import BadRequest

FinishReason = Literal["stop", "length"]

MAX_STOP_STRINGS = 4  # OpenAI's bound; vLLM's VLLM_MAX_STOP_STRINGS has the same default
MAX_MESSAGES = 512

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True, frozen=True)


class Message(_Strict):
    """One turn of a chat, put through the model's own chat template."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateRequest(_Strict):
    """What to generate. Exactly one of ``prompt`` and ``messages`` is given.

    A field left out takes the service's default (``serving.defaults`` in the YAML).
    """

    prompt: str | None = Field(default=None, min_length=1, description="What to answer, or text to continue; see raw.")
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        validation_alias=AliasChoices("max_tokens", "max_length"),
        description="Most tokens to generate; the prompt does not count.",
    )
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, description="0 is greedy.")
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=-1, le=1_000_000, description="-1 or 0: no limit.")
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    raw: bool | None = Field(
        default=None,
        description="Whether 'prompt' goes to the model unchanged (true) or as a user's message through the chat "
        "template (false). By default it is unchanged if it contains the model's own markers, such as "
        "<start_of_turn>, or the model has no template.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> GenerateRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of 'prompt' (a string) and 'messages' (a list of role and content)")
        return self

    @property
    def stop_strings(self) -> list[str]:
        """``stop`` as a list."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else list(self.stop)


class Usage(_Strict):
    """Token counts of one request, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Delta(_Strict):
    """A piece of text, as soon as the engine has it. Deltas put together are the answer's text."""

    text: str


class Finished(_Strict):
    """The last event of a stream: why it ended and what it used. A stream without it was cut."""

    finish_reason: FinishReason
    usage: Usage
    model: str
    release: str


Event = Delta | Finished


class GenerateResponse(_Strict):
    """The whole answer.

    Attributes:
        text: what the model generated, without the prompt.
        finish_reason: ``stop`` (end of turn or a stop string) or ``length`` (``max_tokens`` or the context is used up).
        model: the name the model is served under.
        release: content hash of the configuration that answered, as in ``GET /release``.
    """

    id: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str
    release: str


def parse_generate(body: bytes) -> GenerateRequest:
    """Read a ``POST /generate`` body.

    Raises:
        BadRequest: names the field at fault and what it takes instead.
    """
    data = parse_object(body)
    if "max_tokens" in data and "max_length" in data:
        raise BadRequest("'max_length' is another name of 'max_tokens'; give one of them.", param="max_length")
    try:
        return GenerateRequest.model_validate(data)
    except ValidationError as error:
        raise _explain(error, data) from None


def _explain(error: ValidationError, data: dict[str, Any]) -> BadRequest:
    findings: list[Any] = error.errors(include_url=False, include_context=False)
    first = findings[0]
    if first["loc"][:1] == ("stop",) and isinstance(data.get("stop"), list):
        # pydantic tells each alternative's mistake; the one for a list is what the client wants to know.
        first = next((finding for finding in findings if "list" in str(finding["loc"])), first)
    loc = [str(part) for part in first["loc"] if isinstance(part, int) or _is_field(part)]
    if loc[:1] == ["stop"]:
        loc = ["stop"]
    param = ".".join(loc)[:64] or None
    if first["type"] == "extra_forbidden":
        fields = GenerateRequest.model_fields if len(loc) == 1 else Message.model_fields
        near = difflib.get_close_matches(loc[-1][:64], [*fields, "max_length"], n=1)
        hint = f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(fields)}."
        return BadRequest(f"Unknown field '{loc[-1][:64]}'.{hint}", param=param)
    message = first["msg"].removeprefix("Value error, ")
    return BadRequest(f"'{param}': {message}." if param else f"{message[:1].upper()}{message[1:]}.", param=param)


def _is_field(part: str) -> bool:
    """Whether part of a finding's place is a field, rather than pydantic's name of an alternative."""
    return part != "str" and not part.startswith(("constrained-", "list[", "function-"))
