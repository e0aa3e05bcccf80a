"""What a pod that is to go still waits for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serve_app import drain

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
HERE, THERE, LOOPBACK = "0A40D50A", "0B40D50A", "0100007F"  # 10.213.64.10, 10.213.64.11, 127.0.0.1
REPLICA, SERVE, ELSE = "7530", "1F40", "CB21"  # 30000, 8000, some port


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: tuple[str, str, str]) -> Path:
        lines = [f"   {number}: {local} {remote} {state} 0:0" for number, (local, remote, state) in enumerate(rows)]
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / "tcp").write_text(HEADER + "\n".join(lines))
        return tmp_path

    return write


def test_streams_to_replicas_elsewhere_are_waited_for(proc: Callable[..., Path]) -> None:
    here = proc(
        (f"{HERE}:{ELSE}", f"{THERE}:{REPLICA}", "01"),  # HAProxy to another pod's replica: a stream
        (f"{HERE}:{ELSE}", f"{THERE}:{REPLICA}", "06"),  # one that is over (TIME_WAIT)
        (f"{LOOPBACK}:{ELSE}", f"{LOOPBACK}:{REPLICA}", "01"),  # to this pod's own, which tells itself
        (f"{LOOPBACK}:{REPLICA}", f"{LOOPBACK}:{ELSE}", "01"),
        (f"{HERE}:{REPLICA}", f"{THERE}:{ELSE}", "01"),  # another pod's HAProxy to this pod's replica
        (f"{HERE}:{SERVE}", f"{THERE}:{ELSE}", "01"),  # a client
        (f"00000000:{REPLICA}", "00000000:0000", "0A"),
    )
    assert drain.passing(here) == 1
    assert drain.listening(here) == {30000}


def test_a_pod_without_tables_waits_for_nothing(tmp_path: Path) -> None:
    assert (drain.passing(tmp_path), drain.listening(tmp_path)) == (0, set())


@pytest.fixture
def replica() -> Iterator[int]:
    """A port of a replica, on this machine."""
    for port in range(drain.LAST_PORT - 1, drain.FIRST_PORT, -1):
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            server.listen()
            yield port
            return


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="/proc/net/tcp is Linux's")
def test_the_kernels_own_tables_are_understood(replica: int) -> None:
    assert replica in drain.listening()
    before = drain.passing()
    with socket.create_connection(("127.0.0.1", replica)):
        assert drain.passing() == before, "this machine's own replicas tell themselves what they have"


def test_it_waits_until_nothing_was_there_twice() -> None:
    counts = iter([2, 0, 1, 0, 0, 9])
    slept: list[float] = []
    assert drain.drain(lambda: next(counts), within_s=60, sleep=slept.append) == 0
    assert slept == [drain.SETTLE_S, *[drain.POLL_S] * 4]
    assert drain.drain(lambda: 3, within_s=0, sleep=slept.append) == 3, "what is left when the time is over"
