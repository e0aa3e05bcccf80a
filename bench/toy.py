"""A server that does as little as a server can: the client's own ceiling is measured against it. stdlib only.

Speaks ``POST /generate`` as a stream: an event and a write a token, as fast as they go, or with pauses in between as an
engine's steps have. Started as ``python -m bench.toy FD TOKENS GAP_S`` with a listening socket.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(data: object) -> bytes:
    return _chunk(f"data: {json.dumps(data)}\n\n".encode())


class Toy(asyncio.Protocol):
    """One connection. Requests come one after the other, as our client sends them."""

    def __init__(self, tokens: int, gap_s: float = 0.0) -> None:
        self._gap_s = gap_s
        self._token = _event({"text": " word"})
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
        last = {"text": "", "finish_reason": "length", "usage": usage, "model": "toy", "release": "toy"}
        self._end = _event(last) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self._tokens = tokens
        self._read = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is whole."""
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(rest) >= length:
            self._read = rest[length:]
            self._answering = asyncio.ensure_future(self._answer())

    async def _answer(self) -> None:
        transport = self._transport
        if not isinstance(transport, asyncio.Transport):
            return
        transport.write(_HEAD)
        for _ in range(self._tokens):
            transport.write(self._token)
            await asyncio.sleep(self._gap_s)  # even 0 lets the others' tokens in between
        transport.write(self._end)


async def serve(listening: socket.socket, tokens: int, gap_s: float = 0.0) -> None:
    """Answer on a socket until cancelled."""
    server = await asyncio.get_running_loop().create_server(lambda: Toy(tokens, gap_s), sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3])))
