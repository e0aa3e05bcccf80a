"""A terminal chat over ``POST /generate``: streams the answer, keeps the conversation, needs no OpenAI client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from serve_app.errors import SwitchyardError

HELP = "/reset starts over, /quit or Ctrl-D leaves, Ctrl-C stops an answer."


class ChatError(SwitchyardError):
    """The service cannot be reached or refused; the message says which."""


@dataclass
class Session:
    """A conversation with one service."""

    url: str
    system: str | None = None
    max_tokens: int | None = None
    api_key: str | None = field(default=None, repr=False)
    turns: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def ask(self, question: str) -> Iterator[str]:
        """Yield the answer piece by piece. The turn is kept only when it came to its end.

        Raises:
            ChatError: no service there, a refusal, or a stream that broke off.
        """
        messages = [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]
        messages.append({"role": "user", "content": question})
        body: dict[str, Any] = {"messages": messages, "stream": True}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        answer = ""
        try:
            timeout = httpx2.Timeout(10, read=300)
            with httpx2.stream(
                "POST", f"{self.url.rstrip('/')}/generate", json=body, headers=headers, timeout=timeout
            ) as response:
                if response.status_code != httpx2.codes.OK:
                    raise ChatError(_reason(response))
                for piece in _events(_lines(response.iter_text())):
                    answer += piece
                    yield piece
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise ChatError(f"{self.url!r} is no address of a service. It looks like http://localhost:8000.") from error
        except httpx2.ConnectError as error:
            raise ChatError(
                f"Nothing answers at {self.url}. Start a service with 'make serve', or give --url."
            ) from error
        except httpx2.HTTPError as error:
            raise ChatError(f"The connection to {self.url} broke: {type(error).__name__}. Ask again.") from error
        self.turns += [messages[-1], {"role": "assistant", "content": answer}]


def say(session: Session, question: str) -> None:
    """Ask once and print the answer as it comes."""
    for piece in session.ask(question):
        print(piece, end="", flush=True)
    print()


def loop(session: Session) -> None:
    """Read questions until the end of input."""
    print(f"Chatting with {session.url}. {HELP}")
    while True:
        try:
            question = input("\n> ").strip()
        except EOFError:
            print()
            return
        if question in ("/quit", "/exit"):
            return
        if question == "/reset":
            session.turns.clear()
            print("Started over.")
        elif question.startswith("/"):
            print(HELP)
        elif question:
            try:
                say(session, question)
            except KeyboardInterrupt:
                print(" [stopped]")
            except ChatError as error:
                print(f"\n{error}")


def _lines(chunks: Iterator[str]) -> Iterator[str]:
    """Lines as server-sent events have them: ended by a newline, and not by the other separators Unicode knows."""
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    yield rest


def _events(lines: Iterator[str]) -> Iterator[str]:
    """The pieces of text of a stream, up to and without ``[DONE]``."""
    for line in lines:
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
            if "error" in event:
                raise ChatError(f"The answer broke off: {event['error']['message']}")
            text: str = event["text"]
        except (ValueError, KeyError, TypeError):
            raise ChatError("What answers there does not speak this service's protocol. Check --url.") from None
        yield text
    raise ChatError("The answer broke off before its end. Ask again.")


def _reason(response: httpx2.Response) -> str:
    text = response.read().decode(errors="replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:200] or "no text"
    hint = " Set SWITCHYARD_API_KEY." if response.status_code == httpx2.codes.UNAUTHORIZED else ""
    return f"The service refused ({response.status_code}): {message}{hint}"
