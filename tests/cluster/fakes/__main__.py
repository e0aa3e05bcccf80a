"""A Google Cloud project to try things in: ``python -m tests.cluster.fakes``. Ctrl-C ends it and forgets everything.

Operations take a hundredth of the time they take at Google's (a cluster: four seconds).
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

from tests.cluster.fakes import FakeGoogle, serving
from tests.cluster.fakes.kube import FakeKube, serving_kube


class _Clock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def main() -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with serving_kube(FakeKube()) as kube, serving(FakeGoogle(clock=_Clock(), slow=0.01, kube=kube)) as servers:
        print("# Paste this into another terminal; the project is called my-project.")
        for name, value in servers.environ.items():
            print(f"export {name}={value}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
