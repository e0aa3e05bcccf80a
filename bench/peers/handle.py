"""A Ray job that asks Switchyard through its Python handle. Edge: Ray. ``python -m bench.peers.handle``.

Reads what to do as a line of JSON from standard input, says ``ready`` when it is warm, begins at the next line, writes
its records to a file, and says what it used. ``$RAY_ADDRESS`` is the cluster.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.bootstrap import percentile
from bench.protocol import Request
from bench.records import Record, to_line
from bench.runner import Client, Course, run
from bench.workloads import Stage


async def ask(handle: Any, request: Request, begun: float, stream: bool) -> Record:
    """Make a request and follow its answer. A failure is in the record, as with :func:`bench.client.send`."""
    from serve_app.schema import Delta, GenerateRequest

    asked = GenerateRequest(
        prompt=str(request.prompt), raw=True, max_tokens=request.max_tokens, temperature=0, seed=request.seed
    )
    sent = time.perf_counter()
    marks: list[float] = []
    last: Any = None
    error = ""
    try:
        if stream:
            async for event in handle.options(stream=True).stream.remote(asked):
                last = event
                if isinstance(event, Delta):
                    marks.append(time.perf_counter())
        else:
            last = await handle.generate.remote(asked)
            marks.append(time.perf_counter())
    except Exception as failure:
        error = f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"
    reason = getattr(last, "finish_reason", None)
    usage = getattr(last, "usage", None)
    return Record(
        index=request.index,
        target="handle",
        at=request.at,
        sent=sent - begun,
        first=marks[0] - begun if marks else None,
        gaps=tuple(later - earlier for earlier, later in pairwise(marks)),
        ended=time.perf_counter() - begun,
        status=0,
        finish_reason=reason,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else len(marks),
        error=error or ("" if reason else "the answer ended without a finish reason"),
    )


async def load(handle: Any, told: dict[str, Any], name: str) -> tuple[list[Record], Client]:
    """A closed loop of the requests under ``name``."""
    requests = tuple(Request(**request) for request in told[name])
    records: list[Record] = []
    course = Course(time.perf_counter(), records.append)
    stage = Stage(name, requests, told["concurrency"])
    await run(stage, lambda request, begun: ask(handle, request, begun, told["stream"]), course)
    return records, course.client


def main() -> None:
    """See the module's text."""
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    import ray
    from ray import serve

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    handle = serve.get_app_handle(told["app"])
    with asyncio.Runner() as runner:
        runner.run(load(handle, told, "warm"))
        print("ready", flush=True)
        sys.stdin.readline()
        records, client = runner.run(load(handle, told, "requests"))
        Path(told["out"]).write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")
        print(json.dumps({"cpu_s": client.cpu_s, "late_s": percentile(client.late, 99)}), flush=True)


if __name__ == "__main__":
    main()
