"""Load a Switchyard service with Locust: its users, its web page, its statistics, with the times that matter here.

    make locust                                                     # web page on port 8089
    make locust ARGS="--headless --host http://localhost:8000 --users 16 --spawn-rate 4 --run-time 1m"

Each user sends a request, reads the stream to its end, waits, and sends the next (a closed loop). The clock of Locust's
own line, ``/generate``, stops at the headers; three more tell ``time to first token``, ``time per output token`` and
``whole answer``, in milliseconds. A stream that ends without a finish reason is a failure, whatever its status was.

Environment: SWITCHYARD_API_KEY, and BENCH_TOKENS (tokens of an answer, 64).
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

from locust import HttpUser, constant_throughput, task  # pyright: ignore[reportMissingImports]

TOKENS = int(os.environ.get("BENCH_TOKENS", "64"))
TEXT = "the of and to in is was for on that with as by at from his it an are which this be or had not but her they"
WORDS = TEXT.split()


class Reader(HttpUser):
    """Somebody who asks, reads the answer while it comes, and asks again."""

    host = "http://localhost:8000"
    wait_time = constant_throughput(1)  # at most one request a second and user

    def on_start(self) -> None:
        """Take the key along."""
        if key := os.environ.get("SWITCHYARD_API_KEY"):
            self.client.headers["authorization"] = f"Bearer {key}"

    @task
    def generate(self) -> None:
        """One streamed request."""
        prompt = " ".join(random.choices(WORDS, k=48))
        body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
        begun = time.perf_counter()
        first: float | None = None
        end: dict[str, Any] | None = None
        with self.client.post("/generate", json=body, stream=True, catch_response=True, timeout=600) as response:
            if response.status_code != 200:
                response.failure(f"HTTP {response.status_code}: {response.text[:200]}")
                return
            for line in response.iter_lines():
                if not line.startswith(b"data: ") or line == b"data: [DONE]":
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    response.failure(f"the stream ended with an error: {event['error'].get('message')}")
                    return
                if first is None and event["text"]:
                    first = time.perf_counter()
                if event.get("finish_reason"):
                    end = event
            if end is None or first is None:
                response.failure("the answer ended without a finish reason")
                return
            response.success()
        ended = time.perf_counter()
        self._note("time to first token", (first - begun) * 1000)
        self._note("whole answer", (ended - begun) * 1000)
        if (tokens := end["usage"]["completion_tokens"]) > 1:
            self._note("time per output token", (ended - first) * 1000 / (tokens - 1))

    def _note(self, name: str, milliseconds: float) -> None:
        """A line of its own in Locust's statistics."""
        self.environment.events.request.fire(
            request_type="stream", name=name, response_time=milliseconds, response_length=0, exception=None, context={}
        )
