"""No process outlives what it belongs to. Linux: uses prctl(2); elsewhere these functions do nothing.

Ray ends a worker with SIGKILL, or by ending its raylet, and then nobody runs the clean-up code that would have stopped
the worker's own children: ``VLLM::EngineCore`` (child of the replica) and ``haproxy`` (child of Serve's HAProxy
manager) go on with init as their parent, holding memory and the port. So each of these children asks the kernel to end
it with its parent: vLLM's process through a vLLM plugin, HAProxy through a launcher that Ray starts in its place. Both
work for ``serve run``, ``ray stop``, a killed replica, and in pods.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from types import FrameType

import psutil

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def tie_engine_to_replica() -> None:
    """vLLM plugin (entry point ``vllm.general_plugins``): runs in each vLLM process, acts in the spawned ones."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_with_parent(parent.pid or 0)


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel end this process with SIGKILL once its parent is gone; at once if it is gone already."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that :func:`end_descendants` finds them all."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def stay_behind() -> None:
    """Fork. The child goes on from here; this process passes signals on to it, and cleans up when it has ended.

    So neither end of the pair can be killed without the other noticing: the child is sent SIGTERM when this process
    dies, and this process ends whatever a dead child leaves. Only a third signal breaks a clean-up off.
    """
    adopt_orphans()
    behind = os.getpid()
    child = os.fork()
    if child == 0:
        if _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) and os.getppid() != behind:
            sys.exit(1)
        return
    passed_on: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if len(passed_on) > 1 else number)
        passed_on.append(number)

    for number in END_SIGNALS:
        signal.signal(number, pass_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end_descendants()
    sys.exit(code if code >= 0 else 128 - code)


def end_descendants(grace_s: float = 5.0) -> None:
    """End every process below this one: SIGTERM, after ``grace_s`` seconds SIGKILL, and give up ten seconds later.

    What is left then (:func:`descendants`) is in the kernel's hands: a GPU driver, a dead disk.
    """
    told: set[int] = set()
    deadline = time.monotonic() + grace_s
    while (left := descendants()) and time.monotonic() < deadline + 10:
        for process in left:
            with contextlib.suppress(psutil.Error):
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid not in told:
                    process.terminate()
                    told.add(process.pid)
        psutil.wait_procs(left, timeout=0.2)
    _reap()


def descendants() -> list[psutil.Process]:
    """Every process below this one that runs; with :func:`adopt_orphans`, also those whose own parent has died."""
    return [process for process in psutil.Process().children(recursive=True) if _alive(process)]


def _reap() -> None:
    """Collect the exit codes of the dead that were adopted, so that none is left as a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0
