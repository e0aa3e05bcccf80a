"""A terminal chat over ``POST /generate``: streams the answer, keeps the conversation, needs no OpenAI client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from serve_app import client
from serve_app.client import ClientError

HELP = "/reset starts over, /quit or Ctrl-D leaves, Ctrl-C stops an answer."


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
            ClientError: no service there, a refusal, or a stream that broke off.
        """
        messages = [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]
        messages.append({"role": "user", "content": question})
        body: dict[str, Any] = {"messages": messages, "stream": True}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        answer = ""
        for piece in client.stream(self.url, body, self.api_key):
            answer += piece
            yield piece
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
            except ClientError as error:
                print(f"\n{error}")
