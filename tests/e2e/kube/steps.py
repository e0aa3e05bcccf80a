"""Progress, as lines of text, and the one error this package raises on purpose."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class KubeError(Exception):
    """The local cluster cannot be had; the message, fit for a user, says why and what to do."""


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print what is being done, and the seconds it took once it is done."""
    print(f"  .. {text}", flush=True)
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"  failed {text} {time.monotonic() - begun:.1f} s", flush=True)
        raise
    print(f"  ok {text} {time.monotonic() - begun:.1f} s", flush=True)


def run(*command: str | Path, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its output.

    Raises:
        KubeError: it failed; with what it said.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([str(word) for word in command], input=data, capture_output=True, env=env, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise KubeError(f"{' '.join(str(word) for word in command)}: exit status {done.returncode}\n{said[-4000:]}")
    return done.stdout.decode()


def wait_until(condition: Callable[[], object], timeout_s: float, what: str, *, every_s: float = 0.1) -> None:
    """Poll until ``condition()`` is true.

    Raises:
        KubeError: it was not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise KubeError(f"{what}: not within {timeout_s:.0f} s. Logs: see 'make kube-up' for the folder.")
        time.sleep(every_s)
