"""Against a real HTTP server on this machine that speaks the service's events."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from serve_app.chat import Session, loop, say
from serve_app.client import ClientError

DONE = b"data: [DONE]\n\n"


def event(data: object) -> bytes:
    """As serve_app.http writes them."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def text(piece: str) -> bytes:
    return event({"text": piece})


END = event({"text": "", "finish_reason": "stop", "usage": {}, "model": "m", "release": "r"})


@dataclasses.dataclass
class Service:
    """Answers every request with ``status`` and ``pieces``; remembers what it was asked."""

    url: str = ""
    status: int = 200
    pieces: list[bytes] = dataclasses.field(default_factory=lambda: [text("Hel"), text("lo"), END, DONE])
    cut: bool = False
    asked: list[Any] = dataclasses.field(default_factory=list[Any])

    @property
    def last(self) -> Any:
        return json.loads(self.asked[-1]["body"])


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            state.asked.append({"path": self.path, "headers": dict(self.headers), "body": body})
            self.send_response(state.status)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in state.pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not state.cut:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def test_an_answer_comes_in_pieces_and_is_remembered(service: Service) -> None:
    session = Session(service.url, system="Be brief.", max_tokens=5)
    assert [piece for piece in session.ask("Hi?") if piece] == ["Hel", "lo"]
    assert service.asked[0]["path"] == "/generate"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    assert service.last == {"messages": messages, "stream": True, "max_tokens": 5}
    list(session.ask("And?"))
    assert service.last["messages"] == [
        *messages,
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ]


def test_what_is_not_given_is_not_sent(service: Service) -> None:
    list(Session(service.url).ask("Hi?"))
    assert service.last == {"messages": [{"role": "user", "content": "Hi?"}], "stream": True}
    assert "authorization" not in {name.lower() for name in service.asked[0]["headers"]}


def test_the_key_is_sent_and_not_shown(service: Service) -> None:
    session = Session(service.url, api_key="sk-secret")
    list(session.ask("Hi?"))
    assert {k.lower(): v for k, v in service.asked[0]["headers"].items()}["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(session)


@pytest.mark.parametrize(
    "char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\U0001f600", '"', "\\", "\n", "\r\n"]
)
def test_any_character_arrives(service: Service, char: str) -> None:
    service.pieces = [text(f"a{char}b"), END, DONE]
    assert "".join(Session(service.url).ask("Hi?")) == f"a{char}b"


def test_events_may_be_cut_anywhere(service: Service) -> None:
    whole = text("Gr\u00fc\u00dfe \U0001f600") + END + DONE
    service.pieces = [whole[n : n + 1] for n in range(len(whole))]
    assert "".join(Session(service.url).ask("Hi?")) == "Gr\u00fc\u00dfe \U0001f600"


@pytest.mark.parametrize(
    ("status", "body", "part"),
    [
        (400, event({})[6:], "400"),
        (503, b'{"error": {"message": "The service is full."}}', "(503): The service is full."),
        (401, b'{"error": {"message": "A key."}}', "Set SWITCHYARD_API_KEY"),
        (502, b"<html>Bad Gateway", "(502): <html>Bad Gateway"),
        (500, b"", "(500): no text"),
        (500, b"\xff" * 5000, "(500)"),
        (500, b'{"error": "a string"}', "(500)"),
        (500, b"[]", "(500)"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_refusal(service: Service, status: int, body: bytes, part: str) -> None:
    service.status, service.pieces = status, [body] if body else []
    session = Session(service.url)
    with pytest.raises(ClientError) as caught:
        list(session.ask("Hi?"))
    assert part in str(caught.value)
    assert len(str(caught.value)) < 400
    assert session.turns == []


@pytest.mark.parametrize(
    ("pieces", "cut", "part"),
    [
        ([text("a"), event({"error": {"message": "The engine stopped."}})], False, "The engine stopped."),
        ([text("a")], False, "broke off"),
        ([text("a")], True, "broke"),
        ([], False, "broke off"),
        ([text("a"), b'data: {"te\n\n'], False, ""),
        ([text("a"), b"data: 3\n\n"], False, ""),
        ([text("a"), event({"choices": []})], False, ""),
    ],
    ids=["error event", "no end", "cut", "nothing", "no JSON", "no object", "another API"],
)
def test_a_stream_that_breaks_is_told_and_not_remembered(
    service: Service, pieces: list[bytes], cut: bool, part: str
) -> None:
    service.pieces, service.cut = pieces, cut
    session = Session(service.url)
    heard: list[str] = []
    with pytest.raises(ClientError) as caught:
        heard.extend(session.ask("Hi?"))
    assert part in str(caught.value)
    assert session.turns == []


def test_lines_that_are_no_data_are_skipped(service: Service) -> None:
    service.pieces = [b": ping\n\n", b"event: x\n", text("a"), END, DONE]
    assert "".join(Session(service.url).ask("Hi?")) == "a"


def test_an_answer_that_is_stopped_is_not_remembered(service: Service) -> None:
    session = Session(service.url)
    answer = session.ask("Hi?")
    assert next(answer) == "Hel"
    answer.close()  # type: ignore[attr-defined]
    assert session.turns == []


def test_nothing_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ClientError, match="Nothing answers at"):
        list(Session(url).ask("Hi?"))


@pytest.mark.parametrize("url", ["localhost:8000", "", "http://[::1", "http://127.0.0.1:99999", "ftp://127.0.0.1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ClientError) as caught:
        list(Session(url).ask("Hi?"))
    assert "Ask again" not in str(caught.value)


def test_a_slash_at_the_end_of_the_address(service: Service) -> None:
    list(Session(f"{service.url}/").ask("Hi?"))
    assert service.asked[0]["path"] == "/generate"


def test_say(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    say(Session(service.url), "Hi?")
    assert capsys.readouterr().out == "Hello\n"


def test_loop(service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["", "Hi?", "/help", "/reset", "More?", "/quit", "never"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    session = Session(service.url)
    loop(session)
    assert [json.loads(asked["body"])["messages"][-1]["content"] for asked in service.asked] == ["Hi?", "More?"]
    assert len(service.last["messages"]) == 1  # started over
    assert "Started over." in capsys.readouterr().out
    assert next(typed) == "never"


def test_loop_goes_on_after_an_error(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.status = 503
    typed = iter(["Hi?"])

    def read(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    loop(Session(service.url))
    assert "The service refused (503)" in capsys.readouterr().out
