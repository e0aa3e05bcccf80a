"""CPU time the guard takes of a request that streams 64 events: ``python -m tests.guard_cost``. No server, no network.

Seven rounds, with and without it in turn; the medians are in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import json
import time
from statistics import median
from typing import Any

from serve_app.guard import App, Guard, Limits, Message

EVENTS, REQUESTS, ROUNDS = 64, 1000, 7
BODY = json.dumps({"prompt": "word " * 64, "max_tokens": EVENTS, "stream": True, "model": "tiny"}).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode()), (b"host", b"x")]


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": b'data: {"text": "x"}\n\n', "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def ask(app: App) -> None:
    messages = iter([{"type": "http.request", "body": BODY, "more_body": False}])

    async def receive() -> Message:
        if message := next(messages, None):
            return message
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None: ...

    path = "/v1/completions"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": list(HEADERS)}, receive, send)


async def main() -> None:
    apps: dict[str, App] = {"without": streaming, "with": Guard(streaming, Limits(), release="a")}
    took: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, app in apps.items():
            begun = time.process_time()
            for _ in range(REQUESTS):
                await ask(app)
            took[name].append((time.process_time() - begun) / REQUESTS)
    print({name: f"{median(each) * 1e6:.0f} us a request" for name, each in took.items()})


if __name__ == "__main__":
    asyncio.run(main())
